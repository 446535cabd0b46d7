"""How good a trained net is: its answers, scores, tables and figures."""

"""The official archives of published data sets, and what to prepare of them."""

"""report.html of a run, or of several side by side, from their folders alone."""

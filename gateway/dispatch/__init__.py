"""Who runs a stage run, and where."""

"""The verbs of the command line, one module per subject; whatever is slow to import is imported inside a verb."""

"""The service: receives studies, runs stages, returns verdicts, takes edits back."""

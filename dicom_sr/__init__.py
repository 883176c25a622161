"""DICOM objects in and out: volumes, segmentations, reports, matching of edits; no network, database or torch."""

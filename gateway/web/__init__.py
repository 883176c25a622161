"""HTTP: the REST API, DICOMweb and the pages."""

"""DICOMweb (PS3.18) on what the node holds."""

"""Networks and their quality control: torch and monai, offline; sees only the pure tier of dicom_sr."""

"""The equipment that writes a DICOM object: General and Enhanced General Equipment Modules (PS3.3 C.7.5.1, C.7.5.2)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Equipment:
    """One installation of the gateway as its objects name it.

    Parameters
    ----------
    manufacturer, model_name, serial_number : str
        Manufacturer (0008,0070), Manufacturer's Model Name (0008,1090), Device Serial Number (0018,1000).
    software_versions : tuple of str
        Software Versions (0018,1020), at least one and at most 64 characters each: gateway, then models.
    device_uid : str
        Device UID (0018,1002), the same for every object of one installation; also the device observer of the reports.
    """

    manufacturer: str
    model_name: str
    serial_number: str
    software_versions: tuple[str, ...]
    device_uid: str

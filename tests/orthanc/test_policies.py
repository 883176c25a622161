"""What old and new Orthancs say of their policies, as typed values."""

from __future__ import annotations

import pytest

from orthanc.policies import Policies, parse_policies


def _parsed(**system: object) -> Policies:
    return parse_policies(system, unknown_classes=None, modalities=None)


def test_an_old_version_leaves_open_what_it_does_not_tell() -> None:
    assert _parsed(Version="1.10.1", DicomAet="ORTHANC") == Policies(version="1.10.1", ae_title="ORTHANC")


def test_a_new_version_tells_all() -> None:
    system: dict[str, object] = {
        "Version": "1.12.9",
        "DicomAet": "PACS",
        "OverwriteInstances": True,
        "IngestTranscoding": "1.2.840.10008.1.2.4.50",
        "MaximumStorageMode": "Recycle",
        "MaximumStorageSize": 1000,
        "MaximumPatientCount": 0,
        "ReadOnly": False,
    }
    modalities: dict[str, object] = {"new": {"AET": "OVERREAD", "Host": "h", "Port": 1}, "old": ["OTHER", "h", 2]}
    assert parse_policies(system, unknown_classes="0\n", modalities=modalities) == Policies(
        version="1.12.9",
        ae_title="PACS",
        overwrites=True,
        accepts_unknown_classes=False,
        ingest_transcoding="1.2.840.10008.1.2.4.50",
        recycles=True,
        is_read_only=False,
        known_titles=frozenset({"OVERREAD", "OTHER"}),
    )


@pytest.mark.parametrize(
    ("mode", "size", "patients", "recycles"),
    [("Recycle", 0, 0, False), ("Recycle", 5, 0, True), ("Recycle", 0, 5, True), ("Reject", 5, 5, False)],
)
def test_only_an_orthanc_with_a_limit_deletes_its_oldest(mode: str, size: int, patients: int, recycles: bool) -> None:
    policies = _parsed(MaximumStorageMode=mode, MaximumStorageSize=size, MaximumPatientCount=patients)
    assert policies.recycles is recycles

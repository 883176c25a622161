"""What an Orthanc does with what it is given, as far as its version tells: read before anything depends on it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """Policies of an Orthanc; None where its version does not tell.

    Parameters
    ----------
    version, ae_title : str
        Of the Orthanc.
    overwrites : bool or None
        ``OverwriteInstances``: whether an instance that comes again under the same UID replaces what is there.
    accepts_unknown_classes : bool or None
        ``UnknownSopClassAccepted``: whether C-STORE takes classes that its dcmtk does not know.
    ingest_transcoding : str
        ``IngestTranscoding``: transfer syntax that everything is converted to; empty for none.
    recycles : bool or None
        Whether it deletes its oldest studies when it is full.
    is_read_only : bool or None
        ``ReadOnly``: whether it takes nothing.
    known_titles : frozenset of str or None
        AE titles among its ``DicomModalities``.
    """

    version: str
    ae_title: str
    overwrites: bool | None = None
    accepts_unknown_classes: bool | None = None
    ingest_transcoding: str = ""
    recycles: bool | None = None
    is_read_only: bool | None = None
    known_titles: frozenset[str] | None = None


def parse_policies(
    system: dict[str, object], *, unknown_classes: str | None, modalities: dict[str, object] | None
) -> Policies:
    """Read ``/system``, ``/tools/unknown-sop-class-accepted`` and ``/modalities?expand``; None for no answer.

    Newer versions say more in ``/system`` than older ones.
    """
    mode, limits = system.get("MaximumStorageMode"), ("MaximumStorageSize", "MaximumPatientCount")
    is_limited = any(_number(system.get(key)) > 0 for key in limits)
    return Policies(
        version=str(system.get("Version", "")),
        ae_title=str(system.get("DicomAet", "")),
        overwrites=_flag(system.get("OverwriteInstances")),
        accepts_unknown_classes=None if unknown_classes is None else unknown_classes.strip() == "1",
        ingest_transcoding=str(system.get("IngestTranscoding") or ""),
        recycles=None if mode is None else mode == "Recycle" and is_limited,
        is_read_only=_flag(system.get("ReadOnly")),
        known_titles=None if modalities is None else frozenset(_title(one) for one in modalities.values()),
    )


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _title(modality: object) -> str:
    if isinstance(modality, dict):
        return str(modality.get("AET", ""))
    return str(modality[0]) if isinstance(modality, list) and modality else ""

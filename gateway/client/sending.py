"""Finds DICOM files and sends them to a node."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydicom import dcmread

from dicom_sr.header import CONVERSION_FAILURES, text
from gateway.dimse.courier import DimseCourier
from gateway.dimse.scu import RemoteNode
from gateway.domain.errors import StorageUnavailable
from gateway.services.courier import Carried, Parcel, Receipt

_TAGS = ["SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"]


def read_parcels(paths: Iterable[Path]) -> Iterator[Parcel]:
    """Yield every DICOM file among files and below folders, also repeated ones; other files are passed over."""
    for file in _files(paths):
        parcel = _parcel(file)
        if parcel is not None:
            yield parcel


def find_parcels(paths: Iterable[Path]) -> list[Parcel]:
    """Return every DICOM file among files and below folders, each SOP Instance once; other files are passed over."""
    parcels: dict[str, Parcel] = {}
    for parcel in read_parcels(paths):
        parcels.setdefault(parcel.sop_instance_uid, parcel)
    return list(parcels.values())


def send_parcels(parcels: list[Parcel], remote: RemoteNode) -> list[Receipt]:
    """Send over one association; an object that was not sent, or was refused, says why in its receipt.

    Raises
    ------
    PeerUnreachable, PeerRejected
        If there is no association.
    """
    return DimseCourier(remote).carry(parcels, read_back=False)


def is_accepted(receipt: Receipt) -> bool:
    """Whether the node answered with success."""
    return receipt.carried in (Carried.ACCEPTED, Carried.CONFIRMED)


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_file():
            yield path
        else:
            yield from (file for file in sorted(path.rglob("*")) if file.is_file())


def _parcel(file: Path) -> Parcel | None:
    try:
        stream = file.open("rb")
    except OSError as error:
        raise StorageUnavailable(f"{file} cannot be read: {error.strerror}") from None
    with stream, warnings.catch_warnings():
        # What pydicom warns of quotes the values.
        warnings.simplefilter("ignore")
        try:
            header = dcmread(stream, stop_before_pixels=True, specific_tags=_TAGS)
        except CONVERSION_FAILURES:
            return None
    syntax = text(header.file_meta, "TransferSyntaxUID")
    given = [text(header, keyword) for keyword in _TAGS]
    if not syntax or not all(given):
        return None
    sop_class, sop_instance, series, study = given
    return Parcel(
        sop_instance_uid=sop_instance,
        sop_class_uid=sop_class,
        series_instance_uid=series,
        study_instance_uid=study,
        transfer_syntax_uid=syntax,
        path=file,
    )

"""The courier of DICOM destinations: C-STORE with read-back by C-FIND at IMAGE level."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import pydicom
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from gateway.config import Destination, NodeConfig
from gateway.dimse.contexts import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    STUDY_ROOT_FIND,
)
from gateway.dimse.remotes import remote_node
from gateway.dimse.scu import MAXIMUM_CONTEXTS, RemoteNode, RequestedAssociation
from gateway.dimse.status import is_success, meaning
from gateway.domain.errors import ConfigurationError, PeerRejected, PeerUnreachable
from gateway.services.courier import Carried, Parcel, Receipt
from gateway.services.decompress import decompress
from gateway.services.part10 import file_layout

_UNCOMPRESSED: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)


class DimseCourier:
    """Carries parcels to one DICOM node; see `gateway.services.courier.Courier`.

    Parameters
    ----------
    remote : RemoteNode
        The destination.
    """

    def __init__(self, remote: RemoteNode) -> None:
        self._remote = remote

    def carry(self, parcels: Sequence[Parcel], *, read_back: bool) -> list[Receipt]:
        """Send parcels in order over one association, then ask for those that were accepted.

        Raises
        ------
        PeerUnreachable, PeerRejected
            Nothing was sent.
        """
        receipts: dict[str, Receipt] = {}
        association = RequestedAssociation(self._remote, _proposals(parcels, read_back=read_back))
        try:
            with association:
                for parcel in parcels:
                    receipts[parcel.sop_instance_uid] = self._store(association, parcel)
                if read_back:
                    stored = [p for p in parcels if receipts[p.sop_instance_uid].carried is Carried.ACCEPTED]
                    receipts.update({r.sop_instance_uid: r for r in self._ask(association, stored)})
        except PeerUnreachable as error:
            # What was answered stands, without a proof; the rest is sent again, which is harmless.
            for parcel in parcels:
                uid = parcel.sop_instance_uid
                if uid not in receipts:
                    receipts[uid] = Receipt(sop_instance_uid=uid, carried=Carried.UNSENT, detail=error.detail)
                elif read_back and receipts[uid].carried is Carried.ACCEPTED:
                    receipts[uid] = Receipt(sop_instance_uid=uid, carried=Carried.UNPROVEN, detail=error.detail)
        return [receipts[parcel.sop_instance_uid] for parcel in parcels]

    def look_up(self, parcels: Sequence[Parcel]) -> list[Receipt]:
        """Ask whether parcels accepted earlier are there.

        Raises
        ------
        PeerUnreachable, PeerRejected
            It cannot be asked now.
        """
        with RequestedAssociation(self._remote, [(STUDY_ROOT_FIND, _UNCOMPRESSED)]) as association:
            return self._ask(association, parcels)

    def _store(self, association: RequestedAssociation, parcel: Parcel) -> Receipt:
        uid = parcel.sop_instance_uid
        accepted = association.accepted(parcel.sop_class_uid)
        syntax = next((s for s in (parcel.transfer_syntax_uid, *_UNCOMPRESSED) if s in accepted), None)
        if syntax is None:
            return Receipt(
                sop_instance_uid=uid,
                carried=Carried.REFUSED,
                detail=f"{self._remote.name} takes SOP class {parcel.sop_class_uid} in no transfer syntax we can send",
            )
        status = association.store(
            accepted[syntax], sop_class=parcel.sop_class_uid, sop_instance=uid, dataset=_encoded(parcel, syntax)
        )
        if is_success(status):
            return Receipt(sop_instance_uid=uid, carried=Carried.ACCEPTED, detail=meaning(status))
        return Receipt(
            sop_instance_uid=uid, carried=Carried.REFUSED, detail=f"{self._remote.name} answered {meaning(status)}"
        )

    def _ask(self, association: RequestedAssociation, parcels: Iterable[Parcel]) -> list[Receipt]:
        receipts = []
        for parcel in parcels:
            try:
                found = any(
                    match.get("SOPInstanceUID") == parcel.sop_instance_uid
                    for match in list(association.find(_image_query(parcel)))
                )
            except PeerRejected as error:
                carried, detail = Carried.ACCEPTED, f"not verified: {error.detail}"
            else:
                carried = Carried.CONFIRMED if found else Carried.MISSING
                detail = "" if found else f"{self._remote.name} accepted it, and does not list it"
            receipts.append(Receipt(sop_instance_uid=parcel.sop_instance_uid, carried=carried, detail=detail))
        return receipts


def dimse_courier(destination: Destination, node: NodeConfig) -> DimseCourier:
    """Return the courier of a destination of kind ``dicom``.

    Parameters
    ----------
    destination : Destination
        From the configuration.
    node : NodeConfig
        Our AE title and certificate.

    Raises
    ------
    ConfigurationError
        If AE title or host are missing, or a TLS file cannot be used.
    """
    if destination.ae_title is None or not destination.host:
        raise ConfigurationError(f"destination '{destination.name}' of kind dicom needs ae_title and host")
    return DimseCourier(remote_node(node, destination))


def _proposals(parcels: Sequence[Parcel], *, read_back: bool) -> list[tuple[str, tuple[str, ...]]]:
    """Propose for each SOP class the form held and, in a context of its own, the uncompressed ones to fall back on."""
    proposals: dict[tuple[str, tuple[str, ...]], None] = {}
    if read_back:
        proposals[(STUDY_ROOT_FIND, _UNCOMPRESSED)] = None
    for parcel in parcels:
        proposals[(parcel.sop_class_uid, (parcel.transfer_syntax_uid,))] = None
        for syntax in _UNCOMPRESSED:
            proposals[(parcel.sop_class_uid, (syntax,))] = None
    return list(proposals)[:MAXIMUM_CONTEXTS]


def _encoded(parcel: Parcel, syntax: str) -> bytes | memoryview:
    """Return the data set in a transfer syntax: as it lies on the disk if it is that one, converted otherwise."""
    if syntax != parcel.transfer_syntax_uid:
        return _converted(parcel, syntax)
    content = parcel.path.read_bytes()
    return memoryview(content)[file_layout(content).dataset_offset :]


def _converted(parcel: Parcel, syntax: str) -> bytes:
    dataset = pydicom.dcmread(parcel.path)
    decompress(dataset)
    buffer = DicomBytesIO()
    buffer.is_little_endian = True
    buffer.is_implicit_VR = syntax == IMPLICIT_VR_LITTLE_ENDIAN
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def _image_query(parcel: Parcel) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.StudyInstanceUID = parcel.study_instance_uid
    query.SeriesInstanceUID = parcel.series_instance_uid
    query.SOPInstanceUID = parcel.sop_instance_uid
    return query

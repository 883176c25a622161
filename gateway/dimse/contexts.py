"""The one table of what the node offers: SOP classes and transfer syntaxes. The conformance statement reads it too."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from pynetdicom import AllStoragePresentationContexts

VERIFICATION: Final = "1.2.840.10008.1.1"
STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET: Final = "1.2.840.10008.5.1.4.1.2.2.3"
STORAGE_COMMITMENT: Final = "1.2.840.10008.1.20.1"
PERFORMED_PROCEDURE_STEP: Final = "1.2.840.10008.3.1.2.3.3"
RETRIEVE_PROCEDURE_STEP: Final = "1.2.840.10008.3.1.2.3.4"
AVAILABILITY_NOTIFICATION: Final = "1.2.840.10008.5.1.4.33"
#: The one instance of the Storage Commitment Push Model SOP class.
COMMITMENT_INSTANCE: Final = "1.2.840.10008.1.20.1.1"

#: Every standard storage class; `pynetdicom.StoragePresentationContexts` would lack Label Map Segmentation Storage.
STORAGE_CLASSES: Final = frozenset(str(context.abstract_syntax) for context in AllStoragePresentationContexts)

#: Query, retrieve, commitment and announcements; an association that proposes one of these is served by pynetdicom.
SERVICE_CLASSES: Final = {
    "1.2.840.10008.5.1.4.1.2.1.1": "Patient Root Query/Retrieve - FIND",
    "1.2.840.10008.5.1.4.1.2.1.2": "Patient Root Query/Retrieve - MOVE",
    "1.2.840.10008.5.1.4.1.2.1.3": "Patient Root Query/Retrieve - GET",
    STUDY_ROOT_FIND: "Study Root Query/Retrieve - FIND",
    STUDY_ROOT_MOVE: "Study Root Query/Retrieve - MOVE",
    STUDY_ROOT_GET: "Study Root Query/Retrieve - GET",
    STORAGE_COMMITMENT: "Storage Commitment Push Model",
    PERFORMED_PROCEDURE_STEP: "Modality Performed Procedure Step",
    RETRIEVE_PROCEDURE_STEP: "Modality Performed Procedure Step Retrieve",
    AVAILABILITY_NOTIFICATION: "Instance Availability Notification",
}

#: What we ask peers for as SCU, beside storage.
REQUESTED_CLASSES: Final = {
    VERIFICATION: "Verification",
    STUDY_ROOT_FIND: SERVICE_CLASSES[STUDY_ROOT_FIND],
    STUDY_ROOT_MOVE: SERVICE_CLASSES[STUDY_ROOT_MOVE],
    STUDY_ROOT_GET: SERVICE_CLASSES[STUDY_ROOT_GET],
    STORAGE_COMMITMENT: SERVICE_CLASSES[STORAGE_COMMITMENT],
}

IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
EXPLICIT_VR_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1.99"

#: Transfer syntaxes whose pixels this gateway can decode, and their names. A test decodes or reads one of each.
TRANSFER_SYNTAXES: Final = {
    EXPLICIT_VR_LITTLE_ENDIAN: "Explicit VR Little Endian",
    IMPLICIT_VR_LITTLE_ENDIAN: "Implicit VR Little Endian",
    EXPLICIT_VR_BIG_ENDIAN: "Explicit VR Big Endian (Retired)",
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN: "Deflated Explicit VR Little Endian",
    "1.2.840.10008.1.2.5": "RLE Lossless",
    "1.2.840.10008.1.2.4.50": "JPEG Baseline (Process 1)",
    "1.2.840.10008.1.2.4.51": "JPEG Extended (Process 2 and 4)",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless, Non-Hierarchical (Process 14)",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless, Non-Hierarchical, First-Order Prediction",
    "1.2.840.10008.1.2.4.80": "JPEG-LS Lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS Lossy (Near-Lossless)",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 (Lossless Only)",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.4.201": "High-Throughput JPEG 2000 (Lossless Only)",
    "1.2.840.10008.1.2.4.202": "High-Throughput JPEG 2000 with RPCL Options (Lossless Only)",
    "1.2.840.10008.1.2.4.203": "High-Throughput JPEG 2000",
}
#: Taken only when nothing else in a presentation context can be: the first loses the VRs of private elements, the
#: second is retired, and either would make a sender convert what it holds in another form.
_LAST_RESORT: Final = (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN)


def choose_transfer_syntax(proposed: Sequence[str], supported: Collection[str] = TRANSFER_SYNTAXES) -> str | None:
    """Return the transfer syntax to accept for one presentation context, None if there is none.

    The sender's order decides, since its first is usually the form it holds the object in, and the fewer conversions
    the better; implicit VR and big endian come last.

    Parameters
    ----------
    proposed : sequence of str
        As the requestor listed them.
    supported : collection of str
        What we take.
    """
    usable = [syntax for syntax in proposed if syntax in supported]
    first_choice = [syntax for syntax in usable if syntax not in _LAST_RESORT]
    return next(iter([*first_choice, *usable]), None)

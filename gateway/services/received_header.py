"""The attributes of a received instance that are checked and indexed, read without decoding the rest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from pydicom import charset

from dicom_sr.uids import is_path_safe_uid
from gateway.domain.errors import UnacceptableInstance
from gateway.services.dataset_walk import encoding_of, walk

_CHARACTER_SET = 0x00080005
_ROWS, _COLUMNS = 0x00280010, 0x00280011

#: Keyword of `ReceivedHeader` by tag; text values, decoded by Specific Character Set (0008,0005).
_TEXTS = {
    0x00080014: "instance_creator_uid",
    0x00080016: "sop_class_uid",
    0x00080018: "sop_instance_uid",
    0x00080020: "study_date",
    0x00080030: "study_time",
    0x00080050: "accession_number",
    0x00080060: "modality",
    0x00080090: "referring_physician_name",
    0x00081030: "study_description",
    0x0008103E: "series_description",
    0x00100010: "patient_name",
    0x00100020: "patient_id",
    0x00100021: "issuer_of_patient_id",
    0x00100030: "patient_birth_date",
    0x00100040: "patient_sex",
    0x00180015: "body_part_examined",
    0x0020000D: "study_instance_uid",
    0x0020000E: "series_instance_uid",
    0x00200010: "study_id",
    0x00200011: "series_number",
    0x00200013: "instance_number",
    0x00200052: "frame_of_reference_uid",
    0x00280008: "number_of_frames",
}
_WANTED = frozenset((*_TEXTS, _CHARACTER_SET, _ROWS, _COLUMNS))
_IDENTITY = {
    "sop_class_uid": "SOP Class UID (0008,0016)",
    "sop_instance_uid": "SOP Instance UID (0008,0018)",
    "study_instance_uid": "Study Instance UID (0020,000D)",
    "series_instance_uid": "Series Instance UID (0020,000E)",
}
#: What a name or description may be long in the index; longer ones are cut, the instance itself is not.
_MAXIMUM_TEXT = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedHeader:
    """What an instance says about itself; empty or 0 where it says nothing.

    Parameters
    ----------
    sop_class_uid, sop_instance_uid, study_instance_uid, series_instance_uid : str
        Identity, always there, digits and dots only.
    others : str or int
        Attributes by their keyword.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    instance_creator_uid: str = ""
    frame_of_reference_uid: str = ""
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    patient_name: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""
    study_date: str = ""
    study_time: str = ""
    study_id: str = ""
    study_description: str = ""
    accession_number: str = ""
    referring_physician_name: str = ""
    modality: str = ""
    body_part_examined: str = ""
    series_number: str = ""
    series_description: str = ""
    instance_number: str = ""
    rows: int = 0
    columns: int = 0
    number_of_frames: int = 1

    @property
    def has_pixels(self) -> bool:
        """Whether it holds an image plane."""
        return self.rows > 0 and self.columns > 0


def read_header(dataset: bytes | memoryview, transfer_syntax_uid: str) -> ReceivedHeader:
    """Walk an encoded data set to its end and return what is indexed.

    Parameters
    ----------
    dataset : bytes or memoryview
        Without file meta information.
    transfer_syntax_uid : str
        How it is encoded.

    Raises
    ------
    UnacceptableInstance
        ``TRUNCATED_DATASET``, ``UNREADABLE``, ``TOO_LARGE``, ``MISSING_UID`` or ``INVALID_UID``.
    """
    raw = walk(dataset, transfer_syntax_uid, _WANTED)
    order = "big" if encoding_of(transfer_syntax_uid).big_endian else "little"
    encodings = _encodings(raw.get(_CHARACTER_SET, b""))
    texts = {keyword: _remembered_text(raw[tag], encodings) for tag, keyword in _TEXTS.items() if tag in raw}
    frames = texts.pop("number_of_frames", "1")
    for keyword, name in _IDENTITY.items():
        require_uid(texts.get(keyword, ""), name)
    # Short in the index, and a UID that is none must not stand in a page's address.
    for keyword in ("frame_of_reference_uid", "instance_creator_uid"):
        if not is_path_safe_uid(texts.get(keyword, "")):
            texts.pop(keyword, None)
    return ReceivedHeader(
        **texts,
        rows=_unsigned(raw.get(_ROWS, b""), order == "big"),
        columns=_unsigned(raw.get(_COLUMNS, b""), order == "big"),
        number_of_frames=int(frames) if frames.isascii() and frames.isdigit() and len(frames) <= 9 else 1,
    )


def require_uid(uid: str, name: str) -> None:
    """Refuse what is not a UID, before it can name anything.

    Raises
    ------
    UnacceptableInstance
        ``MISSING_UID`` or ``INVALID_UID``; `name` is quoted, the value is not.
    """
    if not uid:
        raise UnacceptableInstance(f"{name} is missing", code="MISSING_UID")
    if not is_path_safe_uid(uid):
        raise UnacceptableInstance(f"{name} is not a UID: 1 to 64 digits and dots are expected", code="INVALID_UID")


def _unsigned(raw: bytes, is_big: bool) -> int:
    return int.from_bytes(raw[:2], "big" if is_big else "little") if len(raw) >= 2 else 0


@lru_cache(maxsize=64)
def _encodings(raw: bytes) -> tuple[str, ...]:
    """Return Python codecs for Specific Character Set; a term nobody knows is read as Latin-1."""
    terms = [term.strip() for term in raw.decode("ascii", "replace").rstrip("\x00 ").split("\\")]
    return tuple(charset.python_encoding.get(term, "iso8859") for term in terms)


@lru_cache(maxsize=1024)
def _remembered_text(raw: bytes, encodings: tuple[str, ...]) -> str:
    # The images of a series say the same of patient, study and series.
    return _text(raw, encodings)


def _text(raw: bytes, encodings: tuple[str, ...]) -> str:
    raw = raw.replace(b"\x00", b"").strip()
    if raw.isascii() and b"\x1b" not in raw:
        text = raw.decode("ascii")
    elif b"\x1b" in raw:
        text = _with_escapes(raw, encodings)
    else:
        text = raw.decode(_PLAIN.get(encodings[0], encodings[0]), "replace")
    text = text.strip()
    if not text.isprintable():
        text = "".join(character for character in text if character.isprintable())
    return text[:_MAXIMUM_TEXT]


#: pydicom names these by their escape form; without escapes they are plain.
_PLAIN = {"iso2022_jp": "shift_jis", "iso2022_jp_2": "euc_jp", "iso_ir_58": "gb2312"}


def _with_escapes(raw: bytes, encodings: tuple[str, ...]) -> str:
    try:
        return charset.decode_bytes(raw, list(encodings), set(b"\\^="))
    except (LookupError, UnicodeError, UserWarning):
        return raw.decode("ascii", "replace")

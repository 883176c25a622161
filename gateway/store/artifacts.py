"""Stage outputs as bytes: one deterministic encoding each for segmentations, probability maps and findings."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from dicom_sr.codes import Code
from dicom_sr.probabilities import Map, in_steps
from dicom_sr.segmentation import Segment, Segmentation
from dicom_sr.verdict import Finding
from dicom_sr.volume import Grid
from gateway.domain.errors import StorageUnavailable
from gateway.domain.keys import canonical_json

_MAGIC = b"OVERREAD-SEGMENTATION-1\n"
_MAPS_MAGIC = b"OVERREAD-PROBABILITIES-1\n"

#: Probability maps, (z, y, x), by segment label.
Maps = Mapping[str, Map]


def encode_segmentation(segmentation: Segmentation) -> bytes:
    """Encode a segmentation; equal segmentations give equal bytes."""
    header = {
        "shape": list(segmentation.layers.shape),
        "affine": [value.hex() for value in segmentation.grid.affine.ravel().tolist()],
        "frame_of_reference_uid": segmentation.grid.frame_of_reference_uid,
        "segments": [asdict(segment) for segment in segmentation.segments],
        "layer_of": list(segmentation.layer_of),
    }
    return _joined(_MAGIC, header, np.ascontiguousarray(segmentation.layers, dtype="<u2").tobytes())


def decode_segmentation(content: bytes) -> Segmentation:
    """Decode what `encode_segmentation` wrote.

    Raises
    ------
    StorageUnavailable
        If the bytes are something else: the store is damaged.
    """
    header, pixels = _split(content, _MAGIC)
    shape = tuple(header["shape"])
    layers = np.frombuffer(pixels, dtype="<u2").reshape(shape)
    affine = np.array([float.fromhex(value) for value in header["affine"]]).reshape(4, 4)
    return Segmentation(
        grid=Grid(shape=shape[1:], affine=affine, frame_of_reference_uid=header["frame_of_reference_uid"]),
        segments=tuple(_segment(item) for item in header["segments"]),
        layers=layers.astype(np.uint16),
        layer_of=tuple(header["layer_of"]),
    )


def encode_probabilities(maps: Maps) -> bytes:
    """Encode probability maps, (z, y, x), 0..1, by segment label, in steps of 1/255; values outside are cut.

    Parameters
    ----------
    maps : mapping of str to numpy.ndarray
        At least one, all of one shape.
    """
    shape = next(iter(maps.values())).shape
    return _joined(_MAPS_MAGIC, {"shape": list(shape), "labels": list(maps)}, _in_steps(maps))


def probabilities_digest(maps: Maps) -> str:
    """SHA-256 (hex) of labels and maps as they are stored."""
    return hashlib.sha256("\0".join(maps).encode() + b"\0" + _in_steps(maps)).hexdigest()


def decode_probabilities(content: bytes) -> dict[str, Map]:
    """Decode what `encode_probabilities` wrote: maps in steps of 1/255.

    Raises
    ------
    StorageUnavailable
        If the bytes are something else: the store is damaged.
    """
    header, pixels = _split(content, _MAPS_MAGIC)
    stored = np.frombuffer(pixels, np.uint8).reshape((len(header["labels"]), *header["shape"]))
    return dict(zip(header["labels"], stored, strict=True))


def _in_steps(maps: Maps) -> bytes:
    return b"".join(in_steps(one).tobytes() for one in maps.values())


def _joined(magic: bytes, header: Mapping[str, object], pixels: bytes) -> bytes:
    text = canonical_json(header)
    return magic + len(text).to_bytes(4, "little") + text + zlib.compress(pixels, 1)


def _split(content: bytes, magic: bytes) -> tuple[dict[str, Any], bytes]:
    if not content.startswith(magic):
        raise StorageUnavailable("a stored segmentation is damaged: run `overread check --store`")
    start = len(magic) + 4
    end = start + int.from_bytes(content[len(magic) : start], "little")
    header: dict[str, Any] = json.loads(content[start:end])
    return header, zlib.decompress(content[end:])


def encode_findings(findings: Iterable[Finding]) -> bytes:
    """Encode findings as canonical JSON."""
    return canonical_json([asdict(finding) for finding in findings])


def decode_findings(content: bytes) -> tuple[Finding, ...]:
    """Decode what `encode_findings` wrote."""
    return tuple(Finding(**item) for item in json.loads(content))


def _segment(item: dict[str, object]) -> Segment:
    keys = ("category", "property_type", "anatomic_region", "property_type_modifier")
    codes = {key: _code(item.get(key)) for key in keys}
    color = item["color"]
    assert isinstance(color, list)
    return Segment(
        number=int(str(item["number"])),
        label=str(item["label"]),
        category=codes["category"] or Code("", "", ""),
        property_type=codes["property_type"] or Code("", "", ""),
        anatomic_region=codes["anatomic_region"],
        property_type_modifier=codes["property_type_modifier"],
        color=(color[0], color[1], color[2]),
    )


def _code(item: object) -> Code | None:
    return Code(**item) if isinstance(item, dict) else None

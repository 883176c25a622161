"""Stage outputs as bytes: one deterministic encoding each for segmentations and findings."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import asdict

import numpy as np

from dicom_sr.codes import Code
from dicom_sr.segmentation import Segment, Segmentation
from dicom_sr.verdict import Finding
from dicom_sr.volume import Grid
from gateway.domain.errors import StorageUnavailable
from gateway.domain.keys import canonical_json

_MAGIC = b"OVERREAD-SEGMENTATION-1\n"


def encode_segmentation(segmentation: Segmentation) -> bytes:
    """Encode a segmentation; equal segmentations give equal bytes."""
    header = {
        "shape": list(segmentation.layers.shape),
        "affine": [value.hex() for value in segmentation.grid.affine.ravel().tolist()],
        "frame_of_reference_uid": segmentation.grid.frame_of_reference_uid,
        "segments": [asdict(segment) for segment in segmentation.segments],
        "layer_of": list(segmentation.layer_of),
    }
    text = canonical_json(header)
    pixels = zlib.compress(np.ascontiguousarray(segmentation.layers, dtype="<u2").tobytes(), 1)
    return _MAGIC + len(text).to_bytes(4, "little") + text + pixels


def decode_segmentation(content: bytes) -> Segmentation:
    """Decode what `encode_segmentation` wrote.

    Raises
    ------
    StorageUnavailable
        If the bytes are something else: the store is damaged.
    """
    if not content.startswith(_MAGIC):
        raise StorageUnavailable("a stored segmentation is damaged: run `overread check --store`")
    start = len(_MAGIC) + 4
    end = start + int.from_bytes(content[len(_MAGIC) : start], "little")
    header = json.loads(content[start:end])
    shape = tuple(header["shape"])
    layers = np.frombuffer(zlib.decompress(content[end:]), dtype="<u2").reshape(shape)
    affine = np.array([float.fromhex(value) for value in header["affine"]]).reshape(4, 4)
    return Segmentation(
        grid=Grid(shape=shape[1:], affine=affine, frame_of_reference_uid=header["frame_of_reference_uid"]),
        segments=tuple(_segment(item) for item in header["segments"]),
        layers=layers.astype(np.uint16),
        layer_of=tuple(header["layer_of"]),
    )


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

"""Pixel Data of a segmentation object, frame by frame from the label layers: never a one-hot array.

References
----------
PS3.5 8.1.1 and Annex D (bit packing across frames), Annex G (RLE), A.4 (encapsulation); PS3.3 C.8.20.2.3
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import groupby

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from dicom_sr.probabilities import in_steps
from dicom_sr.rle_frame import encode_rle_frame
from dicom_sr.seg_frames import Frame, Probabilities
from dicom_sr.segmentation import Segmentation

_PIXEL_DATA = 0x7FE00010
_PIXEL_PADDING_VALUE = 0x00280120


def binary_pixels(ds: Dataset, segmentation: Segmentation, frames: Sequence[Frame]) -> None:
    """Set the masks of `frames`, one bit a pixel, packed across frame borders."""
    layer_of = {s.number: layer for s, layer in zip(segmentation.segments, segmentation.layer_of, strict=True)}
    rows, columns = segmentation.grid.shape[1:]
    size = rows * columns
    packed = np.zeros((len(frames) * size + 15) // 16 * 2, np.uint8)
    step = 1 if size % 8 == 0 else 8
    bits = np.empty((step, rows, columns), np.bool_)
    for start in range(0, len(frames), step):
        group = frames[start : start + step]
        for i, frame in enumerate(group):
            np.equal(segmentation.layers[layer_of[frame.segment_number], frame.z], frame.segment_number, out=bits[i])
        chunk = np.packbits(bits[: len(group)].reshape(-1), bitorder="little")
        offset = start * size // 8
        packed[offset : offset + len(chunk)] = chunk
    ds[_PIXEL_DATA] = DataElement(_PIXEL_DATA, "OB", packed.tobytes())


def labelmap_pixels(ds: Dataset, segmentation: Segmentation, frames: Sequence[Frame]) -> None:
    """Set the label map of `frames` in RLE, 8 or 16 bits as Bits Allocated of `ds` says; 0 is the padding value."""
    ds[_PIXEL_PADDING_VALUE] = DataElement(_PIXEL_PADDING_VALUE, "US", 0)
    pixel = np.uint8 if ds.BitsAllocated == 8 else np.uint16
    encoded = [encode_rle_frame(segmentation.layers[0, frame.z].astype(pixel)) for frame in frames]
    ds[_PIXEL_DATA] = DataElement(_PIXEL_DATA, "OB", encapsulate(encoded), is_undefined_length=True)


def probability_pixels(ds: Dataset, maps: Probabilities, frames: Sequence[Frame]) -> None:
    """Set probabilities in steps of 1/255, 8 bits a pixel; the frames of a segment stand together."""
    pixels = io.BytesIO()
    for number, group in groupby(frames, key=lambda frame: frame.segment_number):
        steps = in_steps(maps[number]) if number in maps else None
        for frame in group:
            pixels.write(bytes(ds.Rows * ds.Columns) if steps is None else steps[frame.z].tobytes())
    pixels.write(bytes(pixels.tell() % 2))
    ds[_PIXEL_DATA] = DataElement(_PIXEL_DATA, "OB", pixels.getvalue())

"""Consumer pictures of a stored instance (PS3.18 section 8.3.5): PNG or JPEG with window and size, or its PDF."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydicom.dataset import Dataset

from gateway.domain.errors import NotFound
from gateway.web.dicomweb.dicom_json import read_header
from gateway.web.dicomweb.frames import decoded_frames
from gateway.web.dicomweb.media import MediaRange
from gateway.web.problems import BadRequest, NotAcceptable

if TYPE_CHECKING:
    import numpy.typing as npt

_LARGEST_SIDE = 4096
_ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A display window: centre and width in output units of the modality."""

    center: float
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """How a picture is asked for: 0-based frame, window, viewport (width, height) in pixels, JPEG quality."""

    frame: int = 0
    window: Window | None = None
    viewport: tuple[int, int] | None = None
    quality: int = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A picture and its media type."""

    media_type: str
    content: bytes


def parse_window(text: str) -> Window | None:
    """Parse ``center,width[,function]``; None for empty.

    Raises
    ------
    BadRequest
        If it is none.
    """
    if not text:
        return None
    try:
        center, width = (float(part) for part in text.split(",")[:2])
    except ValueError:
        raise BadRequest("window is given as center,width,function") from None
    if width <= 0:
        raise BadRequest("the width of a window is above 0")
    return Window(center=center, width=width)


def parse_viewport(text: str) -> tuple[int, int] | None:
    """Parse ``width,height``; None for empty.

    Raises
    ------
    BadRequest
        If it is none, or larger than can be made.
    """
    if not text:
        return None
    parts = text.split(",")[:2]
    if len(parts) < 2 or not all(part.strip().isdigit() for part in parts):
        raise BadRequest("viewport is given as width,height in pixels")
    width, height = (int(part) for part in parts)
    if not (0 < width <= _LARGEST_SIDE and 0 < height <= _LARGEST_SIDE):
        raise BadRequest(f"a viewport has 1 to {_LARGEST_SIDE} pixels a side")
    return width, height


def render(path: Path, how: Rendering, ranges: Sequence[MediaRange]) -> Rendered:
    """Render a stored instance.

    Raises
    ------
    NotFound
        If it has no such frame.
    NotAcceptable
        If it cannot be shown as anything the caller accepts.
    UndecodablePixels
        If compressed pixels cannot be decoded.
    """
    ds = read_header(path)
    if ds.get("SOPClassUID") == _ENCAPSULATED_PDF and "EncapsulatedDocument" in ds:
        if not any(r.covers("application/pdf") for r in ranges):
            raise NotAcceptable("this instance is shown as application/pdf")
        return Rendered(media_type="application/pdf", content=bytes(ds.EncapsulatedDocument).rstrip(b"\0"))
    if "Rows" not in ds:
        raise NotAcceptable("this instance has no pixels to show")
    kind = next((k for r in ranges for k in ("image/jpeg", "image/png") if r.covers(k) or r.covers("image/*")), None)
    if kind is None:
        raise NotAcceptable("pictures are given as image/jpeg or image/png")
    if how.frame >= int(ds.get("NumberOfFrames") or 1):
        raise NotFound("this instance has no such frame")
    return Rendered(media_type=kind, content=_picture(ds, path, how, kind))


def _picture(ds: Dataset, path: Path, how: Rendering, kind: str) -> bytes:
    from PIL import Image

    (values,) = decoded_frames(path, [how.frame])
    picture = Image.fromarray(_colour(ds, values) if values.ndim == 3 else _grey(ds, values, how.window))
    if how.viewport is not None:
        picture.thumbnail(how.viewport)
        scale = min(how.viewport[0] / picture.width, how.viewport[1] / picture.height)
        picture = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
    buffer = io.BytesIO()
    if kind == "image/jpeg":
        picture.save(buffer, "JPEG", quality=how.quality)
    else:
        picture.save(buffer, "PNG")
    return buffer.getvalue()


def _colour(ds: Dataset, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    from pydicom.pixels.processing import convert_color_space

    interpretation = str(ds.get("PhotometricInterpretation", "RGB"))
    if interpretation.startswith("YBR_FULL"):
        values = convert_color_space(values, interpretation, "RGB")
    colour: npt.NDArray[Any] = values.astype("uint8")
    return colour


def _grey(ds: Dataset, values: npt.NDArray[Any], window: Window | None) -> npt.NDArray[Any]:
    import numpy as np
    from pydicom.pixels.processing import apply_modality_lut

    output = np.asarray(apply_modality_lut(values, ds), dtype=np.float32)
    chosen = window or _stored_window(ds) or _full_window(output)
    # Linear exact function, PS3.3 C.11.2.1.3.2.
    scaled = np.clip((output - (chosen.center - chosen.width / 2)) / chosen.width * 255.0, 0, 255)
    if ds.get("PhotometricInterpretation") == "MONOCHROME1":
        scaled = 255.0 - scaled
    grey: npt.NDArray[Any] = scaled.astype(np.uint8)
    return grey


def _stored_window(ds: Dataset) -> Window | None:
    center, width = ds.get("WindowCenter"), ds.get("WindowWidth")
    first = [v[0] if hasattr(v, "__getitem__") and not isinstance(v, str) else v for v in (center, width)]
    if first[0] is None or first[1] is None or float(first[1]) <= 0:
        return None
    return Window(center=float(first[0]), width=float(first[1]))


def _full_window(values: npt.NDArray[Any]) -> Window:
    low, high = float(values.min()), float(values.max())
    return Window(center=(low + high) / 2, width=max(high - low, 1e-6))

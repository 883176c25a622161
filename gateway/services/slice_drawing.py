"""Draw one slice: grey image, coloured segments, the change of an edit. Pure functions from arrays to PNG bytes.

Pictures have square pixels and are enlarged so that contours stay crisp; planes that were not acquired are turned so
that the head or the front is up.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Color = tuple[int, int, int]

#: Longest side of a picture is enlarged to about this many pixels, and never reduced.
_TARGET_PX = 420
_LARGEST_ENLARGEMENT = 8
_FILL_ALPHA, _LINE_ALPHA, _FAINT_ALPHA = 56, 255, 110
#: Colours of a change that people with any colour vision tell apart (Okabe and Ito 2008): blue and vermilion.
ADDED: Color = (86, 180, 233)
REMOVED: Color = (230, 110, 30)
RELABELLED: Color = (240, 228, 66)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How a plane of a volume becomes a picture.

    Parameters
    ----------
    width, height : int
        Pixels.
    flip_rows, flip_columns : bool
        Whether the first row goes to the bottom, the first column to the right.
    edges : tuple of str, (left, top, right, bottom)
        Patient directions at the edges: L R A P H F.
    """

    width: int
    height: int
    flip_rows: bool
    flip_columns: bool
    edges: tuple[str, str, str, str]


def plan_cut(affine: npt.NDArray[np.float64], shape: Sequence[int], axis: int) -> Cut:
    """Plan the picture of a plane.

    Parameters
    ----------
    affine : numpy.ndarray, (4, 4)
        Voxel index (z, y, x, 1) to LPS mm.
    shape : sequence of int, (z, y, x)
        Voxels.
    axis : int
        The axis that is scrolled; 0 shows the plane as acquired.
    """
    import numpy as np

    row_axis, column_axis = (a for a in range(3) if a != axis)
    down, right = affine[:3, row_axis], affine[:3, column_axis]
    height_mm = float(np.linalg.norm(down)) * shape[row_axis]
    width_mm = float(np.linalg.norm(right)) * shape[column_axis]
    pixel_mm = min(float(np.linalg.norm(down)), float(np.linalg.norm(right))) or 1.0
    enlarge = _TARGET_PX / max(height_mm / pixel_mm, width_mm / pixel_mm)
    enlarge = min(max(1.0, enlarge), _LARGEST_ENLARGEMENT)
    # Reformatted planes are turned so that head or front is up and the patient's right is on the left.
    flip_rows = axis != 0 and _points_up(down)
    flip_columns = axis != 0 and _letter(right) in ("R", "A")
    top_letter, left_letter = _letter(down if flip_rows else -down), _letter(right if flip_columns else -right)
    return Cut(
        width=max(1, round(width_mm / pixel_mm * enlarge)),
        height=max(1, round(height_mm / pixel_mm * enlarge)),
        flip_rows=flip_rows,
        flip_columns=flip_columns,
        edges=(left_letter, top_letter, _OPPOSITE[left_letter], _OPPOSITE[top_letter]),
    )


_OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "H": "F", "F": "H"}


def _letter(direction: npt.NDArray[np.float64]) -> str:
    """Patient direction that `direction`, an LPS vector, points to most."""
    axis = int(abs(direction).argmax())
    return ("LR", "PA", "HF")[axis][0 if direction[axis] >= 0 else 1]


def _points_up(down: npt.NDArray[np.float64]) -> bool:
    return _letter(down) in ("H", "A")


def grey_png(voxels: npt.NDArray[np.uint8], cut: Cut) -> bytes:
    """Return a slice, (row, column), uint8, as a grey PNG with smooth enlargement."""
    from PIL import Image

    picture = Image.fromarray(_turned(voxels, cut))
    return _png(picture.resize((cut.width, cut.height), Image.Resampling.BICUBIC))


def overlay_png(painted: Sequence[tuple[npt.NDArray[np.bool_], Color]], cut: Cut) -> bytes:
    """Return masks, (row, column), bool, with their colours as a transparent PNG: faint fill, solid contour."""
    import numpy as np
    from PIL import Image

    canvas = np.zeros((cut.height, cut.width, 4), np.uint8)
    for mask, color in painted:
        large = _enlarged(mask, cut)
        _paint(canvas, large, color, _FILL_ALPHA)
    for mask, color in painted:
        _paint(canvas, _contour(_enlarged(mask, cut)), color, _LINE_ALPHA)
    return _png(Image.fromarray(canvas))


def change_png(before: npt.NDArray[np.uint16], after: npt.NDArray[np.uint16], cut: Cut) -> bytes:
    """Return what changed between two label slices, (row, column), uint16, as a transparent PNG.

    Added voxels are blue, removed ones vermilion, relabelled ones yellow; the new outline is white, the old one dashed.
    """
    import numpy as np
    from PIL import Image

    canvas = np.zeros((cut.height, cut.width, 4), np.uint8)
    _paint(canvas, _enlarged((before == 0) & (after > 0), cut), ADDED, 170)
    _paint(canvas, _enlarged((before > 0) & (after == 0), cut), REMOVED, 170)
    _paint(canvas, _enlarged((before > 0) & (after > 0) & (before != after), cut), RELABELLED, 170)
    rows, columns = np.indices((cut.height, cut.width))
    dashes = (rows + columns) % 10 < 5
    _paint(canvas, _contour(_enlarged(before > 0, cut)) & dashes, (200, 200, 200), _LINE_ALPHA)
    _paint(canvas, _contour(_enlarged(after > 0, cut)), (255, 255, 255), _LINE_ALPHA)
    return _png(Image.fromarray(canvas))


def _turned(values: npt.NDArray[Any], cut: Cut) -> npt.NDArray[Any]:
    import numpy as np

    rows: Literal[1, -1] = -1 if cut.flip_rows else 1
    columns: Literal[1, -1] = -1 if cut.flip_columns else 1
    return np.ascontiguousarray(values[::rows, ::columns])


def _enlarged(mask: npt.NDArray[np.bool_], cut: Cut) -> npt.NDArray[np.bool_]:
    import numpy as np

    turned = _turned(mask, cut)
    rows = np.arange(cut.height) * turned.shape[0] // cut.height
    columns = np.arange(cut.width) * turned.shape[1] // cut.width
    large: npt.NDArray[np.bool_] = turned[rows[:, None], columns[None, :]].astype(np.bool_)
    return large


def _contour(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Inner border of a mask, two pixels wide."""
    import numpy as np

    inner = mask.copy()
    for _ in range(2):
        padded = np.pad(inner, 1)
        inner = inner & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    border: npt.NDArray[np.bool_] = mask & ~inner
    return border


def _paint(canvas: npt.NDArray[np.uint8], where: npt.NDArray[np.bool_], color: Color, alpha: int) -> None:
    canvas[where] = (*color, alpha)


def _png(picture: object) -> bytes:
    from PIL import Image

    assert isinstance(picture, Image.Image)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()

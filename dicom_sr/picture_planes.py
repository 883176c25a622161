"""Planes of a volume as pictures: grey image at true proportions, contours of segments, letters of the directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from dicom_sr.picture_text import font
from dicom_sr.volume import Grid, Volume

Color = tuple[int, int, int]
Rgb = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float32]

_OVERSAMPLING = 2
_FILL = 0.16
_LETTERS = ("LR", "PA", "HF")  # along +x, +y, +z and against it, LPS
_CT_WINDOW = (-160.0, 240.0)  # HU, soft tissue


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """A mask to draw over the image, as a contour and a light fill.

    Parameters
    ----------
    layer : numpy.ndarray, (z, y, x), integer or bool
        Label layer on the volume's grid; kept as it is, so that a hundred segments cost no hundred masks.
    label : int
        Value of the mask in the layer.
    color : tuple of int, (r, g, b)
        Display colour.
    """

    layer: npt.NDArray[np.generic]
    label: int
    color: Color


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How a plane is cut and shown.

    Parameters
    ----------
    across, down : int
        Grid axis that runs right and that runs down in the picture (0 = z, 1 = y, 2 = x).
    flip_across, flip_down : bool
        Whether the picture runs against the axis.
    """

    across: int
    down: int
    flip_across: bool = False
    flip_down: bool = False

    @property
    def through(self) -> int:
        """Grid axis that the plane is perpendicular to."""
        return 3 - self.across - self.down


def anatomical_views(grid: Grid) -> dict[str, View]:
    """Return the axial, coronal and sagittal views nearest to the patient's axes, in radiological convention."""
    cosines = grid.affine[:3, :3] / np.linalg.norm(grid.affine[:3, :3], axis=0)
    axis_of: dict[int, int] = {}
    for axis in np.argsort(-np.abs(cosines).max(axis=0)):  # the least oblique axis chooses first
        ranked = (int(d) for d in np.argsort(-np.abs(cosines[:, axis])))
        axis_of[next(d for d in ranked if d not in axis_of)] = int(axis)

    def against(direction: int) -> bool:
        return bool(cosines[direction, axis_of[direction]] < 0)

    left, posterior, head = (axis_of[d] for d in range(3))
    return {
        "axial": View(across=left, down=posterior, flip_across=against(0), flip_down=against(1)),
        "coronal": View(across=left, down=head, flip_across=against(0), flip_down=not against(2)),
        "sagittal": View(across=posterior, down=head, flip_across=against(1), flip_down=not against(2)),
    }


def window_of(volume: Volume, region: tuple[slice, slice, slice]) -> tuple[float, float]:
    """Return the grey window for a region: soft tissue for CT, else the 1st to the 99.5th percentile."""
    if volume.modality == "CT":
        return _CT_WINDOW
    finite = volume.voxels[region][np.isfinite(volume.voxels[region])]
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(finite, (1.0, 99.5)))
    return (low, high) if high > low else (low, low + 1.0)


def draw_plane(
    volume: Volume,
    view: View,
    index: int,
    *,
    region: tuple[slice, slice, slice],
    window: tuple[float, float],
    overlays: Sequence[Overlay],
    size: int,
) -> Image.Image:
    """Draw one plane into a square picture.

    Parameters
    ----------
    volume : Volume
        Image.
    view : View
        How the plane is cut.
    index : int
        Index along the axis the plane is perpendicular to.
    region : tuple of slice, (z, y, x)
        Part of the grid to show.
    window : tuple of float
        Values shown black and white.
    overlays : sequence of Overlay
        Drawn in order.
    size : int
        Width and height, pixels.

    Returns
    -------
    PIL.Image.Image
        RGB; the plane is centred at true proportions, black around it.
    """
    grey = _cut(volume.voxels, view, index, region)
    low, high = window
    shown = np.clip((np.nan_to_num(grey, nan=low, posinf=high, neginf=low) - low) / (high - low), 0, 1)
    large = size * _OVERSAMPLING
    extent = _extent(shown.shape, view, volume.grid, large)
    canvas = np.repeat(_resized(shown * 255, extent, Image.Resampling.BICUBIC)[..., None], 3, axis=2)
    for overlay in overlays:
        mask = _cut(overlay.layer, view, index, region) == overlay.label
        if mask.any():
            _paint(canvas, _resized(mask * np.float32(255), extent, Image.Resampling.BICUBIC), overlay.color)
    picture = Image.new("RGB", (large, large))
    corner = ((large - extent[0]) // 2, (large - extent[1]) // 2)
    picture.paste(Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8)), corner)
    picture = picture.resize((size, size), Image.Resampling.LANCZOS)
    _letter(picture, view, volume.grid)
    return picture


def _cut(voxels: npt.NDArray[np.generic], view: View, index: int, region: tuple[slice, slice, slice]) -> Plane:
    plane = np.take(voxels, index, axis=view.through)
    kept = [region[axis] for axis in range(3) if axis != view.through]
    plane = plane[kept[0], kept[1]]
    if view.across < view.down:
        plane = plane.T
    plane = plane[:: -1 if view.flip_down else 1, :: -1 if view.flip_across else 1]
    return np.ascontiguousarray(plane, dtype=np.float32)


def _extent(shape: tuple[int, ...], view: View, grid: Grid, size: int) -> tuple[int, int]:
    """Width and height in pixels of a plane of (down, across) voxels that fits a square at true proportions."""
    height, width = shape[0] * grid.spacing[view.down], shape[1] * grid.spacing[view.across]
    scale = size / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resized(plane: Plane, extent: tuple[int, int], resampling: Image.Resampling) -> Plane:
    return np.asarray(Image.fromarray(plane.astype(np.float32)).resize(extent, resampling), dtype=np.float32).copy()


def _paint(canvas: Plane, coverage: Plane, color: Color) -> None:
    """Paint fill and contour; `coverage` is the resized mask, 0 to 255."""
    inside = coverage > 127
    inner = inside
    for _ in range(2 * _OVERSAMPLING):
        inner = _eroded(inner)
    outer = inside
    for _ in range(_OVERSAMPLING // 2):
        outer = ~_eroded(~outer)
    painted = np.asarray(color, dtype=np.float32)
    canvas[inner] = canvas[inner] * (1 - _FILL) + painted * _FILL
    canvas[outer & ~inside] *= 0.25  # a dark seam keeps the contour visible on bright tissue
    canvas[inside & ~inner] = painted


def _eroded(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    padded = np.pad(mask, 1, constant_values=False)
    return (
        padded[1:-1, 1:-1] & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    )  # fmt: skip


def _letter(picture: Image.Image, view: View, grid: Grid) -> None:
    draw, face, size = ImageDraw.Draw(picture), font(15, bold=True), picture.width
    right, down = _direction(grid, view.across, view.flip_across), _direction(grid, view.down, view.flip_down)
    places = ((right, (size - 8, size // 2), "rm"), (down, (size // 2, size - 6), "mb"))
    opposite = ((_opposite(right), (8, size // 2), "lm"), (_opposite(down), (size // 2, 6), "mt"))
    for letters, place, anchor in (*places, *opposite):
        draw.text(place, letters, font=face, fill=(255, 255, 255), anchor=anchor, stroke_width=2, stroke_fill=(0, 0, 0))


def _direction(grid: Grid, axis: int, flipped: bool) -> str:
    """Patient direction a picture axis points to: one letter, or two where the axis is oblique by over 20 degrees."""
    cosine = grid.affine[:3, axis] / np.linalg.norm(grid.affine[:3, axis]) * (-1 if flipped else 1)
    ranked = [int(d) for d in np.argsort(-np.abs(cosine))]
    letters = [_LETTERS[d][0 if cosine[d] > 0 else 1] for d in ranked if abs(cosine[d]) > 0.342]
    return "".join(letters[:2])


def _opposite(letters: str) -> str:
    swap = {pair[i]: pair[1 - i] for pair in _LETTERS for i in (0, 1)}
    return "".join(swap[letter] for letter in letters)

"""Display colours of segments: sRGB to the CIELab encoding of DICOM, and a palette that stays apart for every eye.

The standard scales L*, a* and b* but leaves the white point to a note on ICC profiles (D50). Every reader that shows
these values (OHIF, Weasis, DCMTK, highdicom) takes D65, the white of sRGB, so D65 it is: a segment has the colour its
pipeline gave it.

References
----------
PS3.3 C.10.7.1.1 (L* 0..100 and a*, b* -128..127 over the full unsigned 16-bit range)
"""

from __future__ import annotations

import colorsys

#: Eight colours that people with a colour vision deficiency tell apart (Okabe and Ito 2008), without black.
_BASE = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
_GOLDEN_RATIO = 0.6180339887498949

# Linear sRGB to CIE XYZ, and its white point D65 (IEC 61966-2-1).
_TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
_WHITE = (0.95047, 1.0, 1.08883)


def segment_color(index: int) -> tuple[int, int, int]:
    """Return the colour of the segment at `index` (0-based), sRGB 0..255; the first seven suit every colour vision."""
    if index < len(_BASE):
        return _BASE[index]
    hue = (index * _GOLDEN_RATIO) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.55 + 0.4 * (index % 2), 0.95 - 0.25 * (index % 3 == 0))
    return round(red * 255), round(green * 255), round(blue * 255)


def cielab(color: tuple[int, int, int]) -> tuple[int, int, int]:
    """Convert sRGB 0..255 to Recommended Display CIELab Value (0062,000D), three unsigned 16-bit integers."""
    linear = [_linear(channel / 255) for channel in color]
    xyz = [sum(weight * value for weight, value in zip(row, linear, strict=True)) for row in _TO_XYZ]
    fx, fy, fz = (_cube_root(value / white) for value, white in zip(xyz, _WHITE, strict=True))
    lightness, a, b = 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)
    return _scaled(lightness / 100), _scaled((a + 128) / 255), _scaled((b + 128) / 255)


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else float(((channel + 0.055) / 1.055) ** 2.4)


def _cube_root(ratio: float) -> float:
    return float(ratio ** (1 / 3)) if ratio > (6 / 29) ** 3 else ratio / (3 * (6 / 29) ** 2) + 4 / 29


def _scaled(fraction: float) -> int:
    return round(min(max(fraction, 0.0), 1.0) * 65535)

"""Display colours of segments: sRGB to the CIELab encoding of DICOM, and a palette that stays apart for every eye.

References
----------
PS3.3 C.10.7.1.1 (PCS values: L* 0..100 and a*, b* -128..127 over the full unsigned 16-bit range, illuminant D50)
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

# Linear sRGB (D65) to CIE XYZ adapted to D50 by Bradford, and the D50 white point (IEC 61966-2-1, ICC.1:2022).
_TO_XYZ_D50 = (
    (0.4360747, 0.3850649, 0.1430804),
    (0.2225045, 0.7168786, 0.0606169),
    (0.0139322, 0.0971045, 0.7141733),
)
_WHITE_D50 = (0.9642957, 1.0, 0.8251046)


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
    xyz = [sum(weight * value for weight, value in zip(row, linear, strict=True)) for row in _TO_XYZ_D50]
    fx, fy, fz = (_cube_root(value / white) for value, white in zip(xyz, _WHITE_D50, strict=True))
    lightness, a, b = 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)
    return _scaled(lightness / 100), _scaled((a + 128) / 255), _scaled((b + 128) / 255)


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else float(((channel + 0.055) / 1.055) ** 2.4)


def _cube_root(ratio: float) -> float:
    return float(ratio ** (1 / 3)) if ratio > (6 / 29) ** 3 else ratio / (3 * (6 / 29) ** 2) + 4 / 29


def _scaled(fraction: float) -> int:
    return round(min(max(fraction, 0.0), 1.0) * 65535)

"""Text for pictures: the font, cutting to a width, wrapping to lines.

The font is DejaVu Sans, which comes with matplotlib: it covers Latin, Greek and Cyrillic and the verdicts' symbols.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def font_file(*, bold: bool = False) -> Path | None:
    """Return the path of the font, or None where matplotlib is not installed; matplotlib itself is not imported."""
    spec = find_spec("matplotlib")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "mpl-data" / "fonts" / "ttf" / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")
        if path.is_file():
            return path
    return None


@lru_cache(maxsize=32)
def font(size: int, *, bold: bool = False) -> Font:
    """Return the font at a size in pixels; Pillow's own where DejaVu Sans is missing."""
    path = font_file(bold=bold)
    return ImageFont.load_default(size) if path is None else ImageFont.truetype(str(path), size)


def text_width(text: str, face: Font) -> float:
    """Return the width of one line, pixels."""
    return float(face.getlength(text))


def cut(text: str, face: Font, width: float) -> str:
    """Return `text` on one line, cut with an ellipsis where it is wider than `width` pixels."""
    line = " ".join(text.split())
    if text_width(line, face) <= width:
        return line
    while line and text_width(line + "…", face) > width:
        line = line[:-1]
    return line.rstrip() + "…"


def wrap(text: str, face: Font, width: float, *, lines: int) -> list[str]:
    """Return `text` broken into at most `lines` lines of `width` pixels; the last one is cut."""
    found: list[str] = []
    words = text.split()
    while words and len(found) < lines - 1:
        count = len(words)
        while count > 1 and text_width(" ".join(words[:count]), face) > width:
            count -= 1
        found.append(cut(" ".join(words[:count]), face, width))
        words = words[count:]
    if words:
        found.append(cut(" ".join(words), face, width))
    return found

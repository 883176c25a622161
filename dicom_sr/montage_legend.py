"""The legend of a montage: colour and label of each segment, with its main findings while there is room."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from dicom_sr.finding_codes import finding_title
from dicom_sr.picture_planes import Color
from dicom_sr.picture_text import cut, font
from dicom_sr.segmentation import Segment, Segmentation
from dicom_sr.verdict import AssessedFinding, Verdict
from dicom_sr.verdict_look import value_text

_TOP, _LEFT = 14, 16
_LABEL, _LINE, _GAP = 24, 19, 8
_COMPACT_ROW, _COMPACT_COLUMNS = 21, 2
_WANTED = ("PREDICTED_DICE", "PREDICTED_HD95", "VOLUME")


def legend(
    segmentations: Sequence[Segmentation],
    verdict: Verdict,
    *,
    size: int,
    panel: Color,
    text: Color,
    dim: Color,
) -> Image.Image:
    """Draw the legend into a square of `size` pixels; many segments get less text each, the rest is counted."""
    picture = Image.new("RGB", (size, size), panel)
    draw = ImageDraw.Draw(picture)
    segments = [segment for segmentation in segmentations for segment in segmentation.segments]
    if not segments:
        draw.text((_LEFT, _TOP), "no segmentation", font=font(18), fill=dim)
        return picture
    room = (size - 2 * _TOP) // len(segments) - _LABEL - _GAP
    if room < 0:
        _compact(draw, segments, size, text, dim)
        return picture
    top, face = _TOP, font(17, bold=True)
    for segment in segments:
        draw.rectangle((_LEFT, top + 2, _LEFT + 16, top + 18), outline=segment.color, width=4)
        draw.text((_LEFT + 26, top), cut(segment.label, face, size - 58), font=face, fill=text)
        top += _LABEL
        for assessed in _main_findings(verdict, segment.label)[: room // _LINE]:
            line = f"{finding_title(assessed.finding.code)} {value_text(assessed.finding)}"
            draw.text((_LEFT + 26, top), cut(line, font(13), size - 46), font=font(13), fill=dim)
            top += _LINE
        top += _GAP
    return picture


def _compact(draw: ImageDraw.ImageDraw, segments: Sequence[Segment], size: int, text: Color, dim: Color) -> None:
    rows = (size - 2 * _TOP) // _COMPACT_ROW
    width = (size - 2 * _LEFT) // _COMPACT_COLUMNS
    places = rows * _COMPACT_COLUMNS
    shown = segments if len(segments) <= places else segments[: places - 1]
    face = font(13)
    for number, segment in enumerate(shown):
        left, top = _LEFT + number // rows * width, _TOP + number % rows * _COMPACT_ROW
        draw.rectangle((left, top + 2, left + 12, top + 14), outline=segment.color, width=3)
        draw.text((left + 18, top), cut(segment.label, face, width - 24), font=face, fill=text)
    if len(shown) < len(segments):
        left, top = _LEFT + (places - 1) // rows * width, _TOP + (places - 1) % rows * _COMPACT_ROW
        draw.text((left, top), f"and {len(segments) - len(shown)} more", font=face, fill=dim)


def _main_findings(verdict: Verdict, label: str) -> list[AssessedFinding]:
    found = [a for a in verdict.assessed if a.finding.segment == label and a.finding.code in _WANTED]
    return sorted(found, key=lambda a: _WANTED.index(a.finding.code))

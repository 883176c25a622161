"""One picture that tells a case to a person: verdict, reasons, findings, slices with contours, the edit.

It is RGB with nothing to window, so it reads the same in every viewer. It holds no patient data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw

from dicom_sr.errors import GeometryMismatch
from dicom_sr.finding_codes import finding_title
from dicom_sr.montage_legend import legend
from dicom_sr.montage_slices import Layer, changed_slices, region_of, slices_to_show
from dicom_sr.picture_planes import Color, Overlay, Rgb, View, anatomical_views, draw_plane, window_of
from dicom_sr.picture_text import cut, font, text_width, wrap
from dicom_sr.qc_report import ContentQualification
from dicom_sr.segmentation import Segmentation
from dicom_sr.verdict import AssessedFinding, Verdict
from dicom_sr.verdict_look import LOOKS, Look, look_of, reason_text, threshold_text, value_text, worst_first
from dicom_sr.volume import Volume

WIDTH = 1280
_MARGIN = 24
_COLUMNS = 4
_GAP = 12
_TILE = (WIDTH - 2 * _MARGIN - (_COLUMNS - 1) * _GAP) // _COLUMNS
_CAPTION = 26
_ROW = 30
_MOST_FINDINGS = 14
_MOST_LINES = 4
_BACKGROUND, _PANEL, _TEXT, _DIM = (14, 16, 20), (26, 29, 36), (238, 240, 243), (160, 167, 178)
_ADDED, _REMOVED = (86, 220, 130), (255, 90, 160)
_NOT_FOR_DIAGNOSIS = "RESEARCH · NOT FOR DIAGNOSIS"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MontageContent:
    """What a montage shows.

    Parameters
    ----------
    verdict : Verdict
        Verdict with reasons and findings.
    lines : tuple of str
        Title lines: case, pipeline, iteration, time. Free of patient data, because they are burnt in.
    volume : Volume or None
        The image; None when there is none to show.
    segmentations : tuple of Segmentation
        All on the volume's grid, drawn in order in their segments' colours.
    worst_slices : mapping of str to sequence of int
        By Segment Label: indices z of the slices to look at first.
    before : Segmentation or None
        The prior output of the edited stage.
    after : Segmentation or None
        The edited output; None takes the one of `segmentations` that has the segments of `before`.
    content_qualification : ContentQualification
        RESEARCH burns in that the picture is not for diagnosis.
    """

    verdict: Verdict
    lines: tuple[str, ...]
    volume: Volume | None = None
    segmentations: tuple[Segmentation, ...] = ()
    worst_slices: Mapping[str, Sequence[int]] = field(default_factory=dict)
    before: Segmentation | None = None
    after: Segmentation | None = None
    content_qualification: ContentQualification = ContentQualification.PRODUCT


def montage(content: MontageContent) -> Rgb:
    """Draw the montage.

    Returns
    -------
    numpy.ndarray, (row, column, 3), uint8
        RGB, 1280 columns; as many rows as the content needs, an even count.

    Raises
    ------
    GeometryMismatch
        If a segmentation is not on the volume's grid.
    """
    parts = [_header(content), *_image_rows(content), _findings_table(content.verdict)]
    height = sum(part.height for part in parts) + _GAP * (len(parts) - 1) + _MARGIN
    picture = Image.new("RGB", (WIDTH, height + height % 2), _BACKGROUND)
    top = 0
    for part in parts:
        picture.paste(part, (0, top))
        top += part.height + _GAP
    return np.asarray(picture, dtype=np.uint8)


def _header(content: MontageContent) -> Image.Image:
    look = LOOKS[content.verdict.outcome]
    research = content.content_qualification is ContentQualification.RESEARCH
    top = 44 if research else 0
    height = max(150, 116 + 25 * min(len(content.lines), _MOST_LINES))
    picture = Image.new("RGB", (WIDTH, top + height), _PANEL)
    draw = ImageDraw.Draw(picture)
    if research:
        draw.rectangle((0, 0, WIDTH, top), fill=(250, 212, 60))
        face = font(22, bold=True)
        draw.text((WIDTH // 2, top // 2), _NOT_FOR_DIAGNOSIS, font=face, fill=(20, 20, 20), anchor="mm")
    draw.rectangle((0, top, 10, top + height), fill=look.color)
    _badge(draw, (_MARGIN + 44, top + 56), 36, look)
    left = _MARGIN + 96
    draw.text((left, top + 56), look.word, font=font(42, bold=True), fill=_TEXT, anchor="lm")
    right = max(left + text_width(look.word, font(42, bold=True)) + 40, 560)
    _lines(draw, (_MARGIN, top + 108), content.lines, right - _MARGIN - 30)
    _reasons(draw, (right, top + 20), content.verdict)
    return picture


def _badge(draw: ImageDraw.ImageDraw, centre: tuple[int, int], radius: int, look: Look) -> None:
    """Draw the symbol of an outcome in a shape of its own: circle, triangle, diamond, octagon."""
    x, y = centre
    corners = {"ACCEPT": 0, "REVIEW": 3, "NOT ASSESSABLE": 4, "REJECT": 8}[look.word]
    if corners:
        turn = 22.5 if corners == 8 else 0.0
        draw.regular_polygon((x, y + (6 if corners == 3 else 0), radius + 6), corners, rotation=turn, fill=look.color)
    else:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=look.color)
    draw.text((x, y + (4 if corners == 3 else 0)), look.symbol, font=font(radius, bold=True), fill="white", anchor="mm")


def _lines(draw: ImageDraw.ImageDraw, place: tuple[float, float], lines: Sequence[str], width: float) -> None:
    face = font(17)
    for number, line in enumerate(lines[:_MOST_LINES]):
        draw.text((place[0], place[1] + 25 * number), cut(line, face, width), font=face, fill=_DIM)


def _reasons(draw: ImageDraw.ImageDraw, place: tuple[float, float], verdict: Verdict) -> None:
    face, width = font(18), WIDTH - _MARGIN - place[0] - 22
    if not verdict.reasons:
        draw.text(place, "Every criterion is met.", font=face, fill=_TEXT)
        return
    top, shown = place[1], verdict.reasons[:3]
    for reason in shown:
        draw.rectangle((place[0], top + 4, place[0] + 6, top + 18), fill=look_of(reason.outcome).color)
        for line in wrap(reason_text(reason), face, width, lines=2 if len(shown) > 1 else 4):
            draw.text((place[0] + 18, top), line, font=face, fill=_TEXT)
            top += 23
    if len(verdict.reasons) > len(shown):
        more = f"and {len(verdict.reasons) - len(shown)} more, see the findings"
        draw.text((place[0] + 18, top), more, font=face, fill=_DIM)


def _image_rows(content: MontageContent) -> list[Image.Image]:
    volume = content.volume
    if volume is None:
        return []
    for segmentation in (*content.segmentations, *(s for s in (content.before, content.after) if s is not None)):
        if segmentation.grid.shape != volume.grid.shape:
            raise GeometryMismatch("a segmentation to draw is not on the grid of the image")
    rows = [_row(_overview(content, volume)), _row(_slices(content, volume))]
    if content.before is not None:
        rows += [_row(_change(content, volume, content.before))]
    return rows


def _row(tiles: list[tuple[Image.Image, str]]) -> Image.Image:
    picture = Image.new("RGB", (WIDTH, _TILE + _CAPTION), _BACKGROUND)
    draw, face = ImageDraw.Draw(picture), font(14)
    for column, (tile, caption) in enumerate(tiles):
        left = _MARGIN + column * (_TILE + _GAP)
        picture.paste(tile, (left, 0))
        draw.text((left, _TILE + 5), cut(caption, face, _TILE), font=face, fill=_DIM)
    return picture


def _overlays(segmentations: Sequence[Segmentation]) -> list[Overlay]:
    return [
        Overlay(layer=segmentation.layers[layer], label=segment.number, color=segment.color)
        for segmentation in segmentations
        for segment, layer in zip(segmentation.segments, segmentation.layer_of, strict=True)
    ]


def _layers(segmentations: Sequence[Segmentation]) -> list[Layer]:
    return [layer for segmentation in segmentations for layer in segmentation.layers]


def _slice_view(volume: Volume) -> View:
    """Return the view of the stored slices, turned as a radiologist looks at that plane."""
    return next(view for view in anatomical_views(volume.grid).values() if view.through == 0)


def _overview(content: MontageContent, volume: Volume) -> list[tuple[Image.Image, str]]:
    overlays = _overlays(content.segmentations)
    region = region_of(volume, _layers(content.segmentations))
    window = window_of(volume, region)
    centre = [(part.start + part.stop) // 2 for part in region]
    tiles = []
    for name, view in anatomical_views(volume.grid).items():
        index = centre[view.through]
        tile = draw_plane(volume, view, index, region=region, window=window, overlays=overlays, size=_TILE)
        tiles.append((tile, f"{name} {index + 1} of {volume.grid.shape[view.through]}"))
    key = legend(content.segmentations, content.verdict, size=_TILE, panel=_PANEL, text=_TEXT, dim=_DIM)
    return [*tiles, (key, "")]


def _slices(content: MontageContent, volume: Volume) -> list[tuple[Image.Image, str]]:
    overlays, layers, view = _overlays(content.segmentations), _layers(content.segmentations), _slice_view(volume)
    region = region_of(volume, layers)
    window = window_of(volume, region)
    tiles = []
    for shown in slices_to_show(content.worst_slices, layers, volume, _COLUMNS):
        tile = draw_plane(volume, view, shown.index, region=region, window=window, overlays=overlays, size=_TILE)
        worst = f" · worst of {shown.worst_of}" if shown.worst_of else f" of {volume.grid.shape[0]}"
        tiles.append((tile, f"slice {shown.index + 1}{worst}"))
    return tiles


def _change(content: MontageContent, volume: Volume, before: Segmentation) -> list[tuple[Image.Image, str]]:
    after = content.after or _counterpart(content.segmentations, before)
    change = changed_slices(before, after)
    region, view = region_of(volume, _layers((before, after))), _slice_view(volume)
    window = window_of(volume, region)
    edit = [
        Overlay(layer=change.added, label=1, color=_ADDED),
        Overlay(layer=change.removed, label=1, color=_REMOVED),
    ]
    parts = (("before the edit", _overlays((before,))), ("after the edit", _overlays((after,))), ("change", edit))
    tiles = []
    for name, overlays in parts:
        tile = draw_plane(volume, view, change.index, region=region, window=window, overlays=overlays, size=_TILE)
        tiles.append((tile, f"{name} · slice {change.index + 1}"))
    notes = [
        ("Accepted edit", _TEXT),
        (f"+ {change.added_ml:.2f} ml added", _ADDED),
        (f"- {change.removed_ml:.2f} ml removed", _REMOVED),
        (f"{change.slice_count} slices touched", _DIM),
    ]
    return [*tiles, (_notes(notes), "")]


def _counterpart(segmentations: Sequence[Segmentation], before: Segmentation) -> Segmentation:
    labels = {segment.label for segment in before.segments}
    found = (s for s in segmentations if labels & {segment.label for segment in s.segments})
    return next(found, before)


def _notes(notes: Sequence[tuple[str, Color]]) -> Image.Image:
    picture = Image.new("RGB", (_TILE, _TILE), _PANEL)
    draw = ImageDraw.Draw(picture)
    for number, (text, color) in enumerate(notes):
        draw.text((16, 16 + 34 * number), text, font=font(19, bold=number == 0), fill=color)
    return picture


def _findings_table(verdict: Verdict) -> Image.Image:
    found = worst_first(verdict)
    shown = found[:_MOST_FINDINGS]
    more = len(found) - len(shown)
    picture = Image.new("RGB", (WIDTH, _ROW * (len(shown) + 1 + (more > 0)) + 8), _BACKGROUND)
    draw = ImageDraw.Draw(picture)
    columns = (_MARGIN, _MARGIN + 130, _MARGIN + 410, _MARGIN + 630, _MARGIN + 840)
    for left, title in zip(columns, ("", "finding", "segment", "value", "threshold"), strict=True):
        draw.text((left, 4), title, font=font(15), fill=_DIM)
    for number, assessed in enumerate(shown, start=1):
        _finding_row(draw, _ROW * number, columns, assessed)
    if more:
        draw.text((_MARGIN, _ROW * (len(shown) + 1)), f"{more} more in the report", font=font(16), fill=_DIM)
    return picture


def _finding_row(draw: ImageDraw.ImageDraw, top: int, columns: tuple[int, ...], assessed: AssessedFinding) -> None:
    look, finding, face = look_of(assessed.outcome), assessed.finding, font(17)
    draw.line((_MARGIN, top - 2, WIDTH - _MARGIN, top - 2), fill=_PANEL)
    draw.text((columns[0], top + 3), look.symbol, font=font(17, bold=True), fill=look.color)
    draw.text((columns[0] + 22, top + 5), look.word.lower(), font=font(15), fill=look.color)
    texts = (finding_title(finding.code), finding.segment, value_text(finding), threshold_text(assessed))
    widths = [
        following - left - 12 for left, following in zip(columns[1:], (*columns[2:], WIDTH - _MARGIN), strict=True)
    ]
    for left, text, width in zip(columns[1:], texts, widths, strict=True):
        draw.text((left, top + 3), cut(text, face, width), font=face, fill=_TEXT if assessed.outcome else _DIM)

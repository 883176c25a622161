"""The summary as an Encapsulated PDF: the montage, then every reason and finding as text, and how the result was made.

Text is set in DejaVu Sans, embedded, so that it can be searched and copied. Where the comment holds characters the font
lacks, the page says that the structured report has them.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from html import escape

from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, PageBreak, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle
from reportlab.platypus import Image as PdfImage

from dicom_sr.character_set import character_set_of, settle_character_set
from dicom_sr.coded_items import code_item, declare_private_scheme
from dicom_sr.codes import IMAGING_MEASUREMENT_REPORT
from dicom_sr.equipment import Equipment
from dicom_sr.finding_codes import finding_title
from dicom_sr.new_object import header_of, instance_reference, listed_instances, new_object
from dicom_sr.picture_planes import Rgb
from dicom_sr.picture_text import font_file
from dicom_sr.qc_report import ContentQualification, QcReport
from dicom_sr.source import SourceSeries
from dicom_sr.summary import title_lines
from dicom_sr.verdict_look import LOOKS, look_of, reason_text, threshold_text, value_text, worst_first

_FONT, _BOLD = "OverreadSans", "OverreadSans-Bold"
_PAGE_MARGIN = 15 * mm
_NOT_FOR_DIAGNOSIS = "RESEARCH · NOT FOR DIAGNOSIS"


def summary_pdf(report: QcReport, pixels: Rgb, source: SourceSeries, equipment: Equipment) -> Dataset:
    """Write the report as an Encapsulated PDF.

    Parameters
    ----------
    report : QcReport
        Report to tell; gives UIDs, numbers, description and time of the object.
    pixels : numpy.ndarray, (row, column, 3), uint8
        The montage, RGB.
    source : SourceSeries
        The series the report is about.
    equipment : Equipment
        This installation.

    Returns
    -------
    pydicom.Dataset
        With file meta information, ready to save; equal arguments give equal bytes.

    Raises
    ------
    InvalidObject
        If the source has no instance.

    References
    ----------
    PS3.3 A.45.1, C.24.2
    """
    ds = new_object(header_of(report, sop_class_uid=EncapsulatedPDFStorage, modality="DOC"), source, equipment)
    ds.ConversionType = "WSD"
    ds.AcquisitionDateTime = None
    ds.BurnedInAnnotation = "YES"
    ds.ConceptNameCodeSequence = [code_item(IMAGING_MEASUREMENT_REPORT)]
    ds.DocumentTitle = report.series_description
    ds.VerificationFlag = "UNVERIFIED" if report.signature is None else "VERIFIED"
    ds.ContentQualification = report.content_qualification.value
    ds.SourceInstanceSequence = [
        instance_reference(str(h.SOPClassUID), str(h.SOPInstanceUID)) for h in listed_instances(source)
    ]
    document = pdf_bytes(report, pixels)
    ds.EncapsulatedDocumentLength = len(document)
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    ds.EncapsulatedDocument = document + b"\0" * (len(document) % 2)
    declare_private_scheme(ds)
    settle_character_set(ds, character_set_of(source.headers[0]))
    return ds


def pdf_bytes(report: QcReport, pixels: Rgb) -> bytes:
    """Return the PDF itself: A4, no patient data, equal bytes for equal arguments."""
    _register_fonts()
    buffer = io.BytesIO()
    document = SimpleDocTemplate(
        buffer,
        pagesize=A4,
        leftMargin=_PAGE_MARGIN,
        rightMargin=_PAGE_MARGIN,
        topMargin=_PAGE_MARGIN,
        bottomMargin=_PAGE_MARGIN,
        title=report.series_description,
        author="Overread",
        invariant=1,
    )
    research = report.content_qualification is ContentQualification.RESEARCH

    def footer(canvas: Canvas, _: SimpleDocTemplate) -> None:
        canvas.setFont(_FONT, 8)
        canvas.drawString(_PAGE_MARGIN, 8 * mm, f"case {report.case_id} · iteration {report.iteration}")
        canvas.drawRightString(A4[0] - _PAGE_MARGIN, 8 * mm, f"page {canvas.getPageNumber()}")
        if research:
            canvas.setFont(_BOLD, 9)
            canvas.drawCentredString(A4[0] / 2, 8 * mm, _NOT_FOR_DIAGNOSIS)

    document.build(_story(report, pixels), onFirstPage=footer, onLaterPages=footer)
    return buffer.getvalue()


def _register_fonts() -> None:
    for name, bold in ((_FONT, False), (_BOLD, True)):
        path = font_file(bold=bold)
        if path is not None and name not in pdfmetrics.getRegisteredFontNames():
            pdfmetrics.registerFont(TTFont(name, str(path)))


def _story(report: QcReport, pixels: Rgb) -> list[Flowable]:
    look = LOOKS[report.verdict.outcome]
    title = ParagraphStyle("title", fontName=_BOLD, fontSize=20, leading=26, textColor=_color(look.color))
    story: list[Flowable] = [Paragraph(f"{look.symbol} {look.word}", title)]
    if report.content_qualification is ContentQualification.RESEARCH:
        story.append(_paragraph(_NOT_FOR_DIAGNOSIS, bold=True))
    story += [_paragraph(line) for line in title_lines(report)]
    story += [Spacer(1, 3 * mm), _picture(pixels), PageBreak()]
    story += _section(
        "Reasons", [reason_text(reason) for reason in report.verdict.reasons] or ["Every criterion is met."]
    )
    story += [_paragraph("Findings", bold=True), _findings(report), Spacer(1, 4 * mm)]
    if report.comment:
        story += _section("Comment", [*report.comment.splitlines(), *_missing_characters(report.comment)])
    if report.edit is not None:
        changed = (
            f"stage {report.edit.stage}: {report.edit.voxels_changed} voxels changed, sent by {report.edit.sender}"
        )
        story += _section("Accepted edit", [changed])
    if report.signature is not None:
        signed = report.signature
        story += _section("Verified", [f"{signed.role.meaning}, {signed.organization}, {signed.at:%Y-%m-%d %H:%M %z}"])
    story += _section("How it was made", _provenance(report))
    return story


def _picture(pixels: Rgb) -> PdfImage:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    buffer.seek(0)
    width = A4[0] - 2 * _PAGE_MARGIN
    height = width * pixels.shape[0] / pixels.shape[1]
    scale = min(1.0, (A4[1] - 75 * mm) / height)
    return PdfImage(buffer, width=width * scale, height=height * scale)


def _findings(report: QcReport) -> Table:
    head = [_paragraph(text, bold=True) for text in ("", "finding", "segment", "value", "threshold", "stage")]
    rows = [head]
    for assessed in worst_first(report.verdict):
        look, finding = look_of(assessed.outcome), assessed.finding
        name = finding_title(finding.code) + (f": {finding.detail}" if finding.detail else "")
        texts = (name, finding.segment, value_text(finding), threshold_text(assessed), finding.stage)
        rows.append([_paragraph(f"{look.symbol} {look.word.lower()}"), *(_paragraph(text) for text in texts)])
    table = Table(rows, colWidths=[w * mm for w in (22, 46, 30, 28, 28, 26)], repeatRows=1)
    table.setStyle(
        TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LINEBELOW", (0, 0), (-1, -1), 0.25, colors.lightgrey),
                ("LEFTPADDING", (0, 0), (-1, -1), 2),
                ("RIGHTPADDING", (0, 0), (-1, -1), 2),
            ]
        )
    )
    return table


def _provenance(report: QcReport) -> list[str]:
    lines = [f"model {m.name} {m.version}, sha256 {m.digest}" for m in report.models]
    lines += [f"stage {stage}, key {key}" for stage, key in report.stage_keys.items()]
    lines += [f"study complete: {evidence}" for evidence in report.completion_evidence]
    lines.append(f"criteria {report.criteria_version}, input generation {report.generation}")
    return lines


def _missing_characters(text: str) -> list[str]:
    known = pdfmetrics.getFont(_FONT).face.charToGlyph
    if all(ord(character) in known or character.isspace() for character in text):
        return []
    return ["(Characters that this page cannot show are in the structured report.)"]


def _section(title: str, lines: Iterable[str]) -> list[Flowable]:
    return [_paragraph(title, bold=True), *(_paragraph(line) for line in lines), Spacer(1, 3 * mm)]


def _paragraph(text: str, *, bold: bool = False) -> Paragraph:
    style = ParagraphStyle("body", fontName=_BOLD if bold else _FONT, fontSize=8.5, leading=11, keepWithNext=bold)
    return Paragraph(escape(text), style)


def _color(rgb: tuple[int, int, int]) -> colors.Color:
    return colors.Color(*(0.8 * channel / 255 for channel in rgb))

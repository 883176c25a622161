"""Show objects as text: a report for people, a report as JSON, any object normalised for comparison in tests."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from datetime import datetime
from enum import Enum

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from dicom_sr.codes import QC_STATUSES
from dicom_sr.finding_codes import finding_title
from dicom_sr.qc_report import QcReport
from dicom_sr.verdict import AssessedFinding
from dicom_sr.verdict_look import look_of, reason_text, threshold_text, value_text, worst_first

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None

_CREATION = frozenset({"ContentDate", "ContentTime", "SeriesDate", "SeriesTime"})
_VERSIONS = frozenset({"SoftwareVersions", "ImplementationVersionName"})
_BULK_VRS = frozenset({"OB", "OW", "OF", "OD", "OL", "OV", "UN"})


def dump_text(report: QcReport) -> str:
    """Return a report as lines for a terminal; holds the comment and the signer, so it is not for logs."""
    lines = [
        f"{look_of(report.verdict.outcome).word}  {report.series_description}",
        f"case {report.case_id}, {report.pipeline.name} {report.pipeline.version}, generation {report.generation},"
        f" iteration {report.iteration}, criteria {report.criteria_version or 'unnamed'}",
    ]
    lines += [f"  because: {reason_text(reason)}" for reason in report.verdict.reasons]
    if report.qc_status is not None:
        status = QC_STATUSES.get(report.qc_status)
        lines.append(f"QC status: {report.qc_status if status is None else status.meaning}")
    if report.comment:
        lines += ["comment:", *(f"  {line}" for line in report.comment.splitlines())]
    if report.signature is not None:
        lines.append(f"verified by {report.signature.name}, {report.signature.role.meaning}, {report.signature.at}")
    if report.edit is not None:
        lines.append(
            f"edit of {report.edit.stage} by {report.edit.sender}: {report.edit.voxels_changed} voxels changed"
        )
    lines += [_finding_line(assessed) for assessed in worst_first(report.verdict)]
    lines += [f"segment {s.segment_number}: {s.label} ({s.property_type.meaning})" for s in report.segments]
    lines += [f"model {m.name} {m.version} {m.digest}" for m in report.models]
    lines += [f"stage {stage} {key}" for stage, key in report.stage_keys.items()]
    return "\n".join(lines) + "\n"


def dump_json(report: QcReport) -> Json:
    """Return a report as JSON values: the fields of the dataclasses by their names, times as ISO 8601."""
    return _json(report)


def golden(ds: Dataset) -> str:
    """Return any object as text that is the same for two objects that differ only in UIDs, creation and versions.

    UIDs under 2.25 are numbered in order of appearance, dates and times of creation and software versions are masked,
    bulk data is hashed.
    """
    numbers: dict[str, int] = {}
    return "\n".join(_lines(ds, 0, numbers)) + "\n"


def _finding_line(assessed: AssessedFinding) -> str:
    finding = assessed.finding
    subject = finding_title(finding.code) + (f" of {finding.segment}" if finding.segment else "")
    threshold = f" [{threshold_text(assessed)}]" if assessed.criterion is not None else ""
    detail = f" ({finding.detail})" if finding.detail else ""
    look = look_of(assessed.outcome)
    return f"  {look.symbol} {look.word.lower():<14} {subject}: {value_text(finding)}{threshold}{detail}"


def _json(value: object) -> Json:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, tuple | list):
        return [_json(part) for part in value]
    if isinstance(value, dict):
        return {str(key): _json(part) for key, part in value.items()}
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    return str(value)


def _lines(ds: Dataset, depth: int, numbers: dict[str, int]) -> Iterator[str]:
    for element in ds:
        name = element.keyword or str(element.tag)
        head = f"{'  ' * depth}{name} {element.VR}"
        if element.VR == "SQ":
            yield f"{head} x{len(element.value or ())}"
            for item in element.value or ():
                yield f"{'  ' * depth}-"
                yield from _lines(item, depth + 1, numbers)
        else:
            yield f"{head} {_shown(element, numbers)}"


def _shown(element: DataElement, numbers: dict[str, int]) -> str:
    if element.keyword in _CREATION or element.keyword.startswith("InstanceCreation") or element.VR == "DT":
        return "<time>"
    if element.keyword in _VERSIONS:
        return "<version>"
    if element.VR in _BULK_VRS:
        content = bytes(element.value or b"")
        return f"<{len(content)} bytes {hashlib.sha256(content).hexdigest()[:16]}>"
    values = element.value if element.VM > 1 else [element.value]
    return "\\".join(_numbered(str(value), numbers) if element.VR == "UI" else str(value) for value in values)


def _numbered(uid: str, numbers: dict[str, int]) -> str:
    if not uid.startswith("2.25."):
        return uid
    return f"<uid {numbers.setdefault(uid, len(numbers) + 1)}>"

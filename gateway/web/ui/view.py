"""Words and forms for what the pages show: names, times, sizes, verdicts, states, decisions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup, escape

from dicom_sr.verdict import Outcome
from gateway.domain.case import CaseState
from gateway.domain.instance import LABEL_MAP_SEGMENTATION_STORAGE
from gateway.domain.qc_status import NEEDS_REASON, QcStatus

STATE_WORDS: Mapping[str, str] = {
    CaseState.COLLECTING: "Collecting",
    CaseState.RUNNING: "Running",
    CaseState.IN_REVIEW: "In review",
    CaseState.AWAITING_EDIT: "Awaiting edit",
    CaseState.FINAL: "Final",
    CaseState.QUARANTINED: "Quarantined",
    CaseState.HELD: "Held",
}
VERDICT_WORDS: Mapping[str, str] = {
    Outcome.ACCEPT: "Accept",
    Outcome.REVIEW: "Review",
    Outcome.NOT_ASSESSABLE: "Not assessable",
    Outcome.REJECT: "Reject",
    "": "No verdict yet",
}
QC_WORDS: Mapping[str, str] = {
    QcStatus.NOT_REVIEWED: "Not reviewed",
    QcStatus.PASS: "Pass",
    QcStatus.PASS_WITH_EDITS: "Pass with edits",
    QcStatus.FAIL_NEEDS_REPROCESSING: "Needs reprocessing",
    QcStatus.QUARANTINED: "Quarantined",
    QcStatus.FAIL: "Fail",
}
OUTPUT_WORDS: Mapping[str, str] = {
    "SEG": "Segmentation",
    "IMAGE_QC_SR": "Image QC report",
    "SEG_QC_SR": "Segmentation QC report",
    "SUMMARY_SC": "Summary picture",
    "SUMMARY_PDF": "Summary PDF",
    "KOS": "Key object selection",
    "PROBABILITY_SEG": "Probability maps",
    "PSEUDO_TRUTH_SEG": "QC's own segmentation, no result",
}
CAUSE_WORDS: Mapping[str, str] = {
    "AUTOMATIC": "automatic run",
    "EDIT": "after an edit",
    "LATE_INSTANCES": "after late images",
}

_ACRONYMS: Mapping[str, str] = {word.lower(): word for word in ("QC", "UID", "SEG", "SR")}
#: What no person reads to its end: UIDs and hashes.
_IDENTIFIER = re.compile(r"[0-9a-f.]{18,}")
_BACKTICKS = re.compile(r"`([^`]+)`")
DOOR_WORDS: Mapping[str, str] = {"dicom": "C-STORE", "stow": "STOW-RS", "upload": "upload", "orthanc": "Orthanc"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionChoice:
    """A decision that is legal now, as a button: what it does in a few words, and whether it needs a reason."""

    qc_status: QcStatus
    label: str
    hint: str
    needs_reason: bool


_DECISIONS: Mapping[QcStatus, tuple[str, str]] = {
    QcStatus.PASS: ("Pass", "The automatic result is right; the case is final."),
    QcStatus.PASS_WITH_EDITS: ("Pass with edits", "The edited result is right; the case is final."),
    QcStatus.FAIL_NEEDS_REPROCESSING: ("Needs reprocessing", "Opens the door for an edited segmentation."),
    QcStatus.QUARANTINED: ("Quarantine", "Kept out of use until released."),
    QcStatus.FAIL: ("Fail", "The results are discarded for good."),
}


def decision_choice(decision: QcStatus, state: CaseState, *, is_segmented: bool = True) -> DecisionChoice:
    """Return a legal decision as a button; where nothing was segmented, what passes is the verdict."""
    if decision is QcStatus.NOT_REVIEWED:
        if state is CaseState.FINAL:
            return DecisionChoice(
                qc_status=decision,
                label="Reopen",
                hint="Back to review; what was decided stays on record.",
                needs_reason=True,
            )
        return DecisionChoice(qc_status=decision, label="Release", hint="Back to review.", needs_reason=False)
    label, hint = _DECISIONS[decision]
    if decision is QcStatus.PASS and not is_segmented:
        hint = "The machine's verdict is right; the case is final."
    return DecisionChoice(qc_status=decision, label=label, hint=hint, needs_reason=decision in NEEDS_REASON)


def person(name: str) -> str:
    """Return a DICOM person name in reading order of a list: ``Family, Given``; its first group with text."""
    group = next((part for part in name.split("=") if part.strip("^ ")), "")
    family, given, *_ = (*group.split("^"), "", "")
    return f"{family}, {given}" if given else family


def day(date: str) -> str:
    """Return a DICOM date as ``2026-11-22``; anything else as it is."""
    return f"{date[:4]}-{date[4:6]}-{date[6:]}" if len(date) == 8 and date.isdigit() else date


def sentence(text: str) -> str:
    """Return a sentence of ours with a capital."""
    return text[:1].upper() + text[1:]


def sentence_case(code: str) -> str:
    """Return a code such as ``CASE_OPENED`` as words."""
    words = code.replace("_", " ").lower()
    words = " ".join(_ACRONYMS.get(word, word) for word in words.split(" "))
    return sentence(words)


def ago(then: datetime | None, now: datetime) -> str:
    """Return how long ago something was, in one unit."""
    if then is None:
        return "never"
    seconds = max(0, int((now - then).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return "just now"


def seconds(value: float) -> str:
    """Return a duration with two or three digits."""
    if value >= 120:
        return f"{value / 60:.1f} min"
    return f"{value:.1f} s" if value >= 1 else f"{value * 1000:.0f} ms"


def size(count: int) -> str:
    """Return a size in bytes with its unit."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return ""


def number(value: float | None, unit: str = "1") -> str:
    """Return a measured value with its unit; ``-`` when there is none."""
    if value is None:
        return "–"  # noqa: RUF001 - a dash in the place of a number
    text = f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return text if unit == "1" else f"{text} {unit}"


def short(text: str) -> str:
    """Return the end of a UID or hash, enough to tell two apart; words as they are."""
    return f"…{text[-12:]}" if _IDENTIFIER.fullmatch(text) else text


def facts(detail: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return the facts of an audit event as names and texts; what says nothing is left out."""
    found = []
    for name, value in detail.items():
        several = value if isinstance(value, list | tuple) else [value]
        texts = [short(str(one)) for one in several if one not in ("", None)]
        if texts:
            found.append((name.replace("_", " "), ", ".join(texts)))
    return found


def code_marks(text: str) -> Markup:
    """Return text in which `backticks` mark code as HTML."""
    return Markup(_BACKTICKS.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped just before


def uid_word(uid: str) -> str:
    """Return what a UID of the standard stands for, the UID itself for any other."""
    from pydicom.uid import UID

    if uid == LABEL_MAP_SEGMENTATION_STORAGE:
        # Younger than pydicom's dictionary.
        return "Label Map Segmentation Storage"
    return UID(uid).name

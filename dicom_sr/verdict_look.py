"""How a verdict looks to people: word, symbol and colour, never colour alone; findings as short texts."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_sr.finding_codes import finding_concept, finding_title
from dicom_sr.sr_findings import bounds_sentence
from dicom_sr.verdict import AssessedFinding, Finding, Outcome, Reason, Verdict


@dataclass(frozen=True, slots=True)
class Look:
    """Word, symbol and colour of an outcome; the colours stay apart for the colour-blind (Okabe and Ito)."""

    word: str
    symbol: str
    color: tuple[int, int, int]


LOOKS = {
    Outcome.ACCEPT: Look("ACCEPT", "✓", (0, 158, 115)),
    Outcome.REVIEW: Look("REVIEW", "!", (230, 159, 0)),
    Outcome.NOT_ASSESSABLE: Look("NOT ASSESSABLE", "?", (120, 144, 180)),
    Outcome.REJECT: Look("REJECT", "✗", (222, 75, 60)),
}
_UNITS = {"[hnsf'U]": "HU"}
_ASKED_FOR = ("PREDICTED_DICE", "PREDICTED_HD95", "ENSEMBLE_AGREEMENT", "OUT_OF_DISTRIBUTION", "VOLUME")
INFORMATIVE = Look("", "·", (120, 126, 136))


def look_of(outcome: Outcome | None) -> Look:
    """Return the look of an outcome; a plain one for a finding that no criterion judged."""
    return INFORMATIVE if outcome is None else LOOKS[outcome]


def value_text(finding: Finding) -> str:
    """Return value, unit and interval of a finding, for instance ``0.71 (0.62-0.79)``."""
    if finding.value is None:
        return "not measurable"
    if finding_concept(finding.code).is_rule and finding.value in (0.0, 1.0):
        return "yes" if finding.value else "no"
    unit = "" if finding.unit in ("1", "") else f" {_UNITS.get(finding.unit, finding.unit)}"
    text = f"{_short(finding.value)}{unit}"
    if finding.low is not None and finding.high is not None:
        between = "-" if finding.low >= 0 and finding.high >= 0 else " to "
        text += f" ({_short(finding.low)}{between}{_short(finding.high)})"
    return text


def threshold_text(assessed: AssessedFinding) -> str:
    """Return the bounds of the criterion that judged a finding, empty where there is none."""
    if assessed.criterion is None:
        return ""
    if finding_concept(assessed.finding.code).is_rule and assessed.criterion.reject_above is not None:
        return "reject if yes"
    if finding_concept(assessed.finding.code).is_rule and assessed.criterion.review_above is not None:
        return "review if yes"
    return bounds_sentence(assessed.criterion)


def reason_text(reason: Reason) -> str:
    """Return a reason as one sentence that names the finding and the segment."""
    title, text = finding_title(reason.code), reason.text.strip()
    if text.lower().startswith(reason.code.replace("_", " ").lower()):
        return text[:1].upper() + text[1:]
    subject = f"{title} of {reason.segment}" if reason.segment else title
    return f"{subject}: {text}" if text else subject


def worst_first(verdict: Verdict) -> list[AssessedFinding]:
    """Return the findings, worst outcome first, those no criterion judged last.

    Among equals come what people ask for first, then other measurements, then rules.
    """

    def key(assessed: AssessedFinding) -> tuple[int, int]:
        severity = -1 if assessed.outcome is None else assessed.outcome.severity
        code = assessed.finding.code
        asked = _ASKED_FOR.index(code) if code in _ASKED_FOR else len(_ASKED_FOR)
        return -severity, asked + finding_concept(code).is_rule

    return sorted(verdict.assessed, key=key)


def _short(value: float) -> str:
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"

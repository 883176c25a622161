"""One line of what `overread check` prints: what was looked at, what came out, and a sentence that says the way out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gateway.commands.output import ExitCode


class Outcome(StrEnum):
    """What a check says, as a word that reads without colour."""

    GOOD = "ok"
    NOTE = "note"
    FAILED = "FAIL"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """One line of the table: what was looked at, what came out, a sentence, and the exit code if it failed."""

    name: str
    outcome: Outcome
    detail: str
    code: ExitCode = ExitCode.FAILED


def good(name: str, detail: str) -> CheckResult:
    """Return a line that says all is well."""
    return CheckResult(name=name, outcome=Outcome.GOOD, detail=detail, code=ExitCode.DONE)


def note(name: str, detail: str) -> CheckResult:
    """Return a line that says something worth knowing, and no fault."""
    return CheckResult(name=name, outcome=Outcome.NOTE, detail=detail, code=ExitCode.DONE)


def failed(name: str, detail: str, code: ExitCode = ExitCode.FAILED) -> CheckResult:
    """Return a line that says what is wrong."""
    return CheckResult(name=name, outcome=Outcome.FAILED, detail=detail, code=code)

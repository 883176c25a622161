"""Whether a study is complete: what speaks for it, what against, how long to wait, and how sure that is in the end.

DICOM has no "this was the last image". What there is are signs of different strength: silence, the end of an
association, and lists of what should be there, by the modality, an archive, the sender or the configuration.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class AnnouncementKind(StrEnum):
    """What announced instances of a study."""

    PROCEDURE_STEP = "MPPS"
    AVAILABILITY = "IAN"
    COMMITMENT = "COMMITMENT_REQUEST"
    STABLE_STUDY = "STABLE_STUDY"

    @property
    def announcer(self) -> str:
        """Who says so, as the subject of a sentence."""
        return _ANNOUNCERS[self]


_ANNOUNCERS: Final = {
    AnnouncementKind.PROCEDURE_STEP: "the modality's procedure step",
    AnnouncementKind.AVAILABILITY: "an availability notification",
    AnnouncementKind.COMMITMENT: "a storage commitment request",
    AnnouncementKind.STABLE_STUDY: "the followed archive's stable study",
}


class StepState(StrEnum):
    """Performed Procedure Step Status (0040,0252); other announcements are COMPLETED as they come."""

    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    DISCONTINUED = "DISCONTINUED"


#: What an N-SET may make of a procedure step, PS3.4 F.7.2.2; a final one is never changed.
STEP_TRANSITIONS: Final = {
    (StepState.IN_PROGRESS, StepState.IN_PROGRESS): StepState.IN_PROGRESS,
    (StepState.IN_PROGRESS, StepState.COMPLETED): StepState.COMPLETED,
    (StepState.IN_PROGRESS, StepState.DISCONTINUED): StepState.DISCONTINUED,
}


class Sureness(StrEnum):
    """How sure it is that a study is complete."""

    #: Everything on a list is here, and nothing speaks against it.
    PROVEN = "PROVEN"
    #: Nothing speaks against it, and there is no list.
    LIKELY = "LIKELY"
    #: Something speaks against it, and the patience for that is over.
    UNPROVEN = "UNPROVEN"

    @property
    def sentence(self) -> str:
        """For the report."""
        return _SURENESS[self]


_SURENESS: Final = {
    Sureness.PROVEN: "completeness is proven by a list",
    Sureness.LIKELY: "completeness is likely: nobody said what the study holds",
    Sureness.UNPROVEN: "completeness is not proven: the time to wait was over",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """An announcement against what is here.

    Parameters
    ----------
    kind : AnnouncementKind
        What announced it.
    state : StepState
        Whether it is final.
    listed, held : int
        Instances it lists, and those of them that are here.
    """

    kind: AnnouncementKind
    state: StepState
    listed: int
    held: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a study now.

    Parameters
    ----------
    quiet_seconds : float
        Since the last new instance.
    is_arriving : bool
        Whether an association that brought some of it is open.
    announced : tuple of Announced
        In the order they came.
    instances : int
        Instances that are here.
    expected_instances : int or None
        Instances its sender says it has; None when it was not asked or does not say.
    expected_series, found_series : int
        Series its sender always sends, and those of them that are here; 0 when none are configured.
    series_with_gaps : int or None
        Image series in which slices are missing; None when that was not looked at.
    """

    quiet_seconds: float
    is_arriving: bool
    announced: tuple[Announced, ...] = ()
    instances: int = 0
    expected_instances: int | None = None
    expected_series: int = 0
    found_series: int = 0
    series_with_gaps: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait, seconds without a new instance.

    Parameters
    ----------
    quiet : float
        When nothing speaks against completeness.
    doubtful : float
        When something does.
    in_progress : float
        When a procedure step was begun and not ended.
    """

    quiet: float
    doubtful: float
    in_progress: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the facts come to.

    Parameters
    ----------
    may_close : bool
        Whether the study may be taken as complete now.
    sureness : Sureness
        How sure that is.
    sentences : tuple of str
        The evidence in words, the sureness last.
    """

    may_close: bool
    sureness: Sureness
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Sign:
    sentence: str
    #: None: says nothing of itself.
    speaks_for: bool | None = None
    #: Seconds to wait although it speaks against.
    patience: float = 0.0


def judge(facts: Facts, patience: Patience) -> Judgement:
    """Weigh what is known of a study.

    Parameters
    ----------
    facts : Facts
        What is known.
    patience : Patience
        How long to wait.
    """
    signs = tuple(_signs(facts, patience))
    against = [sign for sign in signs if sign.speaks_for is False]
    if against:
        sureness = Sureness.UNPROVEN
    else:
        sureness = Sureness.PROVEN if any(sign.speaks_for for sign in signs) else Sureness.LIKELY
    wait = max([patience.quiet, *(sign.patience for sign in against)])
    return Judgement(
        may_close=facts.quiet_seconds >= wait,
        sureness=sureness,
        sentences=(*(sign.sentence for sign in signs), sureness.sentence),
    )


def _signs(facts: Facts, patience: Patience) -> Iterator[_Sign]:
    yield _Sign(f"no new instance for {facts.quiet_seconds:.0f} s")
    if facts.is_arriving:
        yield _Sign("an association that brought it is still open", speaks_for=False, patience=patience.doubtful)
    else:
        yield _Sign("every association that brought it has ended")
    for announced in facts.announced:
        yield _announced(announced, patience)
    if facts.expected_series:
        yield _listed("expected series", facts.found_series, facts.expected_series, patience)
    if facts.expected_instances is not None:
        what = "instances that the sender reports"
        yield _listed(what, facts.instances, facts.expected_instances, patience)
    if facts.series_with_gaps:
        words = f"slices are missing in {facts.series_with_gaps} series"
        yield _Sign(words, speaks_for=False, patience=patience.doubtful)
    elif facts.series_with_gaps == 0:
        yield _Sign("no slice is missing between others")


def _announced(announced: Announced, patience: Patience) -> _Sign:
    who = announced.kind.announcer
    if announced.state is StepState.IN_PROGRESS:
        return _Sign(f"{who} is not finished", speaks_for=False, patience=patience.in_progress)
    if announced.kind is AnnouncementKind.PROCEDURE_STEP:
        who = f"{who} ({announced.state.lower()})"
    if not announced.listed:
        return _Sign(f"{who} lists no instance")
    return _listed(f"instances that {who} lists", announced.held, announced.listed, patience)


def _listed(what: str, held: int, listed: int, patience: Patience) -> _Sign:
    return _Sign(f"{held} of {listed} {what}", speaks_for=held >= listed, patience=patience.doubtful)

"""Which earlier studies of a patient may be fetched: never one of somebody who may be another person.

A Patient ID means a person only together with who issued it. Where the issuer of either side is unknown, or where what
both sides say of the person differs, a study is not the patient's, however likely that is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum


class SearchState(StrEnum):
    """How far the search for the priors of a study is."""

    DUE = "DUE"
    DONE = "DONE"
    #: The study does not say for certain who the patient is.
    REFUSED = "REFUSED"
    #: The archive could not be asked for a long time.
    GIVEN_UP = "GIVEN_UP"
    #: The study came as a prior of another: none are sought for it.
    IS_PRIOR = "IS_PRIOR"


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientIdentity:
    """Who the patient is, as an image or an archive says.

    Parameters
    ----------
    patient_id, issuer : str
        Patient ID (0010,0020) and Issuer of Patient ID (0010,0021).
    birth_date : str
        ``YYYYMMDD``; empty where it is not told.
    """

    patient_id: str
    issuer: str
    birth_date: str = ""

    def with_issuer(self, issuer: str) -> PatientIdentity:
        """Return it with an issuer where it names none."""
        return PatientIdentity(patient_id=self.patient_id, issuer=self.issuer or issuer, birth_date=self.birth_date)

    @property
    def is_certain(self) -> bool:
        """Whether it says whose ID that is."""
        return bool(self.patient_id and self.issuer)

    def is_surely(self, other: PatientIdentity) -> bool:
        """Whether both are one person for certain: same ID of the same issuer, and no two birth dates."""
        if not self.is_certain or (self.patient_id, self.issuer) != (other.patient_id, other.issuer):
            return False
        return self.birth_date == other.birth_date or not (self.birth_date and other.birth_date)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A study that an archive lists under a Patient ID.

    Parameters
    ----------
    study_instance_uid, study_date : str
        Which, and when; the date is ``YYYYMMDD``.
    modalities : tuple of str
        Modalities in Study; empty where the archive does not say.
    patient : PatientIdentity
        As the archive names the patient of this study.
    """

    study_instance_uid: str
    study_date: str
    modalities: tuple[str, ...]
    patient: PatientIdentity


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorRule:
    """What a prior must be.

    Parameters
    ----------
    modalities : collection of str
        One of which it has; empty for any.
    within_days : int
        How much older than the new study it may be.
    maximum : int
        Most priors.
    """

    modalities: Collection[str]
    within_days: int
    maximum: int

    def earliest(self, of_day: date) -> date:
        """Return the earliest day of a prior of a study of that day."""
        return max(date.min + timedelta(days=self.within_days), of_day) - timedelta(days=self.within_days)


def choose(
    candidates: Iterable[Candidate], *, study_instance_uid: str, patient: PatientIdentity, of_day: date, rule: PriorRule
) -> tuple[Candidate, ...]:
    """Return the priors to fetch, newest first.

    Parameters
    ----------
    candidates : iterable of Candidate
        What the archive lists.
    study_instance_uid : str
        The new study.
    patient : PatientIdentity
        Whose it is.
    of_day : date
        When it was made.
    rule : PriorRule
        What a prior must be.
    """
    earliest, latest = f"{rule.earliest(of_day):%Y%m%d}", f"{of_day:%Y%m%d}"
    fitting = {
        one.study_instance_uid: one
        for one in candidates
        if one.study_instance_uid != study_instance_uid
        and one.study_date.isdecimal()
        and len(one.study_date) == len(latest)
        and earliest <= one.study_date <= latest
        and (not rule.modalities or set(rule.modalities) & set(one.modalities))
        and patient.is_surely(one.patient)
    }
    newest_first = sorted(fitting.values(), key=lambda one: (one.study_date, one.study_instance_uid), reverse=True)
    return tuple(newest_first[: rule.maximum])

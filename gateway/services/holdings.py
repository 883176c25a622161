"""What the node holds by study, series and instance: received objects and its own outputs, as queries ask for them."""

from __future__ import annotations

import fnmatch
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from sqlalchemy import ColumnElement, exists, func, or_
from sqlalchemy.orm import Mapped
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from gateway.domain.pipeline import OutputKind
from gateway.services.blob_references import is_offered
from gateway.store.database import Database
from gateway.store.tables import Instance, Output, Series, Study

#: Modality (0008,0060) of each kind of output.
OUTPUT_MODALITY: Mapping[str, str] = {
    OutputKind.SEG: "SEG",
    OutputKind.IMAGE_QC_SR: "SR",
    OutputKind.SEG_QC_SR: "SR",
    OutputKind.SUMMARY_SC: "OT",
    OutputKind.SUMMARY_PDF: "DOC",
    OutputKind.KOS: "KO",
    OutputKind.PROBABILITY_SEG: "SEG",
    OutputKind.PSEUDO_TRUTH_SEG: "SEG",
}
#: Studies looked at per step of a query that reaches below the study level.
_STEP = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldingQuery:
    r"""What is asked for: attribute keywords with the text to match (PS3.4 C.2.2.2), and the page.

    Parameters
    ----------
    study, series, instance : mapping of str to str
        Matching keys of each level; wildcards ``*`` and ``?``, date ranges with ``-``, UID lists with ``,`` or ``\\``.
    limit, offset : int
        Page.
    """

    study: Mapping[str, str] = field(default_factory=dict)
    series: Mapping[str, str] = field(default_factory=dict)
    instance: Mapping[str, str] = field(default_factory=dict)
    limit: int = 100
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldStudy:
    """A study with what it holds; attributes by keyword. One that retention has emptied holds nothing any more."""

    study_instance_uid: str
    attributes: Mapping[str, str]
    modalities: tuple[str, ...]
    series_count: int
    instance_count: int
    changed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldInstance:
    """An instance held; `case_id` is set for the gateway's own outputs."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    sha256: str
    size: int
    instance_number: str = ""
    rows: int = 0
    columns: int = 0
    number_of_frames: int = 1
    modality: str = ""
    case_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldSeries:
    """A series with its instances; attributes by keyword, without those only its files know."""

    study: HeldStudy
    series_instance_uid: str
    attributes: Mapping[str, str]
    instances: tuple[HeldInstance, ...]


#: Column of `Study` by attribute keyword.
STUDY_KEYS: Mapping[str, str] = {
    "StudyInstanceUID": "study_instance_uid",
    "PatientID": "patient_id",
    "PatientName": "patient_name",
    "PatientBirthDate": "patient_birth_date",
    "PatientSex": "patient_sex",
    "StudyDate": "study_date",
    "StudyTime": "study_time",
    "AccessionNumber": "accession_number",
    "ReferringPhysicianName": "referring_physician_name",
    "StudyID": "study_id",
    "StudyDescription": "study_description",
}
#: Matched through the series of a study.
MODALITIES_IN_STUDY = "ModalitiesInStudy"
SERIES_KEYS = frozenset({"SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription", "BodyPartExamined"})
#: Columns of received series that are asked for before any series is read.
_RECEIVED_SERIES_KEYS = {
    "SeriesDescription": Series.series_description,
    "SeriesNumber": Series.series_number,
    "BodyPartExamined": Series.body_part_examined,
}
INSTANCE_KEYS = frozenset({"SOPInstanceUID", "SOPClassUID", "InstanceNumber"})
_RANGES = frozenset({"StudyDate", "StudyTime", "PatientBirthDate"})
_NAMES = frozenset({"PatientName", "ReferringPhysicianName"})


def find_studies(database: Database, query: HoldingQuery) -> tuple[HeldStudy, ...]:
    """Return the studies that fit, newest first."""
    with database.read() as session:
        rows = _study_rows(session, query.study, query.limit, query.offset)
        return _with_contents(session, rows)


def find_series(database: Database, query: HoldingQuery) -> tuple[HeldSeries, ...]:
    """Return the series that fit, those of the newest studies first."""
    with database.read() as session:
        return tuple(islice(_series(session, query), query.offset, query.offset + query.limit))


def find_instances(database: Database, query: HoldingQuery) -> tuple[tuple[HeldSeries, HeldInstance], ...]:
    """Return the instances that fit with their series, in the order of series and instance number."""
    with database.read() as session:
        found = ((series, instance) for series in _series(session, query) for instance in series.instances)
        return tuple(islice(found, query.offset, query.offset + query.limit))


def instances_of(
    database: Database, study_uid: str, series_uid: str = "", sop_instance_uid: str = ""
) -> tuple[HeldInstance, ...]:
    """Return the instances of a study, a series, or one; empty when there are none."""
    with database.read() as session:
        found = _instances(session, (study_uid,), series_uid, sop_instance_uid)
    return tuple(sorted(found, key=_order))


def _study_rows(session: Session, keys: Mapping[str, str], limit: int, offset: int) -> Sequence[Study]:
    return session.exec(_newest(_study_conditions(keys)).limit(limit).offset(offset)).all()


def _newest(conditions: Iterable[ColumnElement[bool]]) -> SelectOfScalar[Study]:
    query = select(Study).where(*conditions)
    return query.order_by(col(Study.last_received_at).desc(), col(Study.study_instance_uid))


def _study_conditions(keys: Mapping[str, str]) -> Iterator[ColumnElement[bool]]:
    for keyword, text in keys.items():
        condition = _modality_condition(text) if keyword == MODALITIES_IN_STUDY else _condition(keyword, text)
        if condition is not None:
            yield condition


def _contents_conditions(query: HoldingQuery) -> Iterator[ColumnElement[bool]]:
    """Yield what must be so of a study for any of its series or instances to fit: asked of the database at once."""
    uid = col(Study.study_instance_uid)
    modality = _modality_condition(query.series.get("Modality", ""))
    if modality is not None:
        yield modality
    for keyword, column in _RECEIVED_SERIES_KEYS.items():
        text = query.series.get(keyword, "")
        if text not in ("", "*"):
            # Only as received: of the gateway's own series the index knows no description.
            like = or_(*(_like(col(column), part) for part in _uids(text)))
            yield exists().where(col(Series.study_instance_uid) == uid, like)
    classes = _uids(query.instance.get("SOPClassUID", ""))
    if classes and not any("*" in one or "?" in one for one in classes):
        yield or_(
            exists().where(col(Instance.study_instance_uid) == uid, col(Instance.sop_class_uid).in_(classes)),
            exists().where(col(Output.study_instance_uid) == uid, col(Output.sop_class_uid).in_(classes)),
        )
    named = (
        (query.series.get("SeriesInstanceUID", ""), col(Series.series_instance_uid), Series.study_instance_uid),
        (query.series.get("SeriesInstanceUID", ""), col(Output.series_instance_uid), Output.study_instance_uid),
        (query.instance.get("SOPInstanceUID", ""), col(Instance.sop_instance_uid), Instance.study_instance_uid),
        (query.instance.get("SOPInstanceUID", ""), col(Output.sop_instance_uid), Output.study_instance_uid),
    )
    for received, made in (named[:2], named[2:]):
        wanted = _uids(received[0])
        if wanted and not any("*" in one or "?" in one for one in wanted):
            yield or_(
                uid.in_(select(received[2]).where(received[1].in_(wanted))),
                uid.in_(select(made[2]).where(made[1].in_(wanted))),
            )


def _condition(keyword: str, text: str) -> ColumnElement[bool] | None:
    column: Mapped[str] = col(getattr(Study, STUDY_KEYS[keyword]))
    if text in ("", "*"):
        return None
    if keyword == "StudyInstanceUID":
        return column.in_(_uids(text))
    if keyword in _RANGES and "-" in text:
        first, _, last = text.partition("-")
        # A bound of few digits names the whole day or minute: 10 digits-or-colon text sorts behind its prefix.
        return (column >= first) & (column <= (last + "~" if last else "~"))
    if "*" in text or "?" in text:
        return _like(column, text, of_any_case=keyword in _NAMES)
    if keyword in _NAMES:
        # By the database on both sides: which letters have small ones is its own to know.
        return func.lower(column) == func.lower(text)
    return column == text


def _like(column: Mapped[str], text: str, *, of_any_case: bool = False) -> ColumnElement[bool]:
    """Return the condition for a text with wildcards; SQLite never tells capital letters from small ones."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    pattern = escaped.replace("*", "%").replace("?", "_")
    if of_any_case:
        return func.lower(column).like(func.lower(pattern), escape="\\")
    return column.like(pattern, escape="\\")


def _modality_condition(text: str) -> ColumnElement[bool] | None:
    wanted = [part for part in text.replace("\\", ",").split(",") if part]
    if not wanted or "*" in wanted:
        return None
    kinds = [kind for kind, modality in OUTPUT_MODALITY.items() if modality in wanted]
    # Asked study by study, so that a page is full after the first few, however many studies fit.
    uid = col(Study.study_instance_uid)
    received = exists().where(col(Series.study_instance_uid) == uid, col(Series.modality).in_(wanted))
    made = exists().where(col(Output.study_instance_uid) == uid, col(Output.kind).in_(kinds))
    return or_(received, made) if kinds else received


def _with_contents(session: Session, rows: Sequence[Study]) -> tuple[HeldStudy, ...]:
    uids = [row.study_instance_uid for row in rows]
    modalities: dict[str, set[str]] = defaultdict(set)
    series: dict[str, set[str]] = defaultdict(set)
    counts: dict[str, int] = defaultdict(int)
    for study, uid, modality in session.exec(
        select(Series.study_instance_uid, Series.series_instance_uid, Series.modality).where(
            col(Series.study_instance_uid).in_(uids),
            exists().where(
                col(Instance.series_instance_uid) == col(Series.series_instance_uid), is_offered(col(Instance.sha256))
            ),
        )
    ):
        modalities[study].add(modality)
        series[study].add(uid)
    for study, number in session.exec(
        select(Instance.study_instance_uid, func.count())
        .where(col(Instance.study_instance_uid).in_(uids), is_offered(col(Instance.sha256)))
        .group_by(col(Instance.study_instance_uid))
    ):
        counts[study] += number
    for study, uid, kind in session.exec(
        select(Output.study_instance_uid, Output.series_instance_uid, Output.kind).where(
            col(Output.study_instance_uid).in_(uids), is_offered(col(Output.sha256))
        )
    ):
        modalities[study].add(OUTPUT_MODALITY.get(kind, "OT"))
        series[study].add(uid)
        counts[study] += 1
    return tuple(
        HeldStudy(
            study_instance_uid=row.study_instance_uid,
            attributes={keyword: str(getattr(row, column)) for keyword, column in STUDY_KEYS.items()},
            modalities=tuple(sorted(m for m in modalities[row.study_instance_uid] if m)),
            series_count=len(series[row.study_instance_uid]),
            instance_count=counts[row.study_instance_uid],
            changed_at=row.last_received_at,
        )
        for row in rows
    )


def _series(session: Session, query: HoldingQuery) -> Iterator[HeldSeries]:
    conditions = [*_study_conditions(query.study), *_contents_conditions(query)]
    behind: list[ColumnElement[bool]] = []
    while rows := session.exec(_newest([*conditions, *behind]).limit(_STEP)).all():
        for study in _with_contents(session, rows):
            yield from _series_of(session, study, query)
        if len(rows) < _STEP:
            break
        last, uid = col(Study.last_received_at), col(Study.study_instance_uid)
        at, name = rows[-1].last_received_at, rows[-1].study_instance_uid
        # From where the last step ended: to skip what was read would cost more with every step.
        behind = [last <= at, or_(last < at, uid > name)]


def _series_of(session: Session, study: HeldStudy, query: HoldingQuery) -> Iterator[HeldSeries]:
    wanted_series = query.series.get("SeriesInstanceUID", "")
    single = wanted_series if wanted_series and len(_uids(wanted_series)) == 1 else ""
    grouped: dict[str, list[HeldInstance]] = defaultdict(list)
    for instance in _instances(session, (study.study_instance_uid,), single, ""):
        grouped[instance.series_instance_uid].append(instance)
    received = {
        row.series_instance_uid: row
        for row in session.exec(select(Series).where(Series.study_instance_uid == study.study_instance_uid))
    }
    for uid in sorted(grouped, key=lambda uid: (uid not in received, uid)):
        row = received.get(uid)
        attributes = {
            "SeriesInstanceUID": uid,
            "Modality": row.modality if row else grouped[uid][0].modality,
            "SeriesNumber": row.series_number if row else "",
            "SeriesDescription": row.series_description if row else "",
            "BodyPartExamined": row.body_part_examined if row else "",
        }
        if not all(fits(attributes[keyword], text) for keyword, text in query.series.items()):
            continue
        instances = tuple(sorted((i for i in grouped[uid] if _is_wanted(i, query.instance)), key=_order))
        if instances:
            yield HeldSeries(study=study, series_instance_uid=uid, attributes=attributes, instances=instances)


def _instances(
    session: Session, study_uids: Sequence[str], series_uid: str, sop_instance_uid: str
) -> Iterable[HeldInstance]:
    made = select(Output).where(col(Output.study_instance_uid).in_(study_uids), is_offered(col(Output.sha256)))
    received = select(Instance, Series.modality).where(
        col(Instance.study_instance_uid).in_(study_uids),
        Instance.series_instance_uid == Series.series_instance_uid,
        is_offered(col(Instance.sha256)),
    )
    if series_uid:
        made = made.where(Output.series_instance_uid == series_uid)
        received = received.where(Instance.series_instance_uid == series_uid)
    if sop_instance_uid:
        made = made.where(Output.sop_instance_uid == sop_instance_uid)
        received = received.where(Instance.sop_instance_uid == sop_instance_uid)
    outputs = {row.sop_instance_uid: _of_output(row) for row in session.exec(made)}
    instances = [_of_instance(row, modality) for row, modality in session.exec(received)]
    return [*(i for i in instances if i.sop_instance_uid not in outputs), *outputs.values()]


def _of_instance(row: Instance, modality: str) -> HeldInstance:
    return HeldInstance(
        study_instance_uid=row.study_instance_uid,
        series_instance_uid=row.series_instance_uid,
        sop_instance_uid=row.sop_instance_uid,
        sop_class_uid=row.sop_class_uid,
        transfer_syntax_uid=row.transfer_syntax_uid,
        sha256=row.sha256,
        size=row.size,
        instance_number=row.instance_number,
        rows=row.rows,
        columns=row.columns,
        number_of_frames=row.number_of_frames,
        modality=modality,
    )


def _of_output(row: Output) -> HeldInstance:
    return HeldInstance(
        study_instance_uid=row.study_instance_uid,
        series_instance_uid=row.series_instance_uid,
        sop_instance_uid=row.sop_instance_uid,
        sop_class_uid=row.sop_class_uid,
        transfer_syntax_uid=row.transfer_syntax_uid,
        sha256=row.sha256,
        size=row.size,
        modality=OUTPUT_MODALITY.get(row.kind, "OT"),
        case_id=row.case_id,
    )


def _is_wanted(instance: HeldInstance, keys: Mapping[str, str]) -> bool:
    values = {
        "SOPInstanceUID": instance.sop_instance_uid,
        "SOPClassUID": instance.sop_class_uid,
        "InstanceNumber": instance.instance_number,
    }
    return all(fits(values[keyword], text) for keyword, text in keys.items())


def fits(value: str, wanted: str) -> bool:
    """Whether an attribute's value fits a matching key: empty or ``*`` fits all, a list fits any of its parts."""
    if wanted in ("", "*"):
        return True
    return any(
        fnmatch.fnmatchcase(value, part.replace("[", "[[]")) if "*" in part or "?" in part else value == part
        for part in _uids(wanted)
    )


def _uids(text: str) -> list[str]:
    return [part for part in text.replace("\\", ",").split(",") if part]


def _order(instance: HeldInstance) -> tuple[str, int, str]:
    number = int(instance.instance_number) if instance.instance_number.lstrip("-").isdigit() else 0
    return instance.series_instance_uid, number, instance.sop_instance_uid

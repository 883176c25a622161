"""`overread check --study FOLDER`: what would happen to a study that is sent, before anybody sends it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from gateway.commands.check_line import CheckResult, failed, good, note
from gateway.config import Config
from gateway.domain.errors import GatewayError
from gateway.domain.pipeline import Pipeline, StageKind, match
from gateway.services.courier import Parcel

_AT_ONCE = 500


def check_study(config: Config, folder: Path, data: Path | None) -> Iterator[CheckResult]:
    """Say for each series which pipeline takes it and what image QC says, or which rule stops it.

    Parameters
    ----------
    config : Config
        Pipelines, and the AE title that is called.
    folder : Path
        DICOM files.
    data : Path, optional
        Data folder, to say what is held already.
    """
    from gateway.client.sending import read_parcels

    parcels = list(read_parcels([folder]))
    if not parcels:
        yield failed("study", f"no DICOM file found in {folder}")
        return
    studies = len({parcel.study_instance_uid for parcel in parcels})
    if studies > 1:
        yield note("study", f"the files are of {studies} studies: each makes cases of its own")
    yield from _repeated(parcels)
    yield from _held(parcels, config, data)
    yield from _refused_classes(parcels)
    series: dict[str, dict[str, Path]] = {}
    for parcel in parcels:
        series.setdefault(parcel.series_instance_uid, {}).setdefault(parcel.sop_instance_uid, parcel.path)
    pipelines = tuple(pipeline.to_domain() for pipeline in config.pipelines)
    for number, files in enumerate(series.values(), 1):
        yield _series(f"series {number} ({len(files)} files)", list(files.values()), pipelines, config)


def _repeated(parcels: Sequence[Parcel]) -> Iterator[CheckResult]:
    """Say which SOP Instance UIDs come in several files: equal ones are one instance, others are held."""
    counts = Counter(parcel.sop_instance_uid for parcel in parcels)
    equal = other = 0
    for uid, count in counts.items():
        if count > 1:
            contents = {parcel.path.read_bytes() for parcel in parcels if parcel.sop_instance_uid == uid}
            equal, other = (equal + 1, other) if len(contents) == 1 else (equal, other + 1)
    if equal:
        yield note("duplicates", f"{equal} instances are there more than once, byte for byte: each counts once")
    if other:
        yield failed(
            "duplicates",
            f"{other} SOP Instance UIDs have different contents: the first that comes counts, the others are held",
        )


def _held(parcels: Sequence[Parcel], config: Config, data: Path | None) -> Iterator[CheckResult]:
    """Say how many instances the gateway has already."""
    from sqlmodel import col, select

    from gateway.services.open_database import has_database, open_database
    from gateway.store.tables import Instance

    if data is None or not has_database(config, data):
        return
    uids, known = sorted({parcel.sop_instance_uid for parcel in parcels}), 0
    database = open_database(config, data)
    try:
        with database.read() as session:
            for start in range(0, len(uids), _AT_ONCE):
                page = uids[start : start + _AT_ONCE]
                query = select(Instance.sop_instance_uid).where(col(Instance.sop_instance_uid).in_(page))
                known += len(session.exec(query).all())
    except GatewayError as error:
        yield failed("held already", error.detail)
        return
    finally:
        database.close()
    if known:
        yield note(
            "held already",
            f"{known} of {len(uids)} instances: the same bytes change nothing, other bytes are held as a conflict",
        )


def _refused_classes(parcels: Sequence[Parcel]) -> Iterator[CheckResult]:
    """Say which SOP classes and transfer syntaxes the node would refuse."""
    from gateway.dimse.contexts import STORAGE_CLASSES, TRANSFER_SYNTAXES

    classes = Counter(parcel.sop_class_uid for parcel in parcels if parcel.sop_class_uid not in STORAGE_CLASSES)
    for uid, count in sorted(classes.items()):
        yield failed("SOP class", f"{count} files are of class {uid}, which this node does not take")
    syntaxes = Counter(p.transfer_syntax_uid for p in parcels if p.transfer_syntax_uid not in TRANSFER_SYNTAXES)
    for uid, count in sorted(syntaxes.items()):
        yield failed("transfer syntax", f"{count} files are in {uid}, which this node does not take")


def _series(name: str, files: list[Path], pipelines: tuple[Pipeline, ...], config: Config) -> CheckResult:
    from dicom_sr.errors import DicomObjectError
    from dicom_sr.series import read_series

    try:
        acquisition = read_series(files).acquisition
    except DicomObjectError as error:
        return failed(name, error.detail)
    refusals = [match(pipeline, acquisition, called_aet=config.node.ae_title) for pipeline in pipelines]
    taken = [pipeline for pipeline, refusal in zip(pipelines, refusals, strict=True) if refusal is None]
    defects = ", ".join(acquisition.defects)
    seen = f"; defects: {defects}" if defects else ""
    if not taken:
        why = "; ".join(f"{refusal.pipeline}: {refusal.reason}" for refusal in refusals if refusal)
        return note(name, f"taken by no pipeline ({why or 'there is none'}){seen}")
    judged = [_image_qc(pipeline, files) for pipeline in taken]
    detail = f"taken by {', '.join(pipeline.name for pipeline in taken)}{seen}"
    objections = [f"{p.name}: {judgement}" for p, judgement in zip(taken, judged, strict=True) if judgement]
    return note(name, f"{detail}; image QC says {'; '.join(objections)}") if objections else good(name, detail)


def _image_qc(pipeline: Pipeline, files: list[Path]) -> str:
    """Return what the image QC stage of a pipeline would object to, empty when nothing."""
    from dicom_sr.errors import DicomObjectError
    from dicom_sr.verdict import Outcome, decide
    from gateway.services.catalogue import Catalogue
    from gateway.services.load_series import load_series
    from models.image_qc.assess import assess_image

    stage = next((stage for stage in pipeline.stages if stage.kind is StageKind.IMAGE_QC), None)
    if stage is None:
        return ""
    try:
        series, volume = load_series(files)
    except DicomObjectError as error:
        return error.detail
    target = str(stage.parameters.get("target", "any"))
    findings = assess_image(volume, series.acquisition, target=target, stage=stage.name)
    verdict = decide(findings, Catalogue().criteria(stage))
    if verdict.outcome is Outcome.ACCEPT:
        return ""
    return f"{verdict.outcome} ({', '.join(reason.text for reason in verdict.reasons)})"

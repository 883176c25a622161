"""Match a received object to what was delivered: read it by its format, find the candidates, ask `dicom_sr.match`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dicom_sr.candidate import Candidate
from dicom_sr.errors import DicomObjectError, GeometryMismatch, UndeclaredLabel
from dicom_sr.hold import HoldDetail, HoldReason
from dicom_sr.match import Hold, Ignore, IgnoreReason, Outcome, Read, match, match_parts
from dicom_sr.match_named import match_label_map, match_structure_set
from dicom_sr.nifti_edit import read_nifti_edit
from dicom_sr.rtstruct_read import StructureSet, open_structure_set
from dicom_sr.seg_header import SegHeader, read_seg_header
from dicom_sr.seg_open import open_seg
from dicom_sr.seg_read import read_seg
from dicom_sr.segmentation import Segmentation
from gateway.services.edit_candidates import Citation, candidates_for, is_any_ours
from gateway.services.edit_object import EditFormat, EditObject
from gateway.services.edit_sets import set_key
from gateway.services.environment import Environment

_NIFTI_EDITOR = {"manufacturer": "", "model_name": "NIfTI label map, uploaded"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """What matching came to.

    Parameters
    ----------
    outcome : Match, Unchanged, Hold or Ignore
        The outcome.
    editor : mapping
        Manufacturer, model and software of the editor as received.
    set_key : str
        Of a part of a set (`edit_sets`); empty for an object that stands alone.
    """

    outcome: Outcome
    editor: Mapping[str, object] = field(default_factory=dict)
    set_key: str = ""


def match_edit(env: Environment, edit: EditObject, *, forced: tuple[str, str] | None = None) -> Matched:
    """Match one object; what cannot be read is a hold.

    Parameters
    ----------
    env : Environment
        The gateway.
    edit : EditObject
        The object; its bytes are kept.
    forced : (str, str), optional
        Case id and stage that a person named to release it from a hold.
    """
    try:
        if edit.format is EditFormat.SEG:
            return _match_seg(env, edit, forced)
        if edit.format is EditFormat.RTSTRUCT:
            return _match_structure_set(env, edit, forced)
        return match_file(env, edit, env.blobs.read(edit.sha256), forced=forced)
    except DicomObjectError as error:
        return Matched(outcome=Hold(reasons=(_reason_of(error),)))


def match_file(env: Environment, edit: EditObject, content: bytes, *, forced: tuple[str, str] | None = None) -> Matched:
    """Match a label map in a NIfTI file for the case and stage named with it.

    Raises
    ------
    DicomObjectError
        If the file itself cannot be taken: it is no label map, lies on another grid, or has labels of no segment.
    """
    named = forced or edit.named
    if named is None:
        return Matched(outcome=Hold(reasons=(HoldDetail(HoldReason.STAGE_NOT_NAMED),)))

    def read(candidate: Candidate) -> Segmentation:
        grid = candidate.source.load().grid
        if grid is None:
            raise GeometryMismatch("the source series is not a regular volume, so nothing can lie on its grid")
        return read_nifti_edit(content, grid, candidate.segments)

    candidates = _candidates(env, Citation(study_instance_uid=edit.study_instance_uid, case_id=named[0]))
    outcome = match_label_map(read, candidates, named=named, released=forced is not None)
    return Matched(outcome=outcome, editor=_NIFTI_EDITOR)


def match_set(env: Environment, edits: Sequence[EditObject], *, forced: tuple[str, str] | None = None) -> Matched:
    """Match the parts of a set as one edit; the last one came last."""
    try:
        parts = [_open_seg(env, edit) for edit in edits]
    except DicomObjectError as error:
        return Matched(outcome=Hold(reasons=(_reason_of(error),)))
    candidates = _candidates(env, _citation_of(edits[-1], parts[-1][0], forced))
    hinted = _hinted(edits[-1], candidates) if forced is None else candidates
    outcome = match_parts(parts, hinted, forced=forced)
    return Matched(outcome=outcome, editor=_editor(parts[-1][0]))


def _match_seg(env: Environment, edit: EditObject, forced: tuple[str, str] | None) -> Matched:
    header, read = _open_seg(env, edit)
    citation = _citation_of(edit, header, forced)
    candidates = _candidates(env, citation)
    hinted = _hinted(edit, candidates) if forced is None else candidates
    outcome = match(header, read, hinted, forced=forced)
    key = ""
    if isinstance(outcome, Hold) and HoldReason.PARTIAL_SET in outcome.codes:
        key = set_key(edit, outcome.candidates[0], _writer(header))
    return Matched(outcome=outcome, editor=_editor(header), set_key=key)


def _match_structure_set(env: Environment, edit: EditObject, forced: tuple[str, str] | None) -> Matched:
    structure = open_structure_set(env.blobs.path(edit.sha256))
    citation = _citation_of(edit, structure, forced)
    candidates = _candidates(env, citation)
    if not candidates and not _is_ours(env, citation):
        # Contours need a person to name their stage anyway, and planning systems send them for every patient.
        return Matched(outcome=Ignore(reason=IgnoreReason.NOT_OURS))
    named = forced or edit.named
    outcome = match_structure_set(structure, candidates, named=named, released=forced is not None)
    return Matched(outcome=outcome, editor=_editor(structure))


def _open_seg(env: Environment, edit: EditObject) -> tuple[SegHeader, Read]:
    dataset = open_seg(env.blobs.path(edit.sha256))
    header = read_seg_header(dataset)
    return header, lambda source: read_seg(dataset, source, header=header)


def _citation_of(edit: EditObject, header: SegHeader | StructureSet, forced: tuple[str, str] | None) -> Citation:
    objects: frozenset[str] = frozenset()
    if isinstance(header, SegHeader):
        objects = header.predecessor_uids | header.referenced_seg_uids - header.referenced_sop_instance_uids
    return Citation(
        study_instance_uid=header.study_instance_uid or edit.study_instance_uid,
        image_uids=header.referenced_sop_instance_uids,
        object_uids=objects,
        case_id=forced[0] if forced else edit.case_hint,
    )


def _candidates(env: Environment, citation: Citation) -> tuple[Candidate, ...]:
    with env.database.read() as session:
        return candidates_for(session, env, citation)


def _is_ours(env: Environment, citation: Citation) -> bool:
    with env.database.read() as session:
        return is_any_ours(session, citation)


def _hinted(edit: EditObject, candidates: Sequence[Candidate]) -> list[Candidate]:
    return [
        candidate
        for candidate in candidates
        if edit.case_hint in ("", candidate.case_id) and edit.stage_hint in ("", candidate.stage)
    ]


def _editor(header: SegHeader | StructureSet) -> Mapping[str, object]:
    return {
        "manufacturer": header.manufacturer,
        "model_name": header.model_name,
        "software_versions": [header.software_versions] if header.software_versions else [],
    }


def _writer(header: SegHeader) -> tuple[str, ...]:
    return header.manufacturer, header.model_name, header.software_versions


def _reason_of(error: DicomObjectError) -> HoldDetail:
    if isinstance(error, GeometryMismatch):
        return HoldDetail(HoldReason.GRID_MISMATCH, error.detail)
    if isinstance(error, UndeclaredLabel):
        return HoldDetail(HoldReason.UNDECLARED_SEGMENT, error.detail)
    return HoldDetail(HoldReason.UNREADABLE, error.detail)

"""A corpus of edits of one delivered segmentation, made by every writer that can be run here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from pydicom import dcmread
from pydicom.uid import RLELossless

from dicom_sr.candidate import Candidate, OutputSource, OutputState
from dicom_sr.seg_kind import LABEL_MAP_SEGMENTATION_STORAGE, SegKind
from dicom_sr.segmentation import Mask, Segmentation
from dicom_sr.series import read_series
from dicom_sr.source import SourceSeries
from dicom_sr.uids import derive_uid
from tests.support.adapters_writer import AdapterRequest
from tests.support.dicom_tools import dcmqi_write
from tests.support.highdicom_writer import write_with_highdicom
from tests.support.make_segmentation import make_segments
from tests.support.make_series import make_mr_series
from tests.support.seg_writers import MITK, SLICER, Declared, Frame, Writer, frames_of, write_foreign

LABELS = ("Cortex", "White matter", "Lesion")
#: 1221 pixels a frame, no multiple of 8: padding of frames shows.
SHAPE = (10, 33, 37)
KINDS = (
    *("paint", "erase", "delete segment", "add segment", "empty", "untouched", "flipped", "reordered stack"),
    *("stale", "concurrent", "foreign study"),
)
Masks = Mapping[str, Mask]


@dataclass(frozen=True, kw_only=True)
class Edit:
    """What a person saved: masks by label on the grid, the source files, whether the stack came in another order."""

    masks: Masks
    files: Sequence[Path]
    reordered: bool = False

    @property
    def numbers(self) -> dict[str, int]:
        """Segment numbers as a viewer keeps them: those delivered, then new ones."""
        delivered = {label: i for i, label in enumerate(LABELS, start=1)}
        return {label: delivered.get(label, len(LABELS) + 1) for label in self.masks}


@cache
def study(name: str = "corpus") -> tuple[SourceSeries, tuple[Path, ...]]:
    """One source series and its files, the lowest slice first."""
    files = make_mr_series(Path(mkdtemp(prefix="corpus")), shape=SHAPE, study=name, seed=name)
    ordered = sorted(files, key=lambda path: float(dcmread(path).ImagePositionPatient[2]))
    return read_series(ordered), tuple(ordered)


def delivered() -> dict[str, Mask]:
    """The masks as delivered; no flip maps them onto themselves."""
    cortex, white, lesion = (np.zeros(SHAPE, bool) for _ in LABELS)
    cortex[1:8, 3:10, 3:30] = True
    cortex[1:4, 10:16, 3:9] = True
    white[2:7, 18:28, 5:25] = True
    white[2:4, 28:31, 5:12] = True
    lesion[4:6, 20:24, 28:34] = True
    return {"Cortex": cortex, "White matter": white, "Lesion": lesion}


def edit_of(kind: str) -> Edit:
    """Make the edit of one kind."""
    masks = delivered()
    _, files = study("elsewhere" if kind == "foreign study" else "corpus")
    if kind in ("paint", "reordered stack", "stale", "concurrent", "foreign study"):
        masks["Lesion"][5, 24:27, 28:36] = True
    elif kind == "erase":
        masks["White matter"][2:4, 28:31, 5:12] = False
    elif kind == "delete segment":
        del masks["White matter"]
    elif kind == "add segment":
        masks["Segment 4"] = np.zeros(SHAPE, bool)
        masks["Segment 4"][3, 12:16, 20:30] = True
    elif kind == "empty":
        masks = {label: np.zeros(SHAPE, bool) for label in masks}
    elif kind == "flipped":
        masks = {label: mask[::-1].copy() for label, mask in masks.items()}
    return Edit(masks=masks, files=files, reordered=kind == "reordered stack")


def candidates_for(kind: str) -> list[Candidate]:
    """What had been delivered when the edit of this kind arrives."""
    if kind == "concurrent":
        return [_candidate(state=OutputState.EDITED)]
    if kind == "stale":
        reworked = delivered()
        reworked["Cortex"][7, 3:10, 3:30] = False
        return [_candidate(state=OutputState.SUPERSEDED), _candidate(iteration=1, masks=reworked)]
    return [_candidate()]


def _candidate(*, state: OutputState = OutputState.OPEN, iteration: int = 0, masks: Masks | None = None) -> Candidate:
    source, _ = study()
    assert source.grid is not None
    segments = make_segments(*LABELS)
    by_number = dict(enumerate((masks or delivered()).values(), start=1))
    segmentation = Segmentation.from_masks(source.grid, by_number, segments)
    return Candidate(
        case_id="case",
        stage="brain",
        iteration=iteration,
        state=state,
        study_instance_uid=source.study_instance_uid,
        patient_id=source.patient_id,
        source=OutputSource.of(source),
        sop_instance_uid=derive_uid("corpus output", iteration),
        series_instance_uid=derive_uid("corpus output series", iteration),
        segments=segments,
        tracking={label: (label, derive_uid("corpus tracking", label)) for label in LABELS},
        load=lambda: segmentation,
    )


def write_by_dcmqi(edit: Edit, folder: Path, *, labelmap: bool) -> bytes:
    """Write with dcmqi, the writer of 3D Slicer."""
    source = read_series(edit.files)
    assert source.grid is not None
    files = edit.files[::-2] + edit.files[-2::-2] if edit.reordered else edit.files
    tissue = {"CodeValue": "85756007", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Tissue"}
    described: list[tuple[dict[str, object], Mask]] = [
        (
            {
                "SegmentLabel": label,
                "SegmentedPropertyCategoryCodeSequence": tissue,
                "SegmentedPropertyTypeCodeSequence": tissue,
            },
            mask,
        )
        for label, mask in edit.masks.items()
    ]
    return dcmqi_write(described, source.grid, files, folder, labelmap=labelmap).read_bytes()


def write_by_highdicom(edit: Edit, *, kind: SegKind) -> bytes:
    """Write with highdicom; the label map needs segments that do not overlap."""
    source = read_series(edit.files)
    assert source.grid is not None
    segments = make_segments(*edit.masks)
    masks = dict(enumerate(edit.masks.values(), start=1))
    return write_with_highdicom(Segmentation.from_masks(source.grid, masks, segments), edit.files, kind)


def write_like_slicer(edit: Edit) -> bytes:
    """Number the segments 1..N over those that are not empty, keep AUTOMATIC even after an edit."""
    kept = {label: mask for label, mask in edit.masks.items() if mask.any()} or dict(edit.masks)
    declared = [Declared(number=i, label=label, algorithm_type="AUTOMATIC") for i, label in enumerate(kept, start=1)]
    return _write_foreign(edit, kept, declared, SLICER)


def write_like_mitk(edit: Edit) -> bytes:
    """Keep every slice of every segment, in one group."""
    declared = [Declared(number=i, label=label) for i, label in enumerate(edit.masks, start=1)]
    return _write_foreign(edit, edit.masks, declared, MITK)


def _write_foreign(edit: Edit, masks: Masks, declared: Sequence[Declared], writer: Writer) -> bytes:
    source = read_series(edit.files)
    by_number = {segment.number: masks[segment.label] for segment in declared}
    frames: list[Frame] = frames_of(by_number, empty=writer is MITK or not any(m.any() for m in masks.values()))
    if edit.reordered:
        frames.reverse()
    return write_foreign(source, declared, frames, writer)


#: Options of the adapters by variant.
VARIANTS: dict[str, dict[str, object]] = {
    "bitmap": {},
    "bitmap RLE": {"transferSyntaxUid": str(RLELossless)},
    "label map": {"sopClassUID": LABEL_MAP_SEGMENTATION_STORAGE, "transferSyntaxUid": str(RLELossless)},
    "fractional RLE": {"rleEncode": True},
}


def adapter_request(edit: Edit, variant: str, *, predecessor: dict[str, object] | None = None) -> AdapterRequest:
    """Ask the adapters for one object; OHIF's own stack runs from the highest slice down."""
    step = 1 if edit.reordered else -1
    return AdapterRequest(
        sources=list(edit.files)[::step],
        labelmaps=[{label: mask[::step] for label, mask in edit.masks.items()}],
        numbers=edit.numbers,
        options=VARIANTS[variant],
        predecessor=predecessor,
    )

"""The delivered segmentations of `shared/data/edited_seg` as candidates, and the objects that editors sent back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dicom_sr.candidate import Candidate, ChangeBounds, OutputSource, OutputState
from dicom_sr.codes import Code
from dicom_sr.seg_read import open_seg, read_seg
from dicom_sr.segmentation import Segment, Segmentation
from dicom_sr.series import read_series
from dicom_sr.source import SourceSeries
from tests.support.shared import shared_data

PRIORS = {
    "P1": "original_highdicom_seg.dcm",
    "P2": "original_highdicom_labelmap_seg.dcm",
    "P3": "original_highdicom_overlap_seg.dcm",
}
TISSUE = Code("85756007", "SCT", "Tissue")


@dataclass(frozen=True)
class EditedSeg:
    """The folder with its source series, read once."""

    folder: Path
    source: SourceSeries

    def path(self, name: str) -> Path:
        return self.folder / name

    def prior(
        self,
        name: str,
        *,
        state: OutputState = OutputState.OPEN,
        case_id: str = "",
        stage: str = "brain",
        iteration: int = 0,
        bounds: ChangeBounds | None = None,
        accepted: frozenset[str] = frozenset(),
    ) -> Candidate:
        """Return one delivered prior as a candidate; each in its own case unless told otherwise."""
        content = read_seg(open_seg(self.path(PRIORS[name])), self.source)
        header = content.header
        schema = tuple(
            Segment(
                number=s.number,
                label=s.label,
                category=s.category or TISSUE,
                property_type=s.property_type or TISSUE,
            )
            for s in header.foreground
        )
        masks = content.segmentation(schema, {s.label: s.number for s in schema})
        return Candidate(
            case_id=case_id or f"case-{name}",
            stage=stage,
            iteration=iteration,
            state=state,
            study_instance_uid=header.study_instance_uid,
            patient_id=header.patient_id,
            source=OutputSource.of(self.source),
            sop_instance_uid=header.sop_instance_uid,
            series_instance_uid=header.series_instance_uid,
            segments=schema,
            tracking={s.label: (s.tracking_id, s.tracking_uid) for s in header.foreground if s.tracking_uid},
            load=lambda: masks,
            bounds=bounds or ChangeBounds(),
            accepted_edit_digests=accepted,
        )

    def masks(self, candidate: Candidate) -> Segmentation:
        return candidate.load()


def edited_seg() -> EditedSeg:
    """Read the folder, or skip the calling test."""
    folder = shared_data("edited_seg")
    return EditedSeg(folder=folder, source=read_series(sorted((folder / "source_series").glob("*.dcm"))))

"""What a test of a viewer reads: a real hippocampus study, its masks voxel by voxel, and the stroke a reader makes."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
from pydicom import dcmread

from gateway.domain.keys import Json
from tests.support.shared import shared_data

_SEGMENTING = Path(__file__).resolve().parent / "segmenting_command.py"
STAGE = "subfields"
ANTERIOR, POSTERIOR = "Hippocampus anterior", "Hippocampus posterior"
#: As the shipped pipeline gives them, sRGB.
COLORS = {ANTERIOR: (86, 180, 233), POSTERIOR: (0, 158, 115)}
LABEL_MAP_SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"
Masks = dict[str, npt.NDArray[np.bool_]]


@dataclass(frozen=True, kw_only=True)
class Stack:
    """The source images in the order of their planes, and where they lie."""

    uids: tuple[str, ...]
    positions: npt.NDArray[np.float64]
    orientation: npt.NDArray[np.float64]
    spacing: tuple[float, float]

    @classmethod
    def of(cls, files: list[Path]) -> Stack:
        """Return the stack of these files, in any order."""
        headers = [dcmread(file, stop_before_pixels=True) for file in files]
        orientation = np.array(headers[0].ImageOrientationPatient, float)
        normal = np.cross(orientation[:3], orientation[3:])
        headers.sort(key=lambda header: float(normal @ np.array(header.ImagePositionPatient, float)))
        return cls(
            uids=tuple(str(header.SOPInstanceUID) for header in headers),
            positions=np.array([header.ImagePositionPatient for header in headers], float),
            orientation=orientation,
            spacing=tuple(float(v) for v in headers[0].PixelSpacing),
        )

    def point(self, z: int, y: float, x: float) -> list[float]:
        """Return where a voxel lies in the patient (LPS, mm)."""
        along_row, along_column = self.orientation[:3], self.orientation[3:]
        place = self.positions[z] + x * self.spacing[1] * along_row + y * self.spacing[0] * along_column
        return [float(v) for v in place]


def read_masks(file: Path, stack: Stack) -> Masks:
    """Read a SEG without our reader: by Plane Position alone, whatever the order and number of its frames."""
    ds = dcmread(file)
    labels = {int(item.SegmentNumber): str(item.SegmentLabel) for item in ds.SegmentSequence if item.SegmentNumber}
    masks = {label: np.zeros((len(stack.uids), ds.Rows, ds.Columns), bool) for label in labels.values()}
    for frame, group in zip(ds.pixel_array, ds.PerFrameFunctionalGroupsSequence, strict=True):
        position = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        away = np.abs(stack.positions - position).max(axis=1)
        z = int(away.argmin())
        assert away[z] < 0.01
        if ds.SOPClassUID == LABEL_MAP_SEGMENTATION_STORAGE:
            for number, label in labels.items():
                masks[label][z] |= frame == number
        else:
            masks[labels[int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)]][z] |= frame > 0
    return masks


def changed_voxels(before: Masks, after: Masks) -> int:
    """Count voxels at which any segment differs."""
    assert set(before) == set(after)
    return int(np.any([before[label] != after[label] for label in before], axis=0).sum())


def held_masks(seen: dict[str, Any], stack: Stack, shape: tuple[int, ...]) -> Masks:
    """Return what the viewer held as masks by label, (z, y, x)."""
    values = np.array([seen["values"][uid] for uid in stack.uids]).reshape(shape)
    return {label: values == int(number) for number, label in seen["labels"].items()}


def hippocampus_series(folder: Path) -> list[Path]:
    """Return the slices of a real study of the hippocampus, cut so that viewers can save on them, made in `folder`."""
    return _crop_series(sorted((shared_data("converted_dicom") / "hippocampus_001").glob("*.dcm")), folder)


def _crop_series(files: list[Path], folder: Path) -> list[Path]:
    """Write a real series again with the upper left part of each slice, so that a frame's pixels fill whole bytes.

    OHIF 3.13.2 misplaces the bits of a BINARY SEG whose frames do not, and cannot save on images of an odd number of
    pixels.
    """
    folder.mkdir()
    for file in files:
        ds = dcmread(file)
        part = ds.pixel_array[: ds.Rows // 8 * 8, : ds.Columns // 8 * 8]
        ds.Rows, ds.Columns = part.shape
        ds.PixelData = np.ascontiguousarray(part).tobytes()
        ds.save_as(folder / file.name)
    return sorted(folder.glob("*.dcm"))


def border_stroke(masks: Masks, stack: Stack) -> dict[str, Any]:
    """Give the posterior part of the slice that has most of it to the anterior part, along a short stroke."""
    posterior = masks[POSTERIOR]
    z = int(posterior.sum(axis=(1, 2)).argmax())
    y, x = (float(v.mean()) for v in np.nonzero(posterior[z]))
    points = [stack.point(z, y, x + step) for step in (0.0, 1.0, 2.0)]
    return {"segment": ANTERIOR, "image": stack.uids[z], "points": points, "radius": 3}


def expert_pipeline(folder: Path, destinations: tuple[str, ...] = ()) -> dict[str, Json]:
    """Return the stages of `hippocampus-mr` with an expert's masks for the networks' answers: a viewer is tested here.

    Parameters
    ----------
    folder : pathlib.Path
        Where the mask of the whole hippocampus is written.
    destinations : tuple of str
        Where results go.
    """
    expert = shared_data("hippocampus_msd") / "labels" / "hippocampus_001.nii.gz"
    labels = nibabel.load(expert)
    whole = folder / "whole.nii.gz"
    nibabel.save(nibabel.Nifti1Image((np.asanyarray(labels.dataobj) > 0).astype(np.uint8), labels.affine), whole)
    command = [sys.executable, str(_SEGMENTING), "file", "{image}", "{output}"]
    code: dict[str, Json] = {"value": "5366008", "meaning": "Hippocampus"}

    def segment(number: int, label: str, color: tuple[int, int, int]) -> dict[str, Json]:
        return {"number": number, "label": label, "type": code, "color": list(color)}

    return {
        "name": "expert-masks",
        "match": {"modality": ["MR"]},
        "stages": {
            "image_qc": {"kind": "image_qc", "parameters": {"target": "any"}},
            "hippocampus": {
                "kind": "segmentation", "command": [*command, str(whole)], "needs": ["image_qc"], "editable": True,
                "segments": [segment(1, "Hippocampus", (230, 159, 0))],
            },
            STAGE: {
                "kind": "segmentation", "command": [*command, str(expert)], "needs": ["hippocampus"], "editable": True,
                "segments": [segment(number, label, color) for number, (label, color) in enumerate(COLORS.items(), 1)],
            },
            "measure": {"kind": "measure", "needs": ["hippocampus", STAGE]},
            "report": {"kind": "report", "needs": ["image_qc", "measure"]},
        },
        "destinations": list(destinations),
    }  # fmt: skip

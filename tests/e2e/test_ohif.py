"""The real OHIF viewer shows our results and brushes on our SEG; the gateway answers what it saves: next iteration."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
import requests
from PIL import Image, ImageChops
from pydicom import dcmread

from gateway.domain.keys import Json
from tests.support.ohif_site import OhifSite, Visit, require_ohif_programs, running_ohif
from tests.support.orthanc_peer import OrthancPeer, running_orthanc
from tests.support.ports import free_port
from tests.support.running_gateway import RunningGateway, running_gateway, stage_outcomes
from tests.support.shared import shared_data

pytestmark = [
    pytest.mark.peer,
    pytest.mark.slow,
    pytest.mark.xdist_group("ohif"),
    pytest.mark.timeout(300),
]

ROOT = Path(__file__).resolve().parents[2]
DOCKER, SUPPORT = ROOT / "docker", ROOT / "tests" / "support"
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


@dataclass
class Reading:
    """Archive, gateway and viewer that know each other, after the first run of a real hippocampus study."""

    orthanc: OrthancPeer
    gateway: RunningGateway
    ohif: OhifSite
    stack: Stack
    study: str
    folder: Path

    def case(self) -> dict[str, Any]:
        (case,) = self.gateway.cases()
        return case

    def output(self, kind: str, stage: str = "", iteration: int = -1) -> dict[str, Any]:
        outputs = self.case()["iterations"][iteration]["outputs"]
        (found,) = [one for one in outputs if one["kind"] == kind and stage in ("", one["stage"])]
        return found

    def visit(self, name: str, **more: Any) -> dict[str, Any]:
        """Open our SEG of the subfields, as it stands in this iteration, in the viewer."""
        segmentation = self.output("SEG", STAGE)["series_instance_uid"]
        seen = self.ohif.visit(name, Visit(study=self.study, segmentation=segmentation, **more))
        assert seen["faults"] == []
        return seen

    def fetch(self, sop_instance_uid: str) -> Path:
        """Download an instance from Orthanc."""
        found = requests.post(
            f"{self.orthanc.url}/tools/find",
            json={"Level": "Instance", "Query": {"SOPInstanceUID": sop_instance_uid}},
            timeout=30,
        ).json()
        assert len(found) == 1, f"Orthanc holds {len(found)} instances of this UID"
        file = self.folder / f"{sop_instance_uid}.dcm"
        file.write_bytes(requests.get(f"{self.orthanc.url}/instances/{found[0]}/file", timeout=30).content)
        return file

    def picture(self, visit: str, name: str) -> Image.Image:
        """Return a screenshot of a visit."""
        with Image.open(self.ohif.folder / visit / f"{name}.png") as screenshot:
            return screenshot.convert("RGB")

    def masks(self, sop_instance_uid: str) -> Masks:
        """Return the masks of a SEG that Orthanc holds."""
        return read_masks(self.fetch(sop_instance_uid), self.stack)


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


def pixels_like(screenshot: Image.Image, color: tuple[int, int, int]) -> int:
    """Count pixels of a colour's hue: a segment is drawn half transparent over a grey image."""
    hues, saturations, _ = np.moveaxis(np.asarray(screenshot.convert("HSV"), np.int16), 2, 0)
    hue = Image.new("RGB", (1, 1), color).convert("HSV").getpixel((0, 0))[0]
    return int(((np.abs(hues - hue) <= 6) & (saturations > 40)).sum())


def changed_part(before: Image.Image, after: Image.Image) -> float:
    """Return the part of two pictures' pixels that differ visibly."""
    return float((np.asarray(ImageChops.difference(before, after)).max(axis=2) > 20).mean())


def held_masks(seen: dict[str, Any], stack: Stack, shape: tuple[int, ...]) -> Masks:
    """Return what the viewer held as masks by label, (z, y, x)."""
    values = np.array([seen["values"][uid] for uid in stack.uids]).reshape(shape)
    return {label: values == int(number) for number, label in seen["labels"].items()}


def crop_series(files: list[Path], folder: Path) -> list[Path]:
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


def archive_settings(gateway_port: int) -> dict[str, Any]:
    """Return the shipped settings and routing script of Orthanc; the places are of this machine."""
    shipped = json.loads((DOCKER / "orthanc" / "orthanc.json").read_text(encoding="utf-8"))
    ours = ("StorageDirectory", "IndexDirectory", "Plugins", "HttpPort", "DicomPort", "RemoteAccessAllowed")
    settings = {key: value for key, value in shipped.items() if key not in ours}
    settings["LuaScripts"] = [str(DOCKER / "orthanc" / "routing.lua")]
    settings["StableAge"] = 1
    settings["DicomModalities"] = {"overread": ["OVERREAD", "127.0.0.1", gateway_port]}
    return settings


def pipeline(expert: Path, whole: Path) -> dict[str, Json]:
    """The stages of `hippocampus-mr` with an expert's masks for the networks' answers: the viewer is tested here."""
    command = [sys.executable, str(SUPPORT / "segmenting_command.py"), "file", "{image}", "{output}"]
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
        "destinations": ["orthanc"],
    }  # fmt: skip


def config(orthanc_port: int, folder: Path) -> dict[str, Json]:
    expert = shared_data("hippocampus_msd") / "labels" / "hippocampus_001.nii.gz"
    labels = nibabel.load(expert)
    whole = folder / "whole.nii.gz"
    nibabel.save(nibabel.Nifti1Image((np.asanyarray(labels.dataobj) > 0).astype(np.uint8), labels.affine), whole)
    return {
        "node": {"quiet_seconds": 1, "peers": [{"ae_title": "ORTHANC", "host": "127.0.0.1"}]},
        "destinations": [
            {"name": "orthanc", "kind": "dicom", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc_port}
        ],
        "pipelines": [pipeline(expert, whole)],
    }


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reading]:
    require_ohif_programs()
    whole_images = sorted((shared_data("converted_dicom") / "hippocampus_001").glob("*.dcm"))
    folder = tmp_path_factory.mktemp("ohif")
    images = crop_series(whole_images, folder / "images")
    port = free_port()
    with (
        running_orthanc(folder / "orthanc", settings=archive_settings(port)) as orthanc,
        running_ohif(folder / "viewer", orthanc) as ohif,
        running_gateway(folder / "gateway", config(orthanc.dicom_port, folder), ports=(port, 0)) as gateway,
    ):
        for image in images:
            orthanc.upload(image.read_bytes())
        case = gateway.wait_for_case()
        yield Reading(
            orthanc=orthanc,
            gateway=gateway,
            ohif=ohif,
            stack=Stack.of(images),
            study=case["study_instance_uid"],
            folder=folder,
        )


def test_the_viewer_shows_our_segments_by_label_and_colour_and_the_montage_as_a_picture(reading: Reading) -> None:
    masks = reading.masks(reading.output("SEG", STAGE)["sop_instance_uid"])
    z = int((masks[ANTERIOR].any(axis=(1, 2)) * masks[POSTERIOR].sum(axis=(1, 2))).argmax())
    montage = reading.output("SUMMARY_SC")["series_instance_uid"]
    seen = reading.visit("look", image=reading.stack.uids[z], montage=montage)
    wanted = [{"label": label, "color": list(color)} for label, color in COLORS.items()]
    assert seen["rows"] == wanted
    assert seen["drawn"] == wanted
    # What it holds, voxel by voxel, and what is to be seen of it.
    assert changed_voxels(masks, held_masks(seen, reading.stack, masks[ANTERIOR].shape)) == 0
    drawn = reading.picture("look", "segmentation").crop(seen["canvas"])
    assert {label: pixels_like(drawn, color) > 500 for label, color in COLORS.items()} == dict.fromkeys(COLORS, True)
    assert changed_part(drawn, reading.picture("look", "montage").crop(seen["canvas"])) > 0.2


def test_saving_the_segmentation_untouched_is_noted_and_starts_nothing(reading: Reading) -> None:
    ours = reading.output("SEG", STAGE)["sop_instance_uid"]
    before = reading.case()
    saved = reading.visit("untouched", save=True)["saved"]
    assert saved["status"] == 200
    assert changed_voxels(reading.masks(ours), reading.masks(saved["sopInstanceUid"])) == 0
    noted = reading.gateway.wait_for(
        lambda: reading.gateway.get("/api/v1/audit", action="SEG_RETURNED_UNCHANGED"),
        what="the note in the audit trail",
    )
    assert [(event["subject"], event["detail"]["stage"]) for event in noted] == [(saved["sopInstanceUid"], STAGE)]
    after = reading.case()
    assert (after["state"], after["iteration"]) == ("IN_REVIEW", before["iteration"])
    assert after["iterations"] == before["iterations"]
    assert reading.gateway.get("/api/v1/holds") == []


def test_one_stroke_of_the_brush_gives_the_next_iteration_and_reruns_exactly_what_depends_on_it(
    reading: Reading,
) -> None:
    shown = reading.output("SEG", STAGE)["sop_instance_uid"]
    report = reading.output("SEG_QC_SR")["sop_instance_uid"]
    before = reading.masks(shown)
    saved = reading.visit("stroke", stroke=border_stroke(before, reading.stack), save=True)["saved"]
    assert (saved["status"], saved["sopClassUid"]) == (200, LABEL_MAP_SEGMENTATION_STORAGE)
    painted = reading.masks(saved["sopInstanceUid"])
    changed = changed_voxels(before, painted)
    assert changed > 0
    assert int((before[POSTERIOR] & painted[ANTERIOR]).sum()) > 0

    case = reading.gateway.wait_for_case(iteration=1)

    assert stage_outcomes(case) == {
        "image_qc": "REUSED",
        "hippocampus": "REUSED",
        STAGE: "REPLACED",
        "measure": "EXECUTED",
        "report": "EXECUTED",
    }
    (edit,) = case["iterations"][1]["edits"]
    assert (edit["stage"], edit["prior_sop_instance_uid"], edit["sop_instance_uid"]) == (
        STAGE, shown, saved["sopInstanceUid"],
    )  # fmt: skip
    assert edit["changed_voxels"] == changed
    assert {change["label"]: (change["voxels_added"], change["voxels_removed"]) for change in edit["changes"]} == {
        label: (int((painted[label] & ~before[label]).sum()), int((before[label] & ~painted[label]).sum()))
        for label in COLORS
    }
    corrected = reading.output("SEG", STAGE, iteration=1)["sop_instance_uid"]
    assert corrected not in (shown, saved["sopInstanceUid"])
    assert changed_voxels(painted, reading.masks(corrected)) == 0
    successor = reading.fetch(reading.output("SEG_QC_SR", iteration=1)["sop_instance_uid"])
    assert report in str(dcmread(successor).PredecessorDocumentsSequence)
    assert reading.gateway.get("/api/v1/holds") == []

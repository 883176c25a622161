"""The real OHIF viewer shows our results and brushes on our SEG; the gateway answers what it saves: next iteration."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageChops
from pydicom import dcmread

from gateway.domain.keys import Json
from tests.support.ohif_site import OhifSite, Visit, require_ohif_programs, running_ohif
from tests.support.orthanc_peer import OrthancPeer, running_orthanc
from tests.support.ports import free_port
from tests.support.reading import (
    ANTERIOR,
    COLORS,
    LABEL_MAP_SEGMENTATION_STORAGE,
    POSTERIOR,
    STAGE,
    Masks,
    Stack,
    border_stroke,
    changed_voxels,
    expert_pipeline,
    held_masks,
    hippocampus_series,
    read_masks,
)
from tests.support.running_gateway import RunningGateway, running_gateway, stage_outcomes

pytestmark = [
    pytest.mark.peer,
    pytest.mark.slow,
    pytest.mark.xdist_group("ohif"),
    pytest.mark.timeout(300),
]

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"


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
        return self.orthanc.download(sop_instance_uid, self.folder)

    def picture(self, visit: str, name: str) -> Image.Image:
        """Return a screenshot of a visit."""
        with Image.open(self.ohif.folder / visit / f"{name}.png") as screenshot:
            return screenshot.convert("RGB")

    def masks(self, sop_instance_uid: str) -> Masks:
        """Return the masks of a SEG that Orthanc holds."""
        return read_masks(self.fetch(sop_instance_uid), self.stack)


def pixels_like(screenshot: Image.Image, color: tuple[int, int, int]) -> int:
    """Count pixels of a colour's hue: a segment is drawn half transparent over a grey image."""
    hues, saturations, _ = np.moveaxis(np.asarray(screenshot.convert("HSV"), np.int16), 2, 0)
    hue = Image.new("RGB", (1, 1), color).convert("HSV").getpixel((0, 0))[0]
    return int(((np.abs(hues - hue) <= 6) & (saturations > 40)).sum())


def changed_part(before: Image.Image, after: Image.Image) -> float:
    """Return the part of two pictures' pixels that differ visibly."""
    return float((np.asarray(ImageChops.difference(before, after)).max(axis=2) > 20).mean())


def archive_settings(gateway_port: int) -> dict[str, Any]:
    """Return the shipped settings and routing script of Orthanc; the places are of this machine."""
    shipped = json.loads((DOCKER / "orthanc" / "orthanc.json").read_text(encoding="utf-8"))
    ours = ("StorageDirectory", "IndexDirectory", "Plugins", "HttpPort", "DicomPort", "RemoteAccessAllowed")
    settings = {key: value for key, value in shipped.items() if key not in ours}
    settings["LuaScripts"] = [str(DOCKER / "orthanc" / "routing.lua")]
    settings["StableAge"] = 1
    settings["DicomModalities"] = {"overread": ["OVERREAD", "127.0.0.1", gateway_port]}
    return settings


def config(orthanc_port: int, folder: Path) -> dict[str, Json]:
    return {
        "node": {"quiet_seconds": 1, "peers": [{"ae_title": "ORTHANC", "host": "127.0.0.1"}]},
        "destinations": [
            {"name": "orthanc", "kind": "dicom", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc_port}
        ],
        "pipelines": [expert_pipeline(folder, ("orthanc",))],
    }


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reading]:
    require_ohif_programs()
    folder = tmp_path_factory.mktemp("ohif")
    images = hippocampus_series(folder / "images")
    port = free_port()
    with (
        running_orthanc(folder / "orthanc", settings=archive_settings(port)) as orthanc,
        running_ohif(folder / "viewer", orthanc.http_port) as ohif,
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

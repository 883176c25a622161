"""OHIF against the gateway's own DICOMweb, no archive between: it shows, brushes and saves, and the case goes on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom import dcmread

from tests.support.ohif_site import OhifSite, Visit, require_ohif_programs, running_ohif
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


@dataclass
class Desk:
    """A gateway and a viewer that knows nothing else, after the first run of a real hippocampus study."""

    gateway: RunningGateway
    ohif: OhifSite
    client: DICOMwebClient
    stack: Stack
    study: str
    folder: Path

    def output(self, kind: str, stage: str, iteration: int) -> dict[str, Any]:
        (case,) = self.gateway.cases()
        outputs = case["iterations"][iteration]["outputs"]
        (found,) = [one for one in outputs if (one["kind"], one["stage"]) == (kind, stage)]
        return found

    def masks(self, series: str, instance: str) -> Masks:
        """Return the masks of a SEG, fetched by WADO-RS."""
        file = self.folder / f"{instance}.dcm"
        self.client.retrieve_instance(self.study, series, instance).save_as(file, enforce_file_format=True)
        return read_masks(file, self.stack)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    require_ohif_programs()
    folder = tmp_path_factory.mktemp("direct")
    images = hippocampus_series(folder / "images")
    config = {"node": {"quiet_seconds": 1}, "pipelines": [expert_pipeline(folder)]}
    with running_gateway(folder / "gateway", config) as gateway:
        port = int(gateway.url.rpartition(":")[2])
        with running_ohif(folder / "viewer", port) as ohif:
            client = DICOMwebClient(f"{ohif.url}/dicom-web")
            answer = client.store_instances([dcmread(image) for image in images])
            assert len(answer.ReferencedSOPSequence) == len(images)
            case = gateway.wait_for_case(delivered=False, seconds=120)
            yield Desk(
                gateway=gateway,
                ohif=ohif,
                client=client,
                stack=Stack.of(images),
                study=case["study_instance_uid"],
                folder=folder,
            )


def test_the_viewer_shows_brushes_and_saves_and_the_next_iteration_holds_what_was_painted(desk: Desk) -> None:
    shown = desk.output("SEG", STAGE, 0)
    before = desk.masks(shown["series_instance_uid"], shown["sop_instance_uid"])
    montage = desk.output("SUMMARY_SC", "report", 0)["series_instance_uid"]
    stroke = border_stroke(before, desk.stack)
    visit = Visit(
        study=desk.study, segmentation=shown["series_instance_uid"], montage=montage, stroke=stroke, save=True
    )
    seen = desk.ohif.visit("stroke", visit)

    assert seen["faults"] == []
    wanted = [{"label": label, "color": list(color)} for label, color in COLORS.items()]
    assert (seen["rows"], seen["drawn"]) == (wanted, wanted)
    assert changed_voxels(before, held_masks(seen, desk.stack, before[ANTERIOR].shape)) == 0
    saved = seen["saved"]
    assert (saved["status"], saved["sopClassUid"]) == (200, LABEL_MAP_SEGMENTATION_STORAGE)

    case = desk.gateway.wait_for_case(iteration=1, delivered=False, seconds=120)

    outcomes = stage_outcomes(case)
    assert (outcomes["hippocampus"], outcomes[STAGE], outcomes["report"]) == ("REUSED", "REPLACED", "EXECUTED")
    (edit,) = case["iterations"][1]["edits"]
    assert (edit["sop_instance_uid"], edit["prior_sop_instance_uid"]) == (
        saved["sopInstanceUid"], shown["sop_instance_uid"],
    )  # fmt: skip
    corrected = desk.output("SEG", STAGE, 1)
    after = desk.masks(corrected["series_instance_uid"], corrected["sop_instance_uid"])
    assert changed_voxels(before, after) == edit["changed_voxels"] > 0
    assert int((before[POSTERIOR] & after[ANTERIOR]).sum()) > 0
    # The corrected SEG, and what the reader saved, are both in the study that the viewer lists.
    held = desk.client.search_for_instances(desk.study, search_filters={"Modality": "SEG"})
    uids = {found["00080018"]["Value"][0] for found in held}
    assert {shown["sop_instance_uid"], saved["sopInstanceUid"], corrected["sop_instance_uid"]} <= uids
    assert desk.gateway.get("/api/v1/holds") == []
    assert requests.get(f"{desk.gateway.url}/readyz", timeout=30).ok

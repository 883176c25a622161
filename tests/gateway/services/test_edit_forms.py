"""Edits in other forms than one SEG: label maps and contours that name their case and stage, and sets in parts."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from fastapi.testclient import TestClient
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_sr.seg_read import open_seg, read_seg
from dicom_sr.segmentation import Mask
from dicom_sr.series import read_series
from dicom_sr.source import SourceSeries
from dicom_sr.sr_read import read_qc_sr
from dicom_sr.uids import derive_uid
from gateway.domain.errors import IllegalTransition
from gateway.domain.stage_run import StageRunState
from gateway.services import holds
from gateway.services.accept_edit import EditOutcome
from gateway.services.bundle import write_bundle
from gateway.services.case_record import case_record
from gateway.services.edit_outcome import EditOutcome as Answer
from gateway.services.edit_outcome import edit_outcome
from gateway.services.edit_upload import EditUploads
from gateway.store.tables import Case, Edit, Hold, Instance
from gateway.web.app import create_app
from tests.support.dicom_tools import ras_affine
from tests.support.lab import Lab
from tests.support.make_series import make_mr_series
from tests.support.rtstruct_writer import Style, write_structure_set
from tests.support.seg_writers import MITK, declare, frames_of, write_foreign
from tests.support.web_gateway import Bench

pytestmark = pytest.mark.xdist_group("edit_forms")
HALVES = ("Front half", "Back half")


@dataclass(frozen=True)
class Delivered:
    """A data folder with one case in review, made once, and its images."""

    folder: Path
    images: tuple[Path, ...]
    case_id: str


@dataclass
class Bed:
    """A gateway on a copy of that folder."""

    lab: Lab
    folder: Path
    images: tuple[Path, ...]
    case_id: str
    source: SourceSeries

    @property
    def case(self) -> Case:
        return self.lab.case(self.case_id)

    def masks(self, stage: str = "halves") -> dict[str, Mask]:
        """The delivered masks by label."""
        dataset = open_seg(self.lab.output_file(self.lab.newest_seg(self.case, stage)))
        content = read_seg(dataset, self.source)
        return {segment.label: content.mask(segment.number) for segment in content.header.foreground}

    def painted(self, stage: str = "halves") -> dict[str, Mask]:
        """The delivered masks with a row of voxels added to the first."""
        masks = self.masks(stage)
        first, free = next(iter(masks)), ~np.any(list(masks.values()), axis=0)
        z, y, x = (int(v) for v in np.argwhere(masks[first])[0])
        masks[first] = masks[first].copy()
        masks[first][z, y, : x + 1] |= free[z, y, : x + 1]
        return masks

    def nifti(self, masks: Mapping[str, Mask], *, affine: np.ndarray | None = None, zipped: bool = True) -> bytes:
        """The masks as ITK-SNAP saves them: labels 1, 2 ... in the order of the stage."""
        assert self.source.grid is not None
        labels = np.zeros(self.source.grid.shape, np.uint8)
        for number, mask in enumerate(masks.values(), start=1):
            labels[mask] = number
        data = np.ascontiguousarray(labels.transpose(2, 1, 0))
        image = nib.Nifti1Image(data, ras_affine(self.source.grid) if affine is None else affine)
        return gzip.compress(image.to_bytes()) if zipped else image.to_bytes()

    def parts(self, masks: Mapping[str, Mask], *, save: str = "first") -> list[bytes]:
        """The masks as MITK saves them: one object for each segment."""

        def other_uids(name: str) -> Callable[[Dataset], None]:
            def change(ds: Dataset) -> None:
                ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = derive_uid("part", save, name)
                ds.SeriesInstanceUID = derive_uid("part series", save, name)

            return change

        found = []
        for label, mask in masks.items():
            written = write_foreign(self.source, declare(label), frames_of({1: mask}), MITK)
            found.append(_changed(written, other_uids(label)))
        return found

    def contours(self, masks: Mapping[str, Mask], **more: object) -> bytes:
        """The masks as a planning system saves them."""
        return write_structure_set(self.source, masks, Style(), **more)  # type: ignore[arg-type]

    def resolve(self, hold: Hold, action: str = "accept", *, stage: str = "", reason: str = "looked at it") -> None:
        """A person's order."""
        holds.resolve(
            self.lab.env,
            hold_id=hold.id or 0,
            action=action,
            case_id=self.case_id if stage else None,
            stage=stage or None,
            reason=reason,
            actor="dr",
            at=self.lab.clock(),
        )
        self.lab.run()

    def bundled(self, name: str) -> bytes:
        """A file of the results bundle."""
        buffer = BytesIO()
        env = self.lab.env
        write_bundle(env.database, env.blobs, buffer, case_id=self.case_id, taker="dr", at=self.lab.clock())
        with zipfile.ZipFile(buffer) as archive:
            (member,) = [member for member in archive.namelist() if member.endswith(name)]
            return archive.read(member)

    def restart(self) -> None:
        """End the gateway and start another on the same folder."""
        self.lab.env.database.close()
        self.lab = Lab.create(self.folder, clock=self.lab.clock)

    def post(self, content: bytes, *, stage: str = "", media_type: str = "application/x-nifti"):
        """Upload through the HTTP API."""
        bench = Bench(folder=self.folder.parent / "bench")
        services = replace(
            bench.services,
            database=self.lab.env.database,
            blobs=self.lab.env.blobs,
            receiver=self.lab.receiver,
            clock=self.lab.clock,
            edits=EditUploads(env=self.lab.env, on_settled=lambda: None),
        )
        client = TestClient(
            create_app(services),
            base_url="http://127.0.0.1:8080",
            client=("127.0.0.1", 50000),
            raise_server_exceptions=False,
        )
        query = f"?stage={stage}" if stage else ""
        answer = client.post(
            f"/api/v1/cases/{self.case_id}/edits{query}", content=content, headers={"Content-Type": media_type}
        )
        bench.close()
        return answer


def _changed(content: bytes, change: Callable[[Dataset], None]) -> bytes:
    ds = dcmread(BytesIO(content))
    change(ds)
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Delivered:
    folder = tmp_path_factory.mktemp("delivered")
    images = make_mr_series(folder / "images", shape=(8, 20, 22))
    lab = Lab.create(folder / "data")
    case = lab.process(images)
    lab.env.database.close()
    return Delivered(folder=folder / "data", images=tuple(images), case_id=case.id)


@pytest.fixture
def bed(tmp_path: Path, delivered: Delivered) -> Bed:
    shutil.copytree(delivered.folder, tmp_path / "data")
    lab = Lab.create(tmp_path / "data")
    lab.clock.advance(7200)
    source = read_series(delivered.images)
    return Bed(lab=lab, folder=tmp_path / "data", images=delivered.images, case_id=delivered.case_id, source=source)


def moved(masks: Mapping[str, Mask]) -> dict[str, Mask]:
    """Masks a third of the image away."""
    return {label: np.roll(mask, 7, axis=2) for label, mask in masks.items()}


def parts_as_kept(bed: Bed, edit: Edit) -> list[bytes]:
    """The objects of an edit as the gateway keeps them."""
    with bed.lab.env.database.read() as session:
        kept = [session.get(Instance, uid) for uid in (edit.sop_instance_uid, *edit.parts)]
    return [bed.lab.env.blobs.read(instance.sha256) for instance in kept if instance]


def codes(hold: Hold) -> list[str]:
    return [reason["code"] for reason in hold.reasons]


class TestLabelMap:
    def test_it_becomes_the_next_iteration_of_the_stage_named_with_it(self, bed: Bed) -> None:
        masks = bed.painted()
        content = bed.nifti(masks)
        answer = bed.post(content, stage="halves")
        assert (answer.status_code, answer.json()["outcome"], answer.json()["iteration"]) == (200, "ACCEPTED", 1)
        bed.lab.run()
        assert bed.lab.states(bed.case) == {
            "image_qc": StageRunState.REUSED,
            "core": StageRunState.REUSED,
            "halves": StageRunState.REPLACED,
            "measure": StageRunState.DONE,
            "report": StageRunState.DONE,
        }
        for label, mask in bed.masks().items():
            np.testing.assert_array_equal(mask, masks[label])

    def test_its_bytes_are_kept_and_the_trail_the_seg_and_the_report_say_what_it_was_and_whose(self, bed: Bed) -> None:
        content = bed.nifti(bed.painted(), zipped=False)
        before = bed.lab.newest_seg(bed.case, "halves")
        bed.post(content, stage="halves", media_type="application/octet-stream")
        bed.lab.run()
        (edit,) = bed.lab.edits()
        assert (edit.format, edit.sender, edit.received_sha256) == (
            "NIFTI",
            "local",
            hashlib.sha256(content).hexdigest(),
        )
        assert bed.lab.env.blobs.read(edit.received_sha256) == content
        view = case_record(bed.lab.env.database, bed.case_id).iterations[-1].edits[0]
        assert (view.format, view.sop_instance_uid) == ("NIFTI", edit.sop_instance_uid)
        assert bed.bundled("EDIT-halves.nii") == content
        (event,) = bed.lab.audit("EDIT_ACCEPTED")
        assert (event.actor, event.detail["format"], event.detail["sha256"]) == ("local", "NIFTI", edit.received_sha256)
        seg = dcmread(bed.lab.output_file(bed.lab.newest_seg(bed.case, "halves")))
        editors = [item for item in seg.ContributingEquipmentSequence if "NIfTI" in str(item)]
        assert [item.ManufacturerModelName for item in editors] == ["NIfTI label map, uploaded"]
        assert seg.ContentCreatorName == "local"
        assert before.sop_instance_uid in str(seg)
        report = dcmread(bed.lab.output_file(bed.lab.outputs(bed.case, kind="SEG_QC_SR")[-1]))
        summary = read_qc_sr(report).edit
        assert summary is not None
        assert (summary.stage, summary.sender) == ("halves", "local")
        assert "NIfTI label map" in str(report.ContributingEquipmentSequence)
        assert report.PredecessorDocumentsSequence

    def test_without_a_stage_it_is_refused_with_the_stages_to_choose_from(self, bed: Bed) -> None:
        answer = bed.post(bed.nifti(bed.painted()))
        assert (answer.status_code, answer.json()["code"]) == (422, "STAGE_NOT_NAMED")
        assert "core, halves" in answer.json()["detail"]

    def test_a_stage_that_takes_no_edits_is_not_found(self, bed: Bed) -> None:
        answer = bed.post(bed.nifti(bed.painted()), stage="measure")
        assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")

    @pytest.mark.parametrize("fault", ["elsewhere", "label of nobody", "no image", "cut"])
    def test_what_does_not_fit_is_refused_by_name_and_leaves_nothing(self, bed: Bed, fault: str) -> None:
        assert bed.source.grid is not None
        masks = bed.painted()
        content, code = bed.nifti(masks), "UNREADABLE"
        if fault == "elsewhere":
            affine = ras_affine(bed.source.grid)
            affine[0, 3] += 3
            content, code = bed.nifti(masks, affine=affine), "GRID_MISMATCH"
        elif fault == "label of nobody":
            content, code = bed.nifti({**masks, "third": ~np.any(list(masks.values()), axis=0)}), "UNDECLARED_SEGMENT"
        elif fault == "no image":
            content = gzip.compress(b"nothing of the kind")
        else:
            content = content[:-30]
        before = sorted(bed.lab.env.blobs.all_digests())
        answer = bed.post(content, stage="halves")
        assert (answer.status_code, answer.json()["code"]) == (422, code)
        assert (list(bed.lab.holds()), list(bed.lab.edits())) == ([], [])
        assert sorted(bed.lab.env.blobs.all_digests()) == before

    def test_masks_far_from_the_delivered_ones_are_held_and_a_person_may_release_them(self, bed: Bed) -> None:
        content = bed.nifti(moved(bed.painted()))
        answer = bed.post(content, stage="halves")
        assert (answer.status_code, answer.json()["outcome"]) == (202, "HELD")
        (hold,) = bed.lab.holds()
        assert (hold.format, hold.case_id, hold.stage) == ("NIFTI", bed.case_id, "halves")
        assert "EXTREME_CHANGE" in codes(hold)
        bed.restart()
        bed.resolve(hold)
        assert (bed.case.iteration, bed.lab.edits()[0].format) == (1, "NIFTI")
        assert edit_outcome(bed.lab.env.database, hold.sop_instance_uid).outcome is Answer.ACCEPTED

    def test_the_delivered_masks_change_nothing_and_the_same_edit_again_neither(self, bed: Bed) -> None:
        assert bed.post(bed.nifti(bed.masks()), stage="halves").json()["outcome"] == "IGNORED"
        content = bed.nifti(bed.painted())
        bed.post(content, stage="halves")
        bed.lab.run()
        again = bed.post(content, stage="halves").json()
        assert (again["outcome"], bed.case.iteration) in (("ACCEPTED", 1), ("IGNORED", 1))


class TestContours:
    def test_they_are_accepted_with_case_and_stage_named(self, bed: Bed) -> None:
        masks = bed.painted()
        received = bed.lab.receiver.receive(
            bed.contours(masks), door="upload", sender="planner", case_hint=bed.case_id, stage_hint="halves"
        )
        assert bed.lab.look() == [EditOutcome.ACCEPTED]
        (edit,) = bed.lab.edits()
        assert (edit.format, edit.sop_instance_uid, edit.sender) == ("RTSTRUCT", received.sop_instance_uid, "planner")
        for label, mask in bed.masks().items():
            np.testing.assert_array_equal(mask, masks[label])
        seg = dcmread(bed.lab.output_file(bed.lab.newest_seg(bed.case, "halves")))
        assert received.sop_instance_uid in str(seg)

    def test_by_c_store_they_are_held_until_a_person_names_case_and_stage(self, bed: Bed) -> None:
        assert bed.lab.edit(bed.contours(bed.painted()), sender="PLANNING") is EditOutcome.HELD
        (hold,) = bed.lab.holds()
        assert (codes(hold), hold.sender) == (["STAGE_NOT_NAMED"], "PLANNING")
        bed.resolve(hold, stage="halves")
        assert (bed.case.iteration, bed.lab.holds()[0].state) == (1, "ACCEPTED")

    def test_a_release_to_a_stage_they_do_not_fit_is_refused_and_keeps_them_held(self, bed: Bed) -> None:
        bed.lab.edit(bed.contours(bed.painted()), sender="PLANNING")
        (hold,) = bed.lab.holds()
        with pytest.raises(IllegalTransition, match="UNKNOWN_LABEL"):
            bed.resolve(hold, stage="core")
        assert (bed.case.iteration, bed.lab.holds()[0].state) == (0, "OPEN")

    def test_the_upload_needs_the_stage(self, bed: Bed) -> None:
        content = bed.contours(bed.painted())
        refused = bed.post(content, media_type="application/dicom")
        assert (refused.status_code, refused.json()["code"]) == (422, "STAGE_NOT_NAMED")
        taken = bed.post(content, stage="halves", media_type="application/dicom")
        assert (taken.status_code, taken.json()["outcome"]) == (202, "PENDING")
        assert bed.lab.look() == [EditOutcome.ACCEPTED]

    def test_contours_of_another_study_are_kept_and_left_alone(self, bed: Bed, tmp_path: Path) -> None:
        other = read_series(make_mr_series(tmp_path / "other", shape=(8, 20, 22), study="other", seed="other"))
        content = write_structure_set(other, bed.painted())
        assert bed.lab.edit(content, sender="PLANNING") is EditOutcome.IGNORED
        assert len(bed.lab.audit("RTSTRUCT_IGNORED_NOT_OURS")) == 1


class TestSetInParts:
    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    def test_it_is_taken_when_the_last_part_comes_whatever_the_order_and_a_restart(
        self, bed: Bed, order: Sequence[int]
    ) -> None:
        masks = bed.painted()
        parts = bed.parts(masks)
        assert bed.lab.edit(parts[order[0]]) is EditOutcome.HELD
        (waiting,) = bed.lab.holds()
        assert codes(waiting) == ["PARTIAL_SET"]
        bed.restart()
        assert bed.lab.edit(parts[order[1]]) is EditOutcome.ACCEPTED
        assert bed.case.iteration == 1
        for label, mask in bed.masks().items():
            np.testing.assert_array_equal(mask, masks[label])
        (edit,) = bed.lab.edits()
        (resolved,) = bed.lab.holds()
        assert edit.parts == [resolved.sop_instance_uid]
        assert (resolved.state, resolved.edit_id) == ("ACCEPTED", edit.id)
        assert {bed.bundled("EDIT-halves.dcm"), bed.bundled("EDIT-halves-2.dcm")} == set(parts_as_kept(bed, edit))
        first = edit_outcome(bed.lab.env.database, resolved.sop_instance_uid)
        assert (first.outcome, first.iteration) == (Answer.ACCEPTED, 1)

    def test_parts_of_two_people_or_of_another_day_are_not_one_edit(self, bed: Bed) -> None:
        parts = bed.parts(bed.painted())
        assert bed.lab.edit(parts[0], sender="READER1") is EditOutcome.HELD
        assert bed.lab.edit(parts[1], sender="READER2") is EditOutcome.HELD
        bed.lab.clock.advance(timedelta(days=1).total_seconds())
        late = bed.parts(bed.painted(), save="next day")
        assert bed.lab.edit(late[1], sender="READER1") is EditOutcome.HELD
        assert bed.case.iteration == 0
        assert {codes(hold)[0] for hold in bed.lab.holds()} == {"PARTIAL_SET"}

    def test_a_group_saved_twice_waits_for_a_person_to_take_one_away(self, bed: Bed) -> None:
        masks = bed.painted()
        first, second = bed.parts(bed.masks(), save="first"), bed.parts(masks, save="second")
        bed.lab.edit(first[0])
        assert bed.lab.edit(second[0]) is EditOutcome.HELD
        assert bed.lab.edit(second[1]) is EditOutcome.HELD
        assert {codes(hold)[0] for hold in bed.lab.holds()} == {"DUPLICATE_LABEL"}
        bed.resolve(bed.lab.holds()[0], "discard")
        assert [hold.state for hold in bed.lab.holds()] == ["DISCARDED", "ACCEPTED", "ACCEPTED"]
        assert bed.case.iteration == 1
        for label, mask in bed.masks().items():
            np.testing.assert_array_equal(mask, masks[label])

    def test_a_set_that_is_held_as_a_whole_is_released_as_a_whole(self, bed: Bed) -> None:
        masks = moved(bed.painted())
        for part in bed.parts(masks):
            assert bed.lab.edit(part) is EditOutcome.HELD
        assert all("EXTREME_CHANGE" in codes(hold) for hold in bed.lab.holds())
        bed.resolve(bed.lab.holds()[0])
        assert [hold.state for hold in bed.lab.holds()] == ["ACCEPTED", "ACCEPTED"]
        for label, mask in bed.masks().items():
            np.testing.assert_array_equal(mask, masks[label])

    def test_accepting_what_is_here_leaves_the_other_segments_as_delivered(self, bed: Bed) -> None:
        before, masks = bed.masks(), bed.painted()
        bed.lab.edit(bed.parts(masks)[0])
        bed.resolve(bed.lab.holds()[0])
        np.testing.assert_array_equal(bed.masks()[HALVES[0]], masks[HALVES[0]])
        np.testing.assert_array_equal(bed.masks()[HALVES[1]], before[HALVES[1]])

    def test_a_set_without_a_change_changes_nothing(self, bed: Bed) -> None:
        parts = bed.parts(bed.masks())
        bed.lab.edit(parts[0])
        assert bed.lab.edit(parts[1]) is EditOutcome.UNCHANGED
        assert ([hold.state for hold in bed.lab.holds()], bed.case.iteration) == (["ACCEPTED"], 0)


def test_an_edit_under_a_foreign_study_uid_that_cites_our_images_is_held(bed: Bed) -> None:
    content = _changed(
        write_foreign(bed.source, declare(*HALVES), frames_of(dict(enumerate(bed.painted().values(), 1))), MITK),
        lambda ds: setattr(ds, "StudyInstanceUID", "1.2.3.4.5"),
    )
    assert bed.lab.edit(content) is EditOutcome.HELD
    (hold,) = bed.lab.holds()
    assert (codes(hold), hold.case_id) == (["IDENTITY_MISMATCH"], bed.case_id)
    with bed.lab.env.database.read() as session:
        assert session.get(Instance, hold.sop_instance_uid) is not None
    with pytest.raises(IllegalTransition, match="IDENTITY_MISMATCH"):
        bed.resolve(hold, stage="halves")

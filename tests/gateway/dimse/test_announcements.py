"""Procedure steps, availability notifications and commitment requests by DICOM, kept as evidence of completeness."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.association import Association

from gateway.config import Config
from gateway.dimse.archive import archive_of
from gateway.dimse.contexts import (
    AVAILABILITY_NOTIFICATION,
    COMMITMENT_INSTANCE,
    PERFORMED_PROCEDURE_STEP,
    RETRIEVE_PROCEDURE_STEP,
    STORAGE_COMMITMENT,
)
from gateway.services.procedure_steps import MAXIMUM_STEP
from gateway.store.tables import Announcement, AuditEvent
from tests.support.instances import EXPLICIT, MR, make_instance, uid
from tests.support.receiving import ReceivingFolder
from tests.support.requestor import call

STEP = "1.2.826.1"


@pytest.fixture
def folder(tmp_path: Path) -> ReceivingFolder:
    return ReceivingFolder(tmp_path / "data")


@pytest.fixture
def modality(folder: ReceivingFolder) -> Iterator[Association]:
    archive = archive_of(Config(), folder.database, folder.blobs, folder.clock)
    with folder.node(archive=archive) as (_, port):
        ae = AE("MR1")
        classes = PERFORMED_PROCEDURE_STEP, RETRIEVE_PROCEDURE_STEP, AVAILABILITY_NOTIFICATION, STORAGE_COMMITMENT
        for sop_class in classes:
            ae.add_requested_context(sop_class, [EXPLICIT])
        association = call(ae, port)
        assert len(association.accepted_contexts) == len(classes)
        yield association
        association.release()


def _step(status: str, *images: str, study: str | None = None) -> Dataset:
    step = Dataset()
    if study is not None:
        scheduled = Dataset()
        scheduled.StudyInstanceUID = study
        step.ScheduledStepAttributesSequence = [scheduled]
        step.PatientName = "Müller^Zoë"
        step.PerformedProcedureStepID = "PPS1"
    step.PerformedProcedureStepStatus = status
    if images:
        series = Dataset()
        series.SeriesInstanceUID = uid("study", "series")
        series.ReferencedImageSequence = [_reference(image) for image in images]
        step.PerformedSeriesSequence = [series]
    return step


def _reference(name: str, **more: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = MR, name
    for keyword, value in more.items():
        setattr(item, keyword, value)
    return item


def _create(modality: Association, step: Dataset, name: str = STEP) -> int:
    return int(modality.send_n_create(step, PERFORMED_PROCEDURE_STEP, name)[0].Status)


def _set(modality: Association, step: Dataset, name: str = STEP) -> Dataset:
    return modality.send_n_set(step, PERFORMED_PROCEDURE_STEP, name)[0]


def _announced(folder: ReceivingFolder) -> list[tuple[str, str, list[str]]]:
    return [(row.kind, row.state, row.instances) for row in folder.rows(Announcement)]


def test_a_procedure_step_is_begun_goes_on_and_ends_with_its_images(
    folder: ReceivingFolder, modality: Association
) -> None:
    assert _create(modality, _step("IN PROGRESS", study=uid("study"))) == 0
    assert _announced(folder) == [("MPPS", "IN PROGRESS", [])]
    assert _set(modality, _step("IN PROGRESS", "1.2.1")).Status == 0
    assert _set(modality, _step("COMPLETED", "1.2.1", "1.2.2")).Status == 0
    assert _announced(folder) == [("MPPS", "COMPLETED", ["1.2.1", "1.2.2"])]
    [row] = folder.rows(Announcement)
    assert (row.study_instance_uid, row.sender, row.source_uid) == (uid("study"), "MR1", STEP)


def test_a_step_that_has_ended_may_not_be_changed(folder: ReceivingFolder, modality: Association) -> None:
    _create(modality, _step("IN PROGRESS", study=uid("study")))
    _set(modality, _step("DISCONTINUED", "1.2.1"))
    answer = _set(modality, _step("COMPLETED", "1.2.1", "1.2.2"))
    assert (answer.Status, answer.ErrorID) == (0x0110, 0xA710)
    assert _announced(folder) == [("MPPS", "DISCONTINUED", ["1.2.1"])]


def test_what_is_wrong_with_a_step_is_answered_with_the_status_of_the_standard(
    folder: ReceivingFolder, modality: Association
) -> None:
    assert _create(modality, _step("IN PROGRESS")) == 0x0120
    assert _create(modality, _step("COMPLETED", study="1.2")) == 0x0106
    assert _create(modality, _step("PAUSED", study="1.2")) == 0x0106
    assert _set(modality, _step("COMPLETED")).Status == 0x0112
    assert _create(modality, _step("IN PROGRESS", study="1.2")) == 0
    assert _create(modality, _step("IN PROGRESS", study="1.2")) == 0x0111
    assert len(_announced(folder)) == 1


def _get(modality: Association, *keywords: str, name: str = STEP) -> tuple[int, Dataset | None]:
    status, attributes = modality.send_n_get([tag_for_keyword(k) for k in keywords], RETRIEVE_PROCEDURE_STEP, name)
    return int(status.Status), attributes


def test_a_step_is_read_back_as_it_was_told_last(modality: Association) -> None:
    begun = _step("IN PROGRESS", study=uid("study"))
    begun.SpecificCharacterSet = "ISO_IR 100"
    _create(modality, begun)
    ended = _step("COMPLETED", "1.2.1", "1.2.2")
    ended.SpecificCharacterSet = "ISO_IR 144"
    ended.PerformedProcedureStepDescription = "Голова"
    _set(modality, ended)
    status, step = _get(modality)
    assert (status, step is not None) == (0, True)
    assert step is not None
    assert (step.PerformedProcedureStepStatus, step.PerformedProcedureStepID) == ("COMPLETED", "PPS1")
    assert (str(step.PatientName), step.PerformedProcedureStepDescription) == ("Müller^Zoë", "Голова")
    assert step.ScheduledStepAttributesSequence[0].StudyInstanceUID == uid("study")
    [series] = step.PerformedSeriesSequence
    assert [image.ReferencedSOPInstanceUID for image in series.ReferencedImageSequence] == ["1.2.1", "1.2.2"]


def test_only_what_is_asked_for_of_a_step_is_told(modality: Association) -> None:
    _create(modality, _step("IN PROGRESS", study=uid("study")))
    status, step = _get(modality, "PerformedProcedureStepStatus", "PatientName")
    assert step is not None
    assert (status, set(step.dir()) - {"SpecificCharacterSet"}) == (0, {"PerformedProcedureStepStatus", "PatientName"})
    status, step = _get(modality, "PerformedProcedureStepStatus", "Modality")
    assert step is not None
    assert (status, step.PerformedProcedureStepStatus, "Modality" in step) == (1, "IN PROGRESS", False)
    status, step = _get(modality, "Modality", name="1.2.3")
    assert (status, step) == (0x0112, None)


def test_a_change_that_is_refused_leaves_the_step_as_it_was(modality: Association) -> None:
    _create(modality, _step("IN PROGRESS", study=uid("study")))
    _set(modality, _step("DISCONTINUED"))
    assert _set(modality, _step("COMPLETED", "1.2.1")).Status == 0x0110
    large = _step("IN PROGRESS", study=uid("other"))
    large.add_new("ImageComments", "LT", "x" * 1000)
    large.add_new("TextValue", "UT", "x" * (MAXIMUM_STEP + 1))
    assert _create(modality, large, "1.2.77") == 0x0213
    assert _get(modality, "PatientName", name="1.2.77")[0] == 0x0112
    _, step = _get(modality)
    assert step is not None
    assert (step.PerformedProcedureStepStatus, "PerformedSeriesSequence" in step) == ("DISCONTINUED", False)


def test_nothing_of_a_person_is_among_the_evidence_of_a_step(folder: ReceivingFolder, modality: Association) -> None:
    _create(modality, _step("IN PROGRESS", study=uid("study")))
    kept = [row.model_dump_json() for table in (Announcement, AuditEvent) for row in folder.rows(table)]
    assert kept
    assert not any("ller" in text or "PPS1" in text for text in kept)


def test_a_notification_lists_what_can_be_had(folder: ReceivingFolder, modality: Association) -> None:
    notification = Dataset()
    notification.StudyInstanceUID = uid("study")
    series = Dataset()
    series.SeriesInstanceUID = uid("study", "series")
    series.ReferencedSOPSequence = [
        _reference("1.2.1", InstanceAvailability="ONLINE", RetrieveAETitle="PACS"),
        _reference("1.2.2", InstanceAvailability="UNAVAILABLE", RetrieveAETitle="PACS"),
    ]
    notification.ReferencedSeriesSequence = [series]
    status, _ = modality.send_n_create(notification, AVAILABILITY_NOTIFICATION, "1.2.9")
    assert status.Status == 0
    assert _announced(folder) == [("IAN", "COMPLETED", ["1.2.1"])]
    del notification.StudyInstanceUID
    status, _ = modality.send_n_create(notification, AVAILABILITY_NOTIFICATION, "1.2.10")
    assert status.Status == 0x0120


def test_a_commitment_request_announces_what_its_sender_believes_to_have_sent(
    folder: ReceivingFolder, modality: Association
) -> None:
    folder.upload(make_instance(1))
    request = Dataset()
    request.TransactionUID = "1.2.3.4"
    request.ReferencedSOPSequence = [_reference(uid("study", "series", number)) for number in (1, 2)]
    for _ in range(2):
        modality.send_n_action(request, 1, STORAGE_COMMITMENT, COMMITMENT_INSTANCE)
    until = time.monotonic() + 10
    while not folder.rows(Announcement):
        assert time.monotonic() < until
        time.sleep(0.02)
    [(kind, state, instances)] = _announced(folder)
    assert (kind, state) == ("COMMITMENT_REQUEST", "COMPLETED")
    assert instances == sorted(uid("study", "series", number) for number in (1, 2))

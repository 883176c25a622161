"""A day at a busy gateway: cases in every state, an edited one, late images, held objects, dead deliveries."""

from __future__ import annotations

from datetime import timedelta

from gateway.config import Config
from gateway.domain.case import CaseState
from gateway.domain.qc_status import QcStatus
from gateway.domain.stage_run import StageRunState as R
from gateway.services.peer_log import Contact
from gateway.store.tables import Case
from gateway.web.services import NodeFacts
from tests.support.seed import NOW, Seed, make_segmentations

CONFIG = Config.model_validate(
    {
        "web": {"viewer_url": "https://viewer.example/segmentation?StudyInstanceUIDs={study_instance_uid}"},
        "destinations": [
            {"name": "pacs", "kind": "dicom", "ae_title": "PACS1", "host": "10.0.4.7", "port": 104},
            {"name": "research", "kind": "orthanc", "url": "http://orthanc.example:8042"},
        ],
        "pipelines": [
            {
                "name": "hippocampus-mr",
                "stages": {
                    "hippocampus": {
                        "kind": "segmentation",
                        "model": "hippocampus",
                        "editable": True,
                        "segments": [{"number": 1, "label": "Hippocampus", "type": {"value": "1", "meaning": "H"}}],
                    },
                    "report": {"kind": "report"},
                },
            }
        ],
    }
)


def _peer(ae_title: str, address: str, *, minutes: float, instances: int = 0, refused: str = "") -> Contact:
    seen = NOW - timedelta(minutes=minutes)
    return Contact(
        ae_title=ae_title,
        address=address,
        last_seen=seen,
        associations=0 if refused else 12,
        last_instances=instances,
        accepted=() if refused else (("1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.1"),),
        refusal=refused,
        refused_at=seen if refused else None,
    )


FACTS = NodeFacts(
    ae_titles=("OVERREAD",),
    dicom_address="10.0.4.20:11112",
    contexts=171,
    transfer_syntaxes=18,
    open_associations=1,
    started_at=NOW - timedelta(days=3, hours=4),
    peers=(
        _peer("MRSCAN1", "10.0.4.11", minutes=4, instances=176),
        _peer("ORTHANC", "10.0.4.8", minutes=31, instances=4),
        _peer(
            "CTSCAN9",
            "10.0.9.3",
            minutes=120,
            refused="CTSCAN9 at 10.0.9.3 called OVERREED, which is no AE title here (node.ae_title is OVERREAD)",
        ),
    ),
)
REVIEW_REASON = {
    "stage": "segmentation_qc",
    "code": "PREDICTED_DICE",
    "segment": "Hippocampus",
    "outcome": "REVIEW",
    "text": "predicted dice of Hippocampus is 0.76 (0.71 to 0.8) (reject below 0.6, review below 0.8)",
}
NOT_MEASURED = {
    "stage": "segmentation_qc",
    "code": "ENSEMBLE_AGREEMENT",
    "segment": "Hippocampus",
    "outcome": "REVIEW",
    "text": "ensemble agreement of Hippocampus is not measurable: the ensemble has one member only",
}
MOTION = {
    "stage": "image_qc",
    "code": "MOTION_SCORE",
    "segment": "",
    "outcome": "REJECT",
    "text": "motion score is 0.71 (review above 0.3, reject above 0.6)",
}


def populate(seed: Seed) -> Case:
    """Fill a gateway; return the case that was edited."""
    edited = _edited_case(seed)
    _others(seed)
    study = seed.study(30, patient_name="ADEYEMI^TUNDE", minutes_ago=14)
    seed.case(study, state=CaseState.RUNNING, minutes_ago=0.4, priority=0)
    other = seed.study(40, patient_name="WEBER^HANS", description="CT abdomen", minutes_ago=44)
    seed.untaken(other, pipeline="hippocampus-mr", reason="modality is not MR")
    seed.hold(study_uid=edited.study_instance_uid, case=edited.id)
    seed.hold(
        study_uid=study.study_instance_uid,
        codes=(
            ("AMBIGUOUS_OUTPUT", "it fits two open outputs of this study equally well, hippocampus and subfields"),
            ("OUT_OF_SCOPE", "the volume of Hippocampus posterior is 4.1 times what it was; the pipeline allows 3"),
        ),
    )
    seed.hold(study_uid="1.2.840.99.1", codes=(("UNKNOWN_STUDY", "its study was never received here"),))
    return edited


def _edited_case(seed: Seed) -> Case:
    study = seed.study(1, patient_name="LINDQVIST^ASTRID^M", patient_id="NM-004471", minutes_ago=52)
    case = seed.case(study, minutes_ago=9, qc_assignee="", site="Northmoor")
    seed.iteration(
        case,
        verdict="REVIEW",
        reasons=(REVIEW_REASON, NOT_MEASURED),
        dice=0.76,
        segmentations=make_segmentations(),
        qc_status=QcStatus.FAIL_NEEDS_REPROCESSING,
    )
    states = {"image_qc": R.REUSED, "hippocampus": R.REPLACED}
    seed.iteration(
        case,
        number=1,
        cause="EDIT",
        verdict="REVIEW",
        reasons=(NOT_MEASURED,),
        states=states,
        segmentations=make_segmentations(shift=0.9, grow=0.35),
        changed=("hippocampus", "subfields", "report"),
        delivered="SENT",
    )
    seed.edit(case, iteration=1)
    return case


def _others(seed: Seed) -> None:
    people = (
        ("OKAFOR^CHIDI", CaseState.IN_REVIEW, "ACCEPT", "A. Reyes", 16, ()),
        ("MARTINEZ^LUCIA", CaseState.IN_REVIEW, "REJECT", "", 21, (MOTION,)),
        ("山田^太郎", CaseState.AWAITING_EDIT, "REVIEW", "A. Reyes", 34, (REVIEW_REASON,)),
        ("O'NEILL^SEAN", CaseState.FINAL, "ACCEPT", "K. Holm", 95, ()),
        ("NOVAK^JANA", CaseState.QUARANTINED, "NOT_ASSESSABLE", "K. Holm", 130, ()),
        ("DUBOIS^CLAIRE", CaseState.FINAL, "REVIEW", "A. Reyes", 190, (REVIEW_REASON,)),
        ("HASSAN^LEILA", CaseState.IN_REVIEW, "ACCEPT", "", 240, ()),
        ("KOWALSKI^PIOTR", CaseState.FINAL, "ACCEPT", "K. Holm", 1500, ()),
        ("SINGH^AMARJEET", CaseState.FINAL, "ACCEPT", "A. Reyes", 2900, ()),
    )
    status = {
        CaseState.AWAITING_EDIT: QcStatus.FAIL_NEEDS_REPROCESSING,
        CaseState.FINAL: QcStatus.PASS,
        CaseState.QUARANTINED: QcStatus.QUARANTINED,
    }
    for number, (name, state, verdict, assignee, minutes, reasons) in enumerate(people, 10):
        study = seed.study(number, patient_name=name, minutes_ago=minutes + 20)
        case = seed.case(
            study,
            state=state,
            minutes_ago=minutes,
            qc_assignee=assignee,
            qc_status=status.get(state, QcStatus.NOT_REVIEWED),
            qc_comment="wrong body part in the second half of the slices" if state is CaseState.QUARANTINED else "",
        )
        seed.iteration(
            case,
            verdict=verdict,
            reasons=reasons,
            delivered="DEAD" if number == 15 else "DELIVERED",
            segmentations=make_segmentations(),
        )
    study = seed.study(25, patient_name="BERG^ERIK", minutes_ago=70)
    held = seed.case(
        study,
        state=CaseState.HELD,
        minutes_ago=61,
        state_reason="stage hippocampus: the host ran out of memory",
    )
    waiting = dict.fromkeys(("subfields", "measure", "segmentation_qc", "report"), R.WAITING)
    seed.iteration(held, verdict="", states={"hippocampus": R.FAILED, **waiting})

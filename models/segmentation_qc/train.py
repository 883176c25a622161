"""Train the QC network and calibrate it against the segmenter that ships; each step can be run again on its own."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.card import read_card, write_card
from models.errors import UnusableVolume
from models.fingerprint import DatasetFingerprint, fingerprint_of
from models.image_qc.likeness import features_of, fit_reference, read_reference, write_reference
from models.preprocess import PreprocessPlan
from models.registry import find_model
from models.segmentation.augment import Augmentation
from models.segmentation.cases import LabelledVolume, case_names, read_cases, training_case
from models.segmentation.segmenter import load_segmenter
from models.segmentation.task import Task
from models.segmentation_qc.calibrate import RULES, calibrate, rule_criteria
from models.segmentation_qc.candidates import Candidate, DeployedSegmenter
from models.segmentation_qc.failures import read_failures, train_failures, write_failures
from models.segmentation_qc.fitting import FitSettings, fit
from models.segmentation_qc.judge import Examiner
from models.segmentation_qc.networks import ResidualNet, ResidualShape
from models.segmentation_qc.structures import HIPPOCAMPUS_PLAN
from models.segmentation_qc.table import Line, lines_of, masks_of, measure_cases, read_table, write_table
from models.segmentation_qc.weights import REFERENCE_FILE, QcWeights, read_weights, write_weights
from models.split import Split, person_of, split_patients

_log = logging.getLogger(__name__)

NAME = "hippocampus-qc"
FAILURES_FILE = "failures.safetensors"
TABLE_FILE = "calibration_candidates.csv"
TASK = Task(
    name=NAME,
    labels=("Hippocampus anterior", "Hippocampus posterior"),
    expert_values=((1,), (2,)),
    needs_region=False,
    channels=(),
    account={
        "purpose": "Predicts how well a hippocampus segmentation agrees with experts, and paints a second opinion.",
        "data": "Medical Segmentation Decathlon Task04 Hippocampus (Simpson et al. 2019, arXiv 1902.09063), "
        "CC BY-SA 4.0. The second network saw the train patients, as the segmenter did; scores and thresholds come "
        "from qc_train and calibration patients, whom no network saw, on real failures (undertrained networks of two "
        "architectures, the deployed segmenter on degraded images) and on synthetic corruptions of expert masks.",
        "limits": "Crops of about 35 x 50 x 35 mm around one hippocampus. A crop does not say whether it is left or "
        "right: a mask mirrored within its crop is noticed, a whole crop of the other side is not.",
        "claim": "Research reference model. No clinical claim is made.",
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class QcTrainingSettings:
    """How to train the second network.

    Parameters
    ----------
    minutes : float or None
        Wall-clock limit.
    steps : int
        Optimiser steps at most.
    seed : int
        Of weights and crops.
    threads : int
        CPU threads.
    """

    minutes: float | None = None
    steps: int = 2500
    seed: int = 1000
    threads: int = 2


def train(data: Path, out: Path, *, work: Path, settings: QcTrainingSettings | None = None) -> Path:
    """Train the second network, make real failures, and calibrate: everything, in order.

    Parameters
    ----------
    data : Path
        Folder with ``images/NAME.nii.gz`` and ``labels/NAME.nii.gz``.
    out : Path
        Weights folder to write, by convention named ``hippocampus-qc``.
    work : Path
        Folder for what is not shipped: snapshots of undertrained networks.
    settings : QcTrainingSettings, optional
        How to train.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    ModelError
        If data or the deployed segmenter are missing or unusable.
    """
    settings = settings or QcTrainingSettings()
    torch.set_num_threads(settings.threads)
    train_second_network(data, out, settings=settings)
    labelled = _cases(data, Split.TRAIN)
    write_failures(train_failures([training_case(c, TASK, PreprocessPlan()) for c in labelled]), work / FAILURES_FILE)
    return recalibrate(data, out, work=work)


def train_second_network(data: Path, out: Path, *, settings: QcTrainingSettings) -> None:
    """Train the network that paints the pseudo ground truth; writes weights, fingerprint and reference, no card."""
    labelled = _cases(data, Split.TRAIN)
    fingerprint = qc_fingerprint(labelled)
    plan = fingerprint.plan()
    torch.manual_seed(settings.seed)
    network = ResidualNet(ResidualShape())
    made = fit(
        network.to(memory_format=torch.channels_last_3d),  # type: ignore[call-overload]
        [training_case(case, TASK, plan) for case in labelled],
        FitSettings(
            steps=settings.steps,
            minutes=settings.minutes,
            seed=settings.seed,
            averaging=0.995,
            augmentation=Augmentation(patch=(32, 48, 32), shift=6.0),
        ),
    )
    publish_network(network, labelled, out, settings=settings, steps_made=made)


def publish_network(
    network: ResidualNet,
    labelled: Sequence[LabelledVolume],
    out: Path,
    *,
    settings: QcTrainingSettings,
    steps_made: int,
) -> None:
    """Write a trained network with the fingerprint and reference of its training patients, and a card."""
    fingerprint = qc_fingerprint(labelled)
    weights = QcWeights(
        network=network.eval(), preprocess=fingerprint.plan(), plan=HIPPOCAMPUS_PLAN, fingerprint=fingerprint
    )
    write_weights(out, weights)
    features = [f for case in labelled if (f := features_of(case.volume)) is not None]
    write_reference(fit_reference(np.array(features)), out / REFERENCE_FILE)
    training = {
        "split": str(Split.TRAIN),
        "cases": len(labelled),
        "persons": len({person_of(case.name) for case in labelled}),
        "settings": asdict(settings),
        "steps_made": steps_made,
    }
    _write_card(out, {**weights.as_card(), "training": training})


def recalibrate(data: Path, out: Path, *, work: Path) -> Path:
    """Calibrate against the segmenter that ships now: to be run again whenever its weights change.

    Raises
    ------
    InvalidModel, ModelNotFound
        If the QC network, the failures or the deployed segmenter are missing.
    """
    labelled = _cases(data, Split.QC_TRAIN, Split.CALIBRATION)
    examiner = load_examiner(out)
    lines = measure_cases(
        labelled,
        examiner=examiner,
        plan=HIPPOCAMPUS_PLAN,
        deployed=deployed_segmenter(),
        undertrained=read_failures(work / FAILURES_FILE),
    )
    write_table(lines, out / TABLE_FILE)
    finish_calibration(labelled, out)
    return out


def finish_calibration(labelled: Sequence[LabelledVolume], out: Path) -> None:
    """Fit scorers and thresholds to the table of candidates and seal the weights folder with its card."""
    lines = read_table(out / TABLE_FILE)
    good = _good_values(lines, _expert_lines(labelled, load_examiner(out)))
    calibration = calibrate(lines, tuple(rule_criteria(good, images=len(labelled))))
    calibration.write(out)
    segmenters = {name: find_model(name).digest for name in ("hippocampus", "hippocampus-subfields")}
    account = {"patients": calibration.patients, "images": calibration.images, "segmenters": segmenters}
    kept = {key: value for key, value in read_card(out).items() if key != "sha256"}
    _write_card(out, {**kept, "calibration": account})


def deployed_segmenter() -> DeployedSegmenter:
    """Load the segmentation stages that ship."""
    return DeployedSegmenter(
        whole=load_segmenter(find_model("hippocampus")), parts=load_segmenter(find_model("hippocampus-subfields"))
    )


def load_examiner(folder: Path) -> Examiner:
    """Load network and reference of a QC weights folder, calibrated or not."""
    return Examiner(read_weights(folder), read_reference(folder / REFERENCE_FILE))


def qc_fingerprint(labelled: Sequence[LabelledVolume]) -> DatasetFingerprint:
    """Describe images, parts and whole; parts and whole overlap, so they are described one after the other."""
    parts = fingerprint_of([(case.volume, case.expert) for case in labelled], labels=HIPPOCAMPUS_PLAN.front_to_back)
    whole = fingerprint_of(
        [(case.volume, (case.expert > 0).astype(np.uint8)) for case in labelled], labels=(HIPPOCAMPUS_PLAN.whole,)
    )
    return DatasetFingerprint(
        case_count=parts.case_count,
        image=parts.image,
        labels={**whole.labels, **parts.labels},
        area_profile={**whole.area_profile, **parts.area_profile},
    )


def _good_values(lines: Sequence[Line], experts: Iterable[Line]) -> Mapping[str, list[tuple[str, float]]]:
    """Collect what the rules say of experts' masks and of what the deployed segmenter makes of good images."""
    collected: dict[str, list[tuple[str, float]]] = {}
    for line in (*(line for line in lines if line.source == "deployed"), *experts):
        said = {code: float(value) for code, _, value in (rule.partition("=") for rule in line.rules.split())}
        for code in RULES:
            value = line.missing_mm if code == "MISSING_END" else said.get(code, 0.0)
            collected.setdefault(code, []).append((line.label, value))
    return collected


def _expert_lines(labelled: Iterable[LabelledVolume], examiner: Examiner) -> Iterator[Line]:
    for case in labelled:
        expert = Candidate(
            source="expert", variant="", volume=case.volume, labels=case.expert.astype(np.uint8), agreement={}
        )
        masks = masks_of(expert.labels, HIPPOCAMPUS_PLAN)
        examination = examiner.examine(case.volume, masks)
        rules = examiner.check(case.volume, masks)
        yield from lines_of(case, expert, examination, plan=HIPPOCAMPUS_PLAN, rules=rules)


def _cases(data: Path, *splits: Split) -> list[LabelledVolume]:
    divided = split_patients(case_names(data))
    names = [name for split in splits for name in divided[split]]
    if not names:
        raise UnusableVolume(f"the folder holds no case of the split {' or '.join(splits)}")
    return list(read_cases(data, names))


def _write_card(out: Path, content: Mapping[str, Any]) -> None:
    write_card(
        out,
        {
            "schema": 1,
            "name": NAME,
            "version": "1.0.0",
            "kind": "segmentation_qc",
            "labels": list(HIPPOCAMPUS_PLAN.labels),
            "needs_region": False,
            **TASK.account,
            **content,
        },
    )

"""Write, train and measure the brain mask: the shipped consensus, and networks that so far do not reach it.

Each network of the ensemble leaves out other sites, and the heads of those judge it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dicom_sr.segmentation import Mask
from models.brain.consensus import PLAUSIBLE_ML, RECIPES, ConsensusBrain
from models.brain.extract import extract_brain
from models.brain.folded import folded_shape, new_folded
from models.brain.heads import HeadCase
from models.brain.scores import BrainScore, read_scores, write_scores
from models.brain.segmenter import BrainSegmenter
from models.brain.synthesis import GRID_MM, HeadSampler
from models.brain.train import BrainTrainingSettings, train_network
from models.card import METRICS_FILE, write_card
from models.errors import UnusableVolume
from models.fingerprint import fingerprint_of
from models.metrics import assd, dice, hd95, volume_ml
from models.preprocess import PreprocessPlan
from models.registry import ModelCard
from models.segmentation.ensemble import EnsembleConfig, write_ensemble

NAME = "brain-mask"
NETWORK_NAME = "brain-mask-network"
LABEL = "Brain"
CASES_FILE = "cases.csv"
SHIPPED, BASELINE = "consensus of recipes (shipped)", "one recipe of threshold and morphology"
NETWORK = "networks that saw no head of the site"
#: Persons that each network of the ensemble did not see, in order: together all of them.
LEFT_OUT = (("ms-patient01", "skyra"), ("ms-patient12", "xa30"), ("tumour",))
_BLOCK = (2, 2, 2)
_PLAN = PreprocessPlan(spacing=(GRID_MM,) * 3)
_SHIPPED_ACCOUNT = {
    "purpose": "Brain in a whole-head MR image of any contrast and orientation, slices up to about 7 mm.",
    "how": "Threshold and morphology under twelve recipes; those with a volume a brain can have vote. No network, "
    "no training.",
    "data": "Recipes and volume limits were chosen while looking at 10 images of 5 persons (4 FLAIR of two MS patients "
    "with published brain masks, Lesjak et al. 2017, CC BY; four contrasts of one patient with a tumour; two T1).",
    "limits": "Five heads are few. Adults' volumes only: a small child's brain is outside the limits that vote. No "
    "resections, no metal. Dura, sinuses and the brain stem's lower end are where it errs.",
    "claim": "Research reference method. No clinical claim is made.",
}
_ACCOUNT = {
    "purpose": "Brain in a whole-head MR image of any contrast and orientation, slices up to about 7 mm.",
    "data": "10 images of 5 persons from 4 sites: 4 FLAIR of two MS patients with published brain masks (Lesjak et "
    "al. 2017, CC BY), one MPRAGE (Siemens Skyra), one T1 (Siemens XA30, 2 mm), T1, T1 with contrast, T2 and FLAIR of "
    "one patient with a brain tumour (6.5 mm slices). The masks of the last three persons were made here by threshold "
    "and morphology with parameters set by hand for each head, and looked at; no expert drew them.",
    "synthetic": "Half of the training images are synthetic: a label map of one of these heads (intensity classes "
    "inside and outside the brain), deformed, each class with a random intensity. The other half are the real voxels, "
    "deformed, with random curves of intensity. All get random thick slices, bias field and noise.",
    "limits": "Five heads are few. No children under school age, no resections, no metal; a tumour in one person. "
    "Fluid over the convexity and the brain stem's lower end are where references differ from each other.",
    "claim": "Research reference model. No clinical claim is made.",
}


def write(out: Path) -> Path:
    """Write the folder of the shipped method: a card, for there are no weights."""
    out.mkdir(parents=True, exist_ok=True)
    card = {
        "schema": 1,
        "name": NAME,
        "version": "1.0.0",
        "kind": "brain",
        "method": "consensus",
        "labels": [LABEL],
        "needs_region": False,
        "recipes": [asdict(recipe) for recipe in RECIPES],
        "plausible_ml": list(PLAUSIBLE_ML),
        **_SHIPPED_ACCOUNT,
    }
    write_card(out, card)
    return out


def train(heads: Sequence[HeadCase], out: Path, *, work: Path, settings: BrainTrainingSettings | None = None) -> Path:
    """Train the ensemble and write its weights folder.

    Parameters
    ----------
    heads : sequence of HeadCase
        All heads.
    out : Path
        Weights folder to write.
    work : Path
        Folder for finished networks; a training that was interrupted goes on with the next.
    settings : BrainTrainingSettings, optional
        How to train.

    Raises
    ------
    UnusableVolume
        If leaving out a site leaves nothing.
    """
    chosen = settings or BrainTrainingSettings()
    build = partial(new_folded, _BLOCK, image_channels=1, channels=chosen.channels)
    trained = []
    for number, persons in enumerate(LEFT_OUT):
        seen = [head for head in heads if head.source.person not in persons]
        if not seen:
            raise UnusableVolume("without the persons left out there is no head to train on")
        kept = work / f"member{number}.safetensors"
        trained.append(train_network(build, HeadSampler(seen).draw, chosen, seed=chosen.seed + number, kept=kept))
    fingerprint = fingerprint_of([(head.volume, head.brain.astype(np.uint8)) for head in heads], labels=(LABEL,))
    shape = folded_shape(_BLOCK, image_channels=1, channels=chosen.channels)
    config = EnsembleConfig(shape=shape, members=len(trained), plan=_PLAN, mirror=True)
    card = {
        "schema": 1,
        "name": NETWORK_NAME,
        "version": "1.0.0",
        "kind": "brain",
        "method": "network",
        "labels": [LABEL],
        "needs_region": False,
        "block": list(_BLOCK),
        "training": {
            "heads": [head.source.name for head in heads],
            "left_out_persons": [list(persons) for persons in LEFT_OUT],
            "steps_per_member": [member.steps for member in trained],
            "settings": asdict(chosen),
        },
        **_ACCOUNT,
    }
    networks = [member.network.inner for member in trained]
    write_ensemble(out, networks, config=config, fingerprint=fingerprint, card=card)
    return out


def evaluate(
    heads: Sequence[HeadCase], card: ModelCard, out: Path | None = None, *, networks: ModelCard | None = None
) -> Mapping[str, Any]:
    """Measure the shipped method beside one recipe, and networks on the heads they did not see.

    Parameters
    ----------
    heads : sequence of HeadCase
        All heads.
    card : ModelCard
        The shipped method.
    out : Path, optional
        Folder for ``cases.csv`` and ``metrics.json``; None: the weights folder.
    networks : ModelCard, optional
        A trained ensemble; its networks leave out `LEFT_OUT`.

    Returns
    -------
    mapping
        What ``metrics.json`` holds.
    """
    folder = out or card.folder
    folder.mkdir(parents=True, exist_ok=True)
    write_scores(folder / CASES_FILE, [score for head in heads for score in _scores(head, card, networks)])
    report = summary(read_scores(folder / CASES_FILE), card)
    (folder / METRICS_FILE).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def summary(scores: Sequence[BrainScore], card: ModelCard) -> dict[str, Any]:
    """Summarise scores by method and by kind of reference; persons are too few for an interval, so ranges are given."""
    groups = sorted({(score.method, score.reference) for score in scores})
    return {
        "model": {"version": card.version, "digest": card.digest},
        "heads": len({score.case for score in scores}),
        "persons": len({score.person for score in scores}),
        "results": [_group(scores, method, reference) for method, reference in groups],
    }


def _group(scores: Sequence[BrainScore], method: str, reference: str) -> dict[str, Any]:
    own = [score for score in scores if (score.method, score.reference) == (method, reference)]
    dices, distances = [score.dice for score in own], [score.hd95 for score in own]
    return {
        "method": method,
        "reference": reference,
        "images": len(own),
        "persons": len({score.person for score in own}),
        "dice": {"mean": round(float(np.mean(dices)), 4), "lowest": min(dices), "highest": max(dices)},
        "hd95_mm": {"mean": round(float(np.nanmean(distances)), 3), "highest": float(np.nanmax(distances))},
    }


def _scores(head: HeadCase, card: ModelCard, networks: ModelCard | None) -> Iterator[BrainScore]:
    yield _score(head, SHIPPED, ConsensusBrain(card).segment(head.volume).labels == 1)
    yield _score(head, BASELINE, extract_brain(head.volume))
    if networks is not None:
        unseen = [number for number, persons in enumerate(LEFT_OUT) if head.source.person in persons]
        found = BrainSegmenter(networks, device="cpu", members=unseen).segment(head.volume)
        yield _score(head, NETWORK, found.labels == 1)


def _score(head: HeadCase, method: str, found: Mask) -> BrainScore:
    spacing = head.volume.grid.spacing
    return BrainScore(
        case=head.source.name,
        person=head.source.person,
        site=head.source.site,
        sequence=head.source.sequence,
        reference=str(head.reference),
        method=method,
        dice=dice(found, head.brain),
        hd95=hd95(found, head.brain, spacing),
        assd=assd(found, head.brain, spacing),
        volume_ml=volume_ml(found, spacing),
        reference_ml=volume_ml(head.brain, spacing),
    )

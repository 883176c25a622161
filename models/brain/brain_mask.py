"""Train and measure the brain mask: networks that correct the vote of threshold and morphology.

Each network of the ensemble leaves out other persons, and only the one that did not see a person is measured on them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dicom_sr.segmentation import Mask
from models.brain.clues import CHANNELS
from models.brain.consensus import PLAN, drafts_of, vote
from models.brain.extract import extract_brain
from models.brain.folded import folded_shape, new_folded
from models.brain.heads import HeadCase
from models.brain.scores import BrainScore, read_scores, write_scores
from models.brain.segmenter import BrainSegmenter
from models.brain.synthesis import HeadSampler
from models.brain.train import BrainTrainingSettings, train_network
from models.card import METRICS_FILE
from models.errors import UnusableVolume
from models.fingerprint import fingerprint_of
from models.metrics import assd, dice, hd95, volume_ml
from models.registry import ModelCard
from models.segmentation.ensemble import EnsembleConfig, write_ensemble

NAME = "brain-mask"
LABEL = "Brain"
CASES_FILE = "cases.csv"
SHIPPED = "network that did not see the person, correcting the recipes (shipped)"
VOTE, BASELINE = "vote of twelve recipes", "one recipe of threshold and morphology"
#: Persons that each network of the ensemble did not see, in order: together all of them.
LEFT_OUT = (("ms-patient01", "skyra"), ("ms-patient12", "xa30"), ("tumour",))
_STEPS = 340
_BLOCK = (2, 2, 2)
_TRUST = 6.0
_ACCOUNT = {
    "purpose": "Brain in a whole-head MR image of any contrast and orientation, slices up to about 7 mm.",
    "how": "Threshold and morphology under twelve recipes; those with a volume a brain can have vote. Three small "
    "networks see the image, the image divided by its local mean, and the vote, and correct it; their mean counts.",
    "data": "10 images of 5 persons from 4 sites: 4 FLAIR of two MS patients with published brain masks (Lesjak et "
    "al. 2017, CC BY), one MPRAGE (Siemens Skyra), one T1 (Siemens XA30, 2 mm), T1, T1 with contrast, T2 and FLAIR of "
    "one patient with a brain tumour (6.5 mm slices). The masks of the last three persons were made here by threshold "
    "and morphology with parameters set by hand for each head, and looked at; no expert drew them.",
    "who_saw_whom": "Each network left out the persons named under left_out_persons, and the figures of a person come "
    "from the network that left that person out; each other network of the ensemble that users get saw the person. "
    "The recipes themselves, and how long to train, were chosen while looking at these heads.",
    "synthetic": "Training images are the real ones, deformed, mirrored, cut, recoloured, thickened, with bias field "
    "and noise, and with votes of random choices of recipes. Networks trained on painted label maps without the vote "
    "reached .92 on the expert masks and were dropped.",
    "limits": "Five heads are few. No children under school age, no metal; a tumour with a resection in one person. "
    "Where the recipes find nothing like a brain the networks cannot mend it. Fluid over the convexity and the brain "
    "stem's lower end are where references differ from each other.",
    "claim": "Research reference model. No clinical claim is made.",
}


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
    chosen = replace(chosen, steps=chosen.steps or _STEPS)
    build = partial(new_folded, _BLOCK, image_channels=CHANNELS, channels=chosen.channels, trust=_TRUST)
    trained = []
    for number, persons in enumerate(LEFT_OUT):
        seen = [head for head in heads if head.source.person not in persons]
        if not seen:
            raise UnusableVolume("without the persons left out there is no head to train on")
        kept = work / f"member{number}.safetensors"
        trained.append(train_network(build, HeadSampler(seen).draw, chosen, seed=chosen.seed + number, kept=kept))
    fingerprint = fingerprint_of([(head.volume, head.brain.astype(np.uint8)) for head in heads], labels=(LABEL,))
    shape = folded_shape(_BLOCK, image_channels=CHANNELS, channels=chosen.channels)
    config = EnsembleConfig(shape=shape, members=len(trained), plan=PLAN, mirror=True)
    card = {
        "schema": 1,
        "name": NAME,
        "version": "2.0.0",
        "kind": "brain",
        "method": "network",
        "labels": [LABEL],
        "needs_region": False,
        "block": list(_BLOCK),
        "trust": _TRUST,
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


def evaluate(heads: Sequence[HeadCase], card: ModelCard, out: Path | None = None) -> Mapping[str, Any]:
    """Measure the network that did not see a person, beside the vote of the recipes and one recipe.

    Parameters
    ----------
    heads : sequence of HeadCase
        All heads.
    card : ModelCard
        The shipped ensemble; its networks leave out `LEFT_OUT`.
    out : Path, optional
        Folder for ``cases.csv`` and ``metrics.json``; None: the weights folder.

    Returns
    -------
    mapping
        What ``metrics.json`` holds.
    """
    folder = out or card.folder
    folder.mkdir(parents=True, exist_ok=True)
    write_scores(folder / CASES_FILE, [score for head in heads for score in _scores(head, card)])
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


def _scores(head: HeadCase, card: ModelCard) -> Iterator[BrainScore]:
    unseen = [number for number, persons in enumerate(LEFT_OUT) if head.source.person in persons]
    found = BrainSegmenter(card, device="cpu", members=unseen).segment(head.volume)
    yield _score(head, SHIPPED, found.labels == 1)
    yield _score(head, VOTE, vote(drafts_of(head.volume)))
    yield _score(head, BASELINE, extract_brain(head.volume))


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

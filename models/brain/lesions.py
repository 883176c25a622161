"""Write, train and measure lesion finders: the shipped outliers, and networks that so far do not reach them.

One full expert truth is an example, not a claim; lesions known to be new say what is found of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from dicom_sr.segmentation import Mask
from dicom_sr.volume import Volume
from models.brain.folded import folded_shape, new_folded
from models.brain.heads import HeadCase, LesionMask, example_heads
from models.brain.lesion_synthesis import PLAN, LesionSampler
from models.brain.outliers import STRICTNESS, OutlierLesions, write_likelihood
from models.brain.segmenter import BrainSegmenter
from models.brain.train import BrainTrainingSettings, train_network
from models.brain.view import score_intensity
from models.card import METRICS_FILE, WEIGHTS_FILE, write_card
from models.csv_file import write_csv
from models.errors import UnusableVolume
from models.fingerprint import fingerprint_of
from models.metrics import dice, volume_ml
from models.registry import ModelCard
from models.segmentation.ensemble import EnsembleConfig, write_ensemble

NAME = "flair-lesions"
NETWORK_NAME = "flair-lesions-network"
LABEL = "White matter lesions"
CASES_FILE = "cases.csv"
SHIPPED, NETWORK = "local outliers in likely places (shipped)", "networks in likely places"
BASELINE = "intensity outliers, best threshold in hindsight"
#: Person that each network of the ensemble did not see, in order; nobody's lesions of `TEST_PATIENT` were seen by any.
LEFT_OUT = ("ms-patient01", "ms-patient12")
_STEPS = 450
_BLOCK = (1, 2, 2)
_THRESHOLDS = tuple(float(t) for t in np.arange(1.0, 5.01, 0.25))
_DEEP_MM = 3.0
_CONNECTED = np.ones((3, 3, 3))
_SHIPPED_ACCOUNT = {
    "purpose": "Bright lesions in the brain on FLAIR, inside a given brain mask.",
    "how": "What is brighter than the brain and than its surroundings within 8 mm, at least 4 mm deep, where at "
    "least three patients in a hundred have a lesion nearby. Three strictnesses agree or not. No network.",
    "data": "The map of places: consensus masks of 17 MS patients (Lesjak et al. 2017, CC BY), none under the name of "
    "a patient that is measured. The strictnesses were chosen while looking at three other MS patients, patient07 with "
    "the only full lesion truth among them: his figure is an example, not a measurement on an unseen patient.",
    "networks": "Networks trained on lesion shapes put into other brains were measured beside it (metrics.json) and "
    "did not beat it on the one full truth.",
    "limits": "Finds large, bright lesions and misses most small and faint ones, lesions next to the cortex, in the "
    "brain stem and cerebellum. It marks what is bright, also oedema and tumour, and cannot tell causes apart. A "
    "draft for a person to correct.",
    "claim": "Research reference method. No clinical claim is made.",
}
_ACCOUNT = {
    "purpose": "Bright lesions in the brain on FLAIR, inside a given brain mask.",
    "data": "Brains: 4 FLAIR of two MS patients (Lesjak et al. 2017, CC BY), one FLAIR and two T1 of a patient with a "
    "tumour, two T1 of other persons. Lesion shapes: consensus masks of 17 other MS patients (same source), without "
    "their images. The only patient with image and full lesion truth (patient07) was kept out.",
    "synthetic": "Almost everything: lesion shapes of one person are stretched into the brain of another and "
    "brightened by random amounts; T1 brains are repainted as FLAIR. In the four real MS images lesions that are "
    "bright beyond doubt, or that experts marked as new, count as lesions; other bright spots where lesions are "
    "common count as nothing.",
    "limits": "Not measured on enough patients to say how good it is: one full truth. It marks what is bright, also "
    "oedema and tumour, and cannot tell causes apart; faint and small lesions are missed. Lesions within 3 mm of the "
    "surface were not trained.",
    "claim": "Research reference model. No clinical claim is made.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionScore:
    """One image under one method.

    Parameters
    ----------
    case, method : str
        What was measured.
    truth : str
        ``all lesions``, or ``lesions known to be new`` where experts marked no others: then only what is found of
        them is measured, and the rest is nan.
    dice : float
        0..1, or nan.
    lesions, detected : int
        Lesions of the truth (26-connected pieces), and how many of them are touched.
    false_lesions : float
        Pieces that touch no lesion, or nan.
    volume_ml, truth_ml : float
        Millilitres.
    threshold : float
        Of the outlier method, robust spreads; nan for the network.
    """

    case: str
    method: str
    truth: str
    dice: float
    lesions: int
    detected: int
    false_lesions: float
    volume_ml: float
    truth_ml: float
    threshold: float


def write(masks: Sequence[LesionMask], out: Path) -> Path:
    """Write the folder of the shipped method: where lesions are, averaged over patients, and the card."""
    write_likelihood(masks, out / WEIGHTS_FILE)
    card = {
        "schema": 1,
        "name": NAME,
        "version": "1.1.0",
        "kind": "brain",
        "method": "outliers",
        "labels": [LABEL],
        "needs_region": True,
        "lesion_masks_of": [mask.patient for mask in masks],
        "strictness": [list(limits) for limits in STRICTNESS],
        **_SHIPPED_ACCOUNT,
    }
    write_card(out, card)
    return out


def train(
    heads: Sequence[HeadCase],
    masks: Sequence[LesionMask],
    out: Path,
    *,
    work: Path,
    settings: BrainTrainingSettings | None = None,
) -> Path:
    """Train the ensemble and write its weights folder; see `models.brain.brain_mask.train`.

    Raises
    ------
    UnusableVolume
        If leaving out a person leaves no head.
    """
    chosen = settings or BrainTrainingSettings()
    chosen = replace(chosen, steps=chosen.steps or _STEPS)
    build = partial(new_folded, _BLOCK, image_channels=2, channels=chosen.channels)
    trained = []
    for number, person in enumerate(LEFT_OUT):
        seen = [head for head in heads if head.source.person != person]
        if not seen:
            raise UnusableVolume("without the person left out there is no head to train on")
        draw = LesionSampler(seen, masks).draw
        kept = work / f"member{number}.safetensors"
        trained.append(train_network(build, draw, chosen, seed=chosen.seed + number, kept=kept))
    fingerprint = fingerprint_of(
        [(_brain_as_volume(mask), mask.lesions.astype(np.uint8)) for mask in masks], labels=(LABEL,)
    )
    shape = folded_shape(_BLOCK, image_channels=2, channels=chosen.channels)
    config = EnsembleConfig(shape=shape, members=len(trained), plan=PLAN, mirror=True)
    card = {
        "schema": 1,
        "name": NETWORK_NAME,
        "version": "1.0.0",
        "kind": "brain",
        "method": "network",
        "labels": [LABEL],
        "needs_region": True,
        "block": list(_BLOCK),
        "training": {
            "heads": [head.source.name for head in heads if head.source.sequence in ("FLAIR", "T1")],
            "lesion_shapes_of": [mask.patient for mask in masks],
            "left_out_persons": list(LEFT_OUT),
            "steps_per_member": [member.steps for member in trained],
            "settings": asdict(chosen),
        },
        **_ACCOUNT,
    }
    networks = [member.network.inner for member in trained]
    write_ensemble(out, networks, config=config, fingerprint=fingerprint, card=card)
    return out


def evaluate(
    heads: Sequence[HeadCase],
    data: Path,
    card: ModelCard,
    out: Path | None = None,
    *,
    networks: ModelCard | None = None,
) -> Mapping[str, Any]:
    """Measure on the patient kept out, and on new lesions; of networks those that did not see the patient.

    Parameters
    ----------
    heads : sequence of HeadCase
        Heads; those without marked lesions are not used.
    data : Path
        Folder that holds all data sets.
    card : ModelCard
        The shipped method.
    out : Path, optional
        Folder for ``cases.csv`` and ``metrics.json``; None: the weights folder.
    networks : ModelCard, optional
        A trained ensemble; its networks leave out `LEFT_OUT`.
    """
    folder = out or card.folder
    folder.mkdir(parents=True, exist_ok=True)
    scores = [
        *_example_scores(data, card, networks),
        *(s for head in heads for s in _change_scores(head, card, networks)),
    ]
    _write(folder / CASES_FILE, scores)
    report = {"model": {"version": card.version, "digest": card.digest}, "examples": [_rounded(s) for s in scores]}
    (folder / METRICS_FILE).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def bright_outliers(volume: Volume, brain: Mask, threshold: float) -> Mask:
    """Return what is brighter than the brain's median by `threshold` robust spreads, at least 3 mm deep."""
    deep = ndimage.distance_transform_edt(brain, sampling=volume.grid.spacing) > _DEEP_MM
    found: Mask = deep & (score_intensity(volume.voxels, brain) > threshold)
    return found


def _example_scores(data: Path, card: ModelCard, networks: ModelCard | None) -> Iterator[LesionScore]:
    for name, volume, brain, truth in example_heads(data):
        found = OutlierLesions(card).segment(volume, region=brain).labels == 1
        yield _score(name, SHIPPED, found, truth, volume, full=True)
        tried = [(dice(bright_outliers(volume, brain, t), truth), t) for t in _THRESHOLDS]
        _, best = max(tried)
        plain = bright_outliers(volume, brain, best)
        yield _score(name, BASELINE, plain, truth, volume, full=True, threshold=best)
        if networks is not None:
            found = BrainSegmenter(networks, device="cpu").segment(volume, region=brain).labels == 1
            found &= OutlierLesions(card).likely_places(volume, brain)
            yield _score(name, NETWORK, found, truth, volume, full=True)


def _change_scores(head: HeadCase, card: ModelCard, networks: ModelCard | None) -> Iterator[LesionScore]:
    if head.changed is None:
        return
    name, volume = head.source.name, head.volume
    found = OutlierLesions(card).segment(volume, region=head.brain).labels == 1
    yield _score(name, SHIPPED, found, head.changed, volume, full=False)
    if networks is not None:
        unseen = [number for number, person in enumerate(LEFT_OUT) if person == head.source.person]
        found = BrainSegmenter(networks, device="cpu", members=unseen).segment(volume, region=head.brain).labels == 1
        found &= OutlierLesions(card).likely_places(volume, head.brain)
        yield _score(name, NETWORK, found, head.changed, volume, full=False)


def _score(
    case: str, method: str, found: Mask, truth: Mask, volume: Volume, *, full: bool, threshold: float = np.nan
) -> LesionScore:
    spacing = volume.grid.spacing
    pieces, count = ndimage.label(truth, _CONNECTED)
    touched = set(np.unique(pieces[found]).tolist()) - {0}
    others, made = ndimage.label(found, _CONNECTED)
    right = set(np.unique(others[truth]).tolist()) - {0}
    return LesionScore(
        case=case,
        method=method,
        truth="all lesions" if full else "lesions known to be new",
        dice=dice(found, truth) if full else np.nan,
        lesions=count,
        detected=len(touched),
        false_lesions=float(made - len(right)) if full else np.nan,
        volume_ml=volume_ml(found, spacing),
        truth_ml=volume_ml(truth, spacing),
        threshold=threshold,
    )


def _write(path: Path, scores: Sequence[LesionScore]) -> None:
    names = [field.name for field in fields(LesionScore)]
    write_csv(path, names, (list(_rounded(score).values()) for score in scores))


def _rounded(score: LesionScore) -> dict[str, Any]:
    row = asdict(score)
    return {key: (None if np.isnan(v) else round(v, 4)) if isinstance(v, float) else v for key, v in row.items()}


def _brain_as_volume(mask: LesionMask) -> Volume:
    """Stand in for the image that is not at hand: the fingerprint is about the lesions."""
    return Volume(grid=mask.grid, voxels=mask.brain.astype(np.float32), modality="MR")

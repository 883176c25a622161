"""Training examples: an image, what experts drew in it, and a candidate that is wrong in a known way.

Candidates are real failures of networks, corruptions that are coherent in 3-D, the experts' mask itself, or nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from models.corruptions import SMOOTH, Corruption, Labels, corrupt
from models.preprocess import canonical_view
from models.segmentation.augment import Augmentation, draw_batch
from models.segmentation.cases import LabelledVolume, TrainingCase, training_case
from models.segmentation.task import Task
from models.segmentation_qc.candidates import network_labels
from models.segmentation_qc.nnqc.preset import Preset
from models.segmentation_qc.nnqc.units import UnitPlan, cut_units

_PERFECT, _REAL = 0.15, 0.45  # shares of the examples with a candidate; the rest is corrupted
_ACCIDENTS = (Corruption.SLICE_DROP, Corruption.END_SLICES_DROP, Corruption.MIRROR, Corruption.LABEL_SWAP)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Known:
    """One training image with its truth and real failures on it; one-hot on the prepared image's grid."""

    case: TrainingCase
    failures: tuple[torch.Tensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Examples:
    """A batch of units.

    Parameters
    ----------
    images : torch.Tensor, (unit, channel, ...), float32
        Images.
    positions : torch.Tensor, (unit, slice), float32
        Slice positions, 0..1.
    truth, candidates : torch.Tensor, (unit, class, ...), float32
        One-hot.
    """

    images: torch.Tensor
    positions: torch.Tensor
    truth: torch.Tensor
    candidates: torch.Tensor


def known_cases(
    cases: Iterable[LabelledVolume],
    task: Task,
    plan: UnitPlan,
    *,
    undertrained: Mapping[str, Sequence[nn.Module]],
    failures: int,
    seed: int,
) -> list[Known]:
    """Prepare training images, with `failures` real failures each, drawn from snapshots of undertrained networks."""
    random = np.random.default_rng(seed)
    networks = [network for snapshots in undertrained.values() for network in snapshots]
    known = []
    for case in cases:
        chosen = random.permutation(len(networks))[:failures].tolist()
        made = [network_labels(networks[i], case.volume) for i in chosen]
        prepared = training_case(case, task, plan.preprocess)
        shape = prepared.image.shape[1:]
        turned = [canonical_view(labels, case.volume.grid)[0] for labels in made]
        kept = [_one_hot(t, prepared.one_hot.shape[0]) for t in turned if t.shape == tuple(shape)]
        known.append(Known(case=prepared, failures=tuple(kept)))
    return known


def augmentation_of(plan: UnitPlan) -> Augmentation:
    """Return how training crops are varied: a crop of the planned size, anywhere near the structure."""
    return Augmentation(patch=plan.size, shift=6.0)


def draw_truth(known: Sequence[Known], preset: Preset, plan: UnitPlan, *, count: int, seed: int) -> torch.Tensor:
    """Draw masks only, for the autoencoder; returns (unit, class, ...), one-hot."""
    generator = torch.Generator().manual_seed(seed)
    augmentation = augmentation_of(plan)
    drawn = []
    for index in torch.randint(len(known), (count,), generator=generator).tolist():
        case = known[index].case
        batch = draw_batch([case], augmentation, generator)
        one_hot = _float(functional.one_hot(batch.truth[0], case.one_hot.shape[0]).movedim(-1, 0))
        units = cut_units(batch.images[0, 0], preset, plan).cut.masks(one_hot)
        drawn.append(units[_some(len(units), preset, generator)])
    return torch.cat(drawn)


def draw_examples(known: Sequence[Known], preset: Preset, plan: UnitPlan, *, count: int, seed: int) -> Examples:
    """Draw a batch from `count` images; the same seed gives the same batch."""
    generator = torch.Generator().manual_seed(seed)
    random = np.random.default_rng(seed)
    made = [
        _example(known[i], preset, plan, generator=generator, random=random)
        for i in torch.randint(len(known), (count,), generator=generator).tolist()
    ]
    return Examples(
        images=torch.cat([e.images for e in made]),
        positions=torch.cat([e.positions for e in made]),
        truth=torch.cat([e.truth for e in made]),
        candidates=torch.cat([e.candidates for e in made]),
    )


def _example(
    known: Known, preset: Preset, plan: UnitPlan, *, generator: torch.Generator, random: np.random.Generator
) -> Examples:
    classes = known.case.one_hot.shape[0]
    augmentation = augmentation_of(plan)
    before = generator.get_state()
    batch = draw_batch([known.case], augmentation, generator)
    truth = batch.truth[0]
    chance = float(random.uniform())
    if random.uniform() < preset.candidate_dropout:
        labels = torch.zeros_like(truth)
    elif chance < _PERFECT:
        labels = truth
    elif chance < _PERFECT + _REAL and known.failures:
        failure = known.failures[int(random.integers(len(known.failures)))]
        # The same random state bends the failure exactly as its image was bent.
        again = torch.Generator()
        again.set_state(before)
        twin = TrainingCase(name=known.case.name, image=known.case.image, one_hot=failure)
        labels = draw_batch([twin], augmentation, again).truth[0]
    else:
        labels = torch.from_numpy(_corrupted(truth.numpy().astype(np.uint8), plan, random)).long()
    units = cut_units(batch.images[0, 0], preset, plan)
    pair = [units.cut.masks(_float(functional.one_hot(m, classes).movedim(-1, 0))) for m in (truth, labels)]
    chosen = _some(len(units.images), preset, generator)
    return Examples(
        images=units.images[chosen],
        positions=units.positions[chosen],
        truth=pair[0][chosen],
        candidates=pair[1][chosen],
    )


def _corrupted(labels: Labels, plan: UnitPlan, random: np.random.Generator) -> Labels:
    kinds: Sequence[Corruption] = SMOOTH if random.uniform() < 0.8 else _ACCIDENTS
    for kind in random.permutation(list(kinds))[: int(random.integers(1, 3))]:
        severity = float(random.uniform(0.02, 1.0))
        labels = corrupt(labels, Corruption(kind), severity, spacing=plan.preprocess.spacing, random=random)
    return labels


def _some(count: int, preset: Preset, generator: torch.Generator) -> torch.Tensor:
    """Choose units of one image: the volume, or a few of its slices."""
    return torch.arange(count) if preset.dimensions == 3 else torch.randperm(count, generator=generator)[:8]


def _one_hot(labels: Labels, classes: int) -> torch.Tensor:
    return _float(functional.one_hot(torch.from_numpy(labels.astype(np.int64)), classes).movedim(-1, 0)).contiguous()


def _float(one_hot: torch.Tensor) -> torch.Tensor:
    return one_hot.to(torch.float32)

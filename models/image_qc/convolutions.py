"""Train the convolutions of the two-headed network on the source sequence, with a head that is thrown away."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from models.image_qc.grading_loss import NothingToLearnFrom, grading_loss, labels_of
from models.image_qc.network import DESCRIPTION, OUTPUTS, Convolutions
from models.image_qc.pool import PooledScan

_RATE = 4e-3
_BATCH = 32
_CHUNK = 64


def train_convolutions(scans: Sequence[PooledScan], *, steps: int, seed: int) -> Convolutions:
    """Train on views of labelled scans of the source.

    Raises
    ------
    NothingToLearnFrom
        If `scans` is empty.
    """
    if not scans:
        raise NothingToLearnFrom("convolutions need scans to be trained on")
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    convolutions = Convolutions()
    head = nn.Sequential(nn.LayerNorm(DESCRIPTION), nn.Linear(DESCRIPTION, 48), nn.ReLU(), nn.Linear(48, OUTPUTS))
    network = nn.Sequential(convolutions, head)
    optimiser = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, steps))
    for _ in range(steps):
        drawn = [scans[i] for i in random.integers(0, len(scans), _BATCH)]
        views = np.stack([_varied(scan.views[random.integers(len(scan.views))], random) for scan in drawn])
        loss = grading_loss(network(torch.from_numpy(views)), torch.tensor([labels_of(scan.grades) for scan in drawn]))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return convolutions.eval()


def describe(convolutions: Convolutions, views: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Return the descriptions (view, DESCRIPTION) of views (view, z, y, x); each view by itself."""
    convolutions.eval()
    rows = []
    with torch.no_grad():
        for start in range(0, len(views), _CHUNK):
            chunk = np.ascontiguousarray(views[start : start + _CHUNK], np.float32)
            rows.append(convolutions(torch.from_numpy(chunk)).numpy())
    described: npt.NDArray[np.float32] = np.concatenate(rows)
    return described


def _varied(view: npt.NDArray[np.float16], random: np.random.Generator) -> npt.NDArray[np.float32]:
    """Mirror at random and bend intensities a little."""
    flipped = view[tuple(slice(None, None, int(s)) for s in random.choice([-1, 1], 3))].astype(np.float32)
    bent: npt.NDArray[np.float32] = (flipped * 2.0) ** np.float32(random.uniform(0.8, 1.25)) / 2.0
    return np.ascontiguousarray(bent, np.float32)

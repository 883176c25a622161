"""Train an ensemble of U-Nets and publish its weights, better ones after each round.

Several members start from different seeds. Training goes in rounds of growing length, each a full cosine cycle of the
learning rate for every member in turn; after each round the ensemble is published as a complete weights folder. So a
usable model exists early, and a longer budget continues from it instead of starting again.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from models.errors import UnusableVolume
from models.fingerprint import fingerprint_of
from models.segmentation.augment import Augmentation, disturb_region, draw_batch
from models.segmentation.cases import TrainingCase, case_names, read_cases, training_case
from models.segmentation.ensemble import EnsembleConfig, write_ensemble
from models.segmentation.loss import region_loss, segmentation_loss
from models.segmentation.task import Task, task_named
from models.segmentation.unet import UNet3d, UNetShape
from models.split import Split, person_of, split_patients

_log = logging.getLogger(__name__)
_SHARE_OF_ROUNDS = (0.12, 0.28, 0.6)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """How to train.

    Parameters
    ----------
    members : int
        Networks in the ensemble.
    minutes : float or None
        Wall-clock budget for all members and rounds together; None: as many `steps` as said.
    steps : int
        Steps per member over all rounds when `minutes` is None.
    batch : int
        Crops per step.
    learning_rate : float
        Peak of each cosine cycle (AdamW).
    weight_decay : float
        AdamW.
    seed : int
        Member n starts from ``seed + n``.
    augmentation : Augmentation
        How crops are varied.
    channels : tuple of int or None
        Feature channels per level; None: the task's own.
    threads : int
        CPU threads.
    """

    members: int = 3
    minutes: float | None = None
    steps: int = 4000
    batch: int = 2
    learning_rate: float = 1.5e-3
    weight_decay: float = 1e-2
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)
    channels: tuple[int, ...] | None = None
    threads: int = 2


class _Member:
    """One network in training, its optimizer and its random numbers."""

    def __init__(self, task: Task, shape: UNetShape, settings: TrainingSettings, seed: int) -> None:
        torch.manual_seed(seed)
        self.task = task
        self.settings = settings
        self.network = UNet3d(shape).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.generator = torch.Generator().manual_seed(seed)
        self.steps_done = 0
        self.recent_loss = math.nan

    def run_cycle(self, cases: list[TrainingCase], *, steps: int | None, seconds: float | None) -> None:
        """Train through one cosine cycle of `steps`, or of about `seconds`."""
        self.network.train()
        started = time.monotonic()
        step = 0
        while True:
            elapsed = time.monotonic() - started
            progress = step / steps if steps is not None else elapsed / (seconds or 1.0)
            if progress >= 1:
                break
            self._set_learning_rate(progress, step)
            loss = self._step(cases)
            self.recent_loss = loss if math.isnan(self.recent_loss) else 0.98 * self.recent_loss + 0.02 * loss
            step += 1
            if step % 100 == 0:
                _log.info("step %d, loss %.4f, %.2f s per step", step, self.recent_loss, elapsed / step)
        self.steps_done += step

    def _set_learning_rate(self, progress: float, step: int) -> None:
        warm_up = min(1.0, (step + 1) / 50)
        rate = self.settings.learning_rate * warm_up * (0.5 * (1 + math.cos(math.pi * progress)) + 0.005)
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _step(self, cases: list[TrainingCase]) -> float:
        chosen = torch.randint(len(cases), (self.settings.batch,), generator=self.generator)
        batch = draw_batch([cases[i] for i in chosen.tolist()], self.settings.augmentation, self.generator)
        images = batch.images
        region = None
        if self.task.needs_region:
            region = disturb_region((batch.truth > 0).float()[:, None], self.generator)
            images = torch.cat([images, region], dim=1)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.network(images.contiguous(memory_format=torch.channels_last_3d))
        if region is None:
            loss = segmentation_loss(logits.float(), batch.truth)
        else:
            loss = region_loss(logits.float(), batch.truth, region)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 12.0)
        self.optimizer.step()
        return float(loss.detach())


def train(data: Path, out: Path, *, task: str, settings: TrainingSettings | None = None) -> Path:
    """Train the ensemble of one task on the ``train`` patients of a data set and write its weights folder.

    Parameters
    ----------
    data : Path
        Folder with ``images/NAME.nii.gz`` and ``labels/NAME.nii.gz``.
    out : Path
        Weights folder to write, by convention named as the task; overwritten after each round.
    task : str
        Name of a task in `models.segmentation.task`.
    settings : TrainingSettings, optional
        How to train.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    ModelNotFound
        If there is no such task.
    UnusableVolume
        If the folder holds no usable cases of the ``train`` split.
    """
    settings = settings or TrainingSettings()
    wanted = task_named(task)
    torch.set_num_threads(settings.threads)
    names = split_patients(case_names(data))[Split.TRAIN]
    if not names:
        raise UnusableVolume("the folder holds no case of the train split")
    labelled = list(read_cases(data, names))
    fingerprint = fingerprint_of([(case.volume, wanted.truth(case.expert)) for case in labelled], labels=wanted.labels)
    plan = fingerprint.plan()
    cases = [training_case(case, wanted, plan) for case in labelled]
    shape = UNetShape(
        input_channels=wanted.input_channels,
        output_channels=wanted.output_channels,
        channels=settings.channels or wanted.channels,
    )
    config = EnsembleConfig(shape=shape, members=settings.members, plan=plan, mirror=True)
    members = [_Member(wanted, shape, settings, settings.seed + n) for n in range(settings.members)]
    for round_number, share in enumerate(_SHARE_OF_ROUNDS, start=1):
        for number, member in enumerate(members, start=1):
            _log.info("round %d, member %d of %d", round_number, number, len(members))
            if settings.minutes is None:
                member.run_cycle(cases, steps=max(1, round(settings.steps * share)), seconds=None)
            else:
                member.run_cycle(cases, steps=None, seconds=60 * settings.minutes * share / len(members))
        networks = [member.network for member in members]
        card = _card(wanted, settings, names, [member.steps_done for member in members])
        write_ensemble(out, networks, config=config, fingerprint=fingerprint, card=card)
    return out


def _card(task: Task, settings: TrainingSettings, names: tuple[str, ...], steps: list[int]) -> dict[str, Any]:
    return {
        "schema": 1,
        "name": task.name,
        "version": "1.0.0",
        "kind": "segmentation",
        "labels": list(task.labels),
        "needs_region": task.needs_region,
        "training": {
            "split": str(Split.TRAIN),
            "cases": len(names),
            "persons": len({person_of(name) for name in names}),
            "steps_per_member": steps,
            "settings": asdict(settings),
        },
        **task.account,
    }

"""One optimisation loop for both stages, that can be stopped and taken up again to the same end."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from models.errors import InvalidModel, TrainingDiverged

_log = logging.getLogger(__name__)

Loss = Callable[[int], torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSettings:
    """How to optimise.

    Parameters
    ----------
    steps : int
        Optimiser steps; the learning rate follows one cosine over them.
    minutes : float or None
        Wall-clock limit; the cosine is over whichever ends first.
    learning_rate : float
        AdamW.
    averaging : float
        Decay of the exponential moving average of the weights, which is what remains.
    clip : float
        Largest norm of the gradient.
    save_every : int
        Steps between checkpoints.
    """

    steps: int
    minutes: float | None = None
    learning_rate: float = 1e-3
    averaging: float = 0.995
    clip: float = 1.0
    save_every: int = 100


def optimise(
    network: nn.Module,
    loss: Loss,
    settings: LoopSettings,
    *,
    path: Path,
    on_save: Callable[[int, nn.Module], None] | None = None,
) -> int:
    """Optimise the parameters of `network` that ask for a gradient, from where the checkpoint left off.

    Parameters
    ----------
    network : nn.Module
        Trained in place; holds the averaged weights afterwards.
    loss : callable
        Maps the step to the loss; all its randomness must follow from the step, or taking up again ends elsewhere.
    settings : LoopSettings
        How.
    path : Path
        Checkpoint (safetensors); read if it is there.
    on_save : callable, optional
        Called with step and network, which then holds the averaged weights, at every checkpoint.

    Returns
    -------
    int
        Steps made in all.

    Raises
    ------
    InvalidModel
        If the checkpoint is of another network.
    TrainingDiverged
        If a gradient is not finite; the checkpoint before it is kept.
    """
    trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
    optimiser = torch.optim.AdamW(trained.values(), lr=settings.learning_rate, weight_decay=1e-2)
    average = {name: p.detach().clone() for name, p in trained.items()}
    step = _resume(path, trained, average, optimiser) if path.is_file() else 0
    first, started, recent = step, time.monotonic(), math.nan
    network.train()
    while step < settings.steps:
        spent = (time.monotonic() - started) / (60 * settings.minutes) if settings.minutes else 0.0
        progress = max(step / settings.steps, spent)
        if progress >= 1:
            break
        for group in optimiser.param_groups:
            rising = min(1.0, (step + 1) / 30)
            group["lr"] = settings.learning_rate * rising * (0.5 + 0.5 * math.cos(math.pi * progress))
        optimiser.zero_grad(set_to_none=True)
        value = loss(step)
        value.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(trained.values(), settings.clip)
        if not torch.isfinite(norm):
            raise TrainingDiverged(f"the gradient at step {step} is not finite; train with a lower learning rate")
        optimiser.step()
        step += 1
        recent = float(value.detach()) if math.isnan(recent) else 0.97 * recent + 0.03 * float(value.detach())
        decay = min(settings.averaging, (step + 1) / (step + 10))
        for name, parameter in trained.items():
            average[name].lerp_(parameter.detach(), 1 - decay)
        if step % settings.save_every == 0 or step == settings.steps:
            _log.info(
                "step %d, loss %.4f, %.2f s per step", step, recent, (time.monotonic() - started) / (step - first)
            )
            _save(path, trained, average, optimiser, step)
            if on_save is not None:
                _with_average(network, trained, average, lambda at=step: on_save(at, network))  # type: ignore[misc]
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(average[name])
    network.eval()
    return step


def _with_average(
    network: nn.Module, trained: Mapping[str, nn.Parameter], average: Mapping[str, torch.Tensor], do: Callable[[], None]
) -> None:
    """Lend the network its averaged weights while `do` looks at it."""
    kept = {name: p.detach().clone() for name, p in trained.items()}
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(average[name])
        network.eval()
        do()
        network.train()
        for name, parameter in trained.items():
            parameter.copy_(kept[name])


def _save(
    path: Path,
    trained: Mapping[str, nn.Parameter],
    average: Mapping[str, torch.Tensor],
    optimiser: torch.optim.Optimizer,
    step: int,
) -> None:
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in trained.items():
        tensors[f"weight.{name}"] = parameter.detach()
        tensors[f"average.{name}"] = average[name]
        # A parameter that no loss has reached yet has no moments: zero is what Adam would start from.
        moments = optimiser.state.get(parameter, {})
        tensors[f"first.{name}"] = moments.get("exp_avg", torch.zeros_like(parameter))
        tensors[f"second.{name}"] = moments.get("exp_avg_sq", torch.zeros_like(parameter))
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    save_file({k: v.contiguous().clone() for k, v in tensors.items()}, unfinished, metadata={"step": str(step)})
    unfinished.replace(path)


def start_from(network: nn.Module, path: Path, *, step: int) -> None:
    """Write a checkpoint from which `optimise` goes on: the weights of `network` as they are, after `step` steps."""
    tensors = {f"{kind}.{name}": p.detach() for name, p in network.named_parameters() for kind in ("weight", "average")}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous().clone() for k, v in tensors.items()}, path, metadata={"step": str(step)})


def _resume(
    path: Path,
    trained: Mapping[str, nn.Parameter],
    average: Mapping[str, torch.Tensor],
    optimiser: torch.optim.Optimizer,
) -> int:
    try:
        with safetensors.safe_open(path, framework="pt") as opened:
            step = int((opened.metadata() or {})["step"])
        tensors = load_file(path)
        # Without moments, as `start_from` writes, Adam starts as it does on the first step: corrected for their bias.
        moments = any(key.startswith("second.") for key in tensors)
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(tensors[f"weight.{name}"])
                average[name].copy_(tensors[f"average.{name}"])
                if not moments:
                    continue
                optimiser.state[parameter] = {
                    "step": torch.tensor(float(step)),
                    "exp_avg": tensors[f"first.{name}"],
                    "exp_avg_sq": tensors[f"second.{name}"],
                }
    except (OSError, KeyError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        raise InvalidModel("the checkpoint is not of this network; delete it to start anew") from error
    return step

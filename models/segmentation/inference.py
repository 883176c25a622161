"""Run a network over an image of any size, whole where it fits and window by window where not.

Determinism: on the CPU in fp32 the same input, weights, machine and thread count give the same bytes; other thread
counts or processors may differ in the last bits of the probabilities, which moves a label only on an exact tie.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch.nn import functional

from models.errors import OutOfDeviceMemory

Network = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """How an image is cut.

    Parameters
    ----------
    largest : int
        An image whose axes all are at most this long, voxels, is seen whole; longer axes are cut into windows of it.
    overlap : float
        Share of a window that its neighbour covers too.
    smallest : int
        Under shortage of memory windows are halved down to this, voxels.
    """

    largest: int = 96
    overlap: float = 0.5
    smallest: int = 32


def predict(network: torch.nn.Module, images: torch.Tensor, *, stride: int, window: Window) -> torch.Tensor:
    """Return class probabilities, on the device where memory allows, else with smaller windows, else on the CPU.

    Parameters
    ----------
    network : torch.nn.Module
        Gives logits (1, class, z, y, x); its axes must be multiples of `stride`.
    images : torch.Tensor, (channel, z, y, x), float32
        On the device to compute on.
    stride : int
        Every axis of a window is padded to a multiple of this by repeating the edge.
    window : Window
        How to cut.

    Returns
    -------
    torch.Tensor, (class, z, y, x), float32
        Softmax probabilities on the CPU.

    Raises
    ------
    OutOfDeviceMemory
        If even the smallest window does not fit the CPU's memory.
    """
    for device, largest in _fallbacks(images.device, window):
        try:
            network.to(device)
            return _predict(network, images.to(device), stride=stride, window=replace(window, largest=largest)).cpu()
        except (torch.OutOfMemoryError, MemoryError):
            continue
        except RuntimeError as error:
            if "memory" not in str(error):
                raise
            continue
    raise OutOfDeviceMemory(f"a window of {window.smallest} voxels a side does not fit into memory")


def _fallbacks(device: torch.device, window: Window) -> Iterator[tuple[torch.device, int]]:
    for place in dict.fromkeys((device, torch.device("cpu"))):
        largest = window.largest
        while True:
            yield place, largest
            if largest <= window.smallest:
                break
            largest = max(window.smallest, largest // 2)


def _predict(network: torch.nn.Module, images: torch.Tensor, *, stride: int, window: Window) -> torch.Tensor:
    padded, size = _pad(images, stride)
    shape = padded.shape[1:]
    extents = tuple(min(n, _multiple(window.largest, stride)) for n in shape)
    starts = [_starts(n, extent, window.overlap) for n, extent in zip(shape, extents, strict=True)]
    if all(len(places) == 1 for places in starts):
        whole = _run(network, padded)
        return whole[:, : size[0], : size[1], : size[2]]
    weight = _weight(extents, padded.device)
    total: torch.Tensor | None = None
    coverage = torch.zeros(shape, device=padded.device)
    for corner in product(*starts):
        z, y, x = (slice(start, start + extent) for start, extent in zip(corner, extents, strict=True))
        answer = _run(network, padded[:, z, y, x]) * weight
        if total is None:
            total = torch.zeros((answer.shape[0], *shape), device=padded.device)
        total[:, z, y, x] += answer
        coverage[z, y, x] += weight
    assert total is not None
    return (total / coverage)[:, : size[0], : size[1], : size[2]]


def _run(network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        batch = images[None].contiguous(memory_format=torch.channels_last_3d)
        logits: torch.Tensor = network(batch)
        return logits[0].float().softmax(dim=0)


def _pad(images: torch.Tensor, stride: int) -> tuple[torch.Tensor, tuple[int, int, int]]:
    z, y, x = (int(n) for n in images.shape[1:])
    missing = [_multiple(n, stride) - n for n in (z, y, x)]
    padding = (0, missing[2], 0, missing[1], 0, missing[0])
    return functional.pad(images[None], padding, mode="replicate")[0], (z, y, x)


def _multiple(length: int, stride: int) -> int:
    return -(-length // stride) * stride


def _starts(length: int, extent: int, overlap: float) -> list[int]:
    if length <= extent:
        return [0]
    step = max(1, round(extent * (1 - overlap)))
    return [*range(0, length - extent, step), length - extent]


def _weight(extents: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Gaussian importance of a window's voxels, so that window edges count little."""
    axes = [torch.arange(n, device=device, dtype=torch.float32) - (n - 1) / 2 for n in extents]
    z, y, x = (torch.exp(-0.5 * (axis / (len(axis) / 6)) ** 2) for axis in axes)
    return (z[:, None, None] * y[None, :, None] * x[None, None, :]).clamp(min=1e-4)

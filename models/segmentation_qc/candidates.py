"""Candidate segmentations of known quality: real failures of networks, and corruptions of the experts' masks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from dicom_sr.volume import Volume
from models.corruptions import SMOOTH, Corruption, corrupt
from models.errors import ModelError
from models.image_qc.artefacts import Artefact, degrade
from models.preprocess import PreprocessPlan, canonical_view, prepare
from models.segmentation.cases import LabelledVolume
from models.segmentation.inference import Window, predict
from models.segmentation.segmenter import Segmenter

Labels = npt.NDArray[np.uint8]

_SYNTHETIC_PER_CASE = 12
_DEGRADED_PER_CASE = 2
_ACCIDENTS = (Corruption.SLICE_DROP, Corruption.END_SLICES_DROP, Corruption.MIRROR)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidate:
    """A segmentation to be judged, with where it came from.

    Parameters
    ----------
    source : str
        ``deployed``, ``degraded``, ``undertrained``, ``dilated`` or ``synthetic``.
    variant : str
        Which one of that source, for instance ``NOISE 0.6`` or ``step 60``.
    volume : Volume
        The image as the judge sees it (degraded where the source is).
    labels : numpy.ndarray, (z, y, x), uint8
        1 anterior, 2 posterior, on the grid of `volume`.
    agreement : mapping of str to float
        Ensemble agreement by segment label; empty where there is no ensemble.
    """

    source: str
    variant: str
    volume: Volume
    labels: Labels
    agreement: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DeployedSegmenter:
    """The two segmentation stages that ship: the whole structure, then its parts inside it."""

    whole: Segmenter
    parts: Segmenter

    def segment(self, volume: Volume) -> tuple[Labels, dict[str, float]]:
        """Segment an image; returns labels (1 anterior, 2 posterior) and the ensemble's agreement by segment label."""
        found = self.whole.segment(volume)
        region = found.labels > 0
        divided = self.parts.segment(volume, region=region)
        names = {1: "Hippocampus anterior", 2: "Hippocampus posterior"}
        agreement = {"Hippocampus": found.agreement[1]} if 1 in found.agreement else {}
        agreement |= {names[value]: share for value, share in divided.agreement.items()}
        return divided.labels.astype(np.uint8), agreement


def random_for(name: str, purpose: str) -> np.random.Generator:
    """Return a generator that depends on case and purpose only, so that figures can be made again."""
    digest = hashlib.sha256(f"{purpose}:{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def candidates_of(
    case: LabelledVolume, *, deployed: DeployedSegmenter, undertrained: Mapping[str, Sequence[nn.Module]]
) -> Iterator[Candidate]:
    """Make every candidate of one case.

    Parameters
    ----------
    case : LabelledVolume
        Image with the experts' labels 1 anterior, 2 posterior.
    deployed : DeployedSegmenter
        What ships.
    undertrained : mapping of str to sequence of nn.Module
        Snapshots by source name.
    """
    labels, agreement = deployed.segment(case.volume)
    yield Candidate(source="deployed", variant="", volume=case.volume, labels=labels, agreement=agreement)
    yield from _degraded(case, deployed)
    for source, networks in undertrained.items():
        for number, network in enumerate(networks):
            yield Candidate(
                source=source,
                variant=f"snapshot {number}",
                volume=case.volume,
                labels=network_labels(network, case.volume),
                agreement={},
            )
    yield from _synthetic(case)


def _degraded(case: LabelledVolume, deployed: DeployedSegmenter) -> Iterator[Candidate]:
    random = random_for(case.name, "degraded")
    kinds = random.permutation(list(Artefact))[:_DEGRADED_PER_CASE]
    for kind in (Artefact(str(k)) for k in kinds):
        severity = float(random.uniform(0.1, 1.0))
        volume = degrade(case.volume, kind, severity, random)
        try:
            labels, agreement = deployed.segment(volume)
        except ModelError:
            continue
        variant = f"{kind} {severity:.2f}"
        yield Candidate(source="degraded", variant=variant, volume=volume, labels=labels, agreement=agreement)


def _synthetic(case: LabelledVolume) -> Iterator[Candidate]:
    random = random_for(case.name, "synthetic")
    expert = case.expert.astype(np.uint8)
    turned, spacing = canonical_view(expert, case.volume.grid)
    for number in range(_SYNTHETIC_PER_CASE):
        kinds = SMOOTH if number < _SYNTHETIC_PER_CASE - len(_ACCIDENTS) else (_ACCIDENTS[number % len(_ACCIDENTS)],)
        chosen = random.permutation(list(kinds))[: int(random.integers(1, 3))].tolist()
        wrong = turned
        for kind in chosen:
            severity = float(random.uniform(0.02, 1.0)) ** 1.5
            wrong = corrupt(wrong, Corruption(kind), severity, spacing=spacing, random=random)
        yield Candidate(
            source="synthetic",
            variant=" ".join(chosen),
            volume=case.volume,
            labels=on_image_grid(wrong, case.volume),
            agreement={},
        )


def on_image_grid(turned: Labels, volume: Volume) -> Labels:
    """Put labels in canonical axes back on the grid of the image."""
    prepared = prepare(volume, PreprocessPlan(spacing=canonical_view(volume.voxels, volume.grid)[1]))
    labels: Labels = np.round(prepared.restore(turned[None].astype(np.float32))[0]).astype(np.uint8)
    return labels


def network_labels(network: nn.Module, volume: Volume) -> Labels:
    """Segment an image with an undertrained network; returns labels (z, y, x) on the grid of the image."""
    prepared = prepare(volume, PreprocessPlan())
    images = torch.from_numpy(prepared.voxels[None].copy())
    probabilities = prepared.restore(predict(network, images, stride=8, window=Window()).numpy())
    labels: Labels = probabilities.argmax(axis=0).astype(np.uint8)
    return labels

"""Train the two-headed network: source first, then both sequences with the domain classifier working against them.

The loss is that of Loizillon et al. (MedIA 103, 2025): source and labelled target by their grades, and lambda times the
domain loss of source, labelled target and *unlabelled* target; that third domain term is all that is semi-supervised.

A new sequence with few labels: rate five to ten scans, of all tiers, and some more to judge by. Five scans are of one
or two persons, so whatever has many weights learns the persons: fitting the last layer or all dense layers lost to the
source as it is (`overread evaluate image-qc-adaptation`). `shrunk` moves the target head by two numbers only and its
statistics half of the way; it is what to try first. Keep what is better on the scans held back. How far it moves was
chosen on the four persons of the study, so its lead of a point over the source as it is may be luck.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from models.image_qc.described import DescribedScan
from models.image_qc.grading_loss import CLASS_WEIGHTS, NothingToLearnFrom, grading_loss, labels_of
from models.image_qc.network import GRADED, Convolutions, Domain, TwoHeadedNetwork, split_logits
from models.image_qc.pool import SOURCE_TIERS
from models.image_qc.priors import estimate_priors, importance
from models.image_qc.scan_grading import grade_scan

_LEAST_TIER_SHARE = 0.05
_CLASSIFIER_PACE = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptationSettings:
    """How to train the dense layers.

    Parameters
    ----------
    source_steps, adapt_steps : int
        Steps of the first and the second part.
    batch : int
        Views of each group (source, labelled target, unlabelled target) in a step.
    rate, adapt_rate : float
        Highest learning rate of Adam in each part; it falls to 0 along a cosine.
    labelled_weight : float
        Weight of the few labelled target scans.
    domain_weight : float
        Weight of the domain loss, the lambda of the paper (0.1 there); 0 trains on both sequences without adaptation.
    statistics_share : float
        How far `shrunk` goes from the statistics of the source to those of the target, 0..1.
    offset_penalty : float
        Of the squared offsets of `shrunk`, in units of the loss of one graded artefact.
    seed : int
        Where random numbers start.
    """

    source_steps: int = 300
    adapt_steps: int = 200
    batch: int = 64
    rate: float = 2e-3
    adapt_rate: float = 5e-4
    labelled_weight: float = 0.3
    domain_weight: float = 0.1
    statistics_share: float = 0.5
    offset_penalty: float = 10.0
    seed: int = 0


def reversal_strength(progress: float) -> float:
    """Return alpha for `progress` from 0 to 1: from 0 to almost 1, so that the classifier learns before it fights.

    References
    ----------
    Ganin and Lempitsky, ICML 2015: 2 / (1 + exp(-10 p)) - 1; clinicadl takes p = epoch / 10.
    """
    return 2.0 / (1.0 + math.exp(-10.0 * progress)) - 1.0


def train_on_one(
    convolutions: Convolutions, scans: Sequence[DescribedScan], domain: Domain, settings: AdaptationSettings
) -> TwoHeadedNetwork:
    """Train on the labelled scans of one sequence alone, and give both heads what the one has learnt.

    Raises
    ------
    NothingToLearnFrom
        If `scans` is empty.
    """
    _need(scans)
    torch.manual_seed(settings.seed)
    network = TwoHeadedNetwork(convolutions)
    network.standardise_by(_every_view(scans), *Domain)
    draws = _Draws(settings.seed)
    optimiser, schedule = _optimiser(network, settings.source_steps, settings.rate)
    network.train()
    for _ in range(settings.source_steps):
        views, labels = draws.labelled(scans, settings.batch)
        _step(grading_loss(network.grade(network(views, domain), domain), labels), optimiser, schedule)
    for other in Domain:
        if other is not domain:
            network.heads[str(other)].load_state_dict(network.heads[str(domain)].state_dict())
    return network.eval()


def aligned(network: TwoHeadedNetwork, unlabelled: Sequence[DescribedScan], *, share: float = 1.0) -> TwoHeadedNetwork:
    """Return a copy of `network` that standardises the target sequence by itself; no label, no training.

    Parameters
    ----------
    network : TwoHeadedNetwork
        Trained on the source; it is not changed.
    unlabelled : sequence of DescribedScan
        Scans of the target sequence.
    share : float
        How far to go from the statistics of the source, 0, to those of the target, 1.

    Raises
    ------
    NothingToLearnFrom
        If there is no scan.
    """
    _need(unlabelled)
    copied = copy.deepcopy(network)
    copied.standardise_by(_every_view(unlabelled), Domain.TARGET)
    source, target = (list(Domain).index(domain) for domain in (Domain.SOURCE, Domain.TARGET))
    for own in (copied.mean, copied.scale):
        own[target] = torch.lerp(own[source], own[target], share)
    return copied.eval()


def shrunk(
    network: TwoHeadedNetwork,
    labelled: Sequence[DescribedScan],
    unlabelled: Sequence[DescribedScan],
    settings: AdaptationSettings,
) -> TwoHeadedNetwork:
    """Return a copy of `network` whose target head is that of the source, but for how readily it says grade 1 and 2.

    Two offsets, the same for every artefact, are fitted to the grades of whole scans (mean over their views) and shrunk
    towards none; statistics are `aligned` by `settings.statistics_share`.

    Parameters
    ----------
    network : TwoHeadedNetwork
        Trained on the source by `train_on_one`; it is not changed.
    labelled, unlabelled : sequence of DescribedScan
        Scans of the target sequence, with grades to fit to, and without; those to refuse are not looked at.

    Raises
    ------
    NothingToLearnFrom
        If there is no scan with grades, or none without.
    """
    graded = [scan for scan in labelled if not scan.grades.reject]
    _need(graded, unlabelled)
    adapted = aligned(network, unlabelled, share=settings.statistics_share)
    head = adapted.heads[str(Domain.TARGET)]
    with torch.no_grad():
        each = [adapted.grade(adapted(torch.from_numpy(s.fixed), Domain.TARGET), Domain.TARGET) for s in graded]
        logits = [torch.stack(split_logits(one)[1:], dim=1) for one in each]
        offsets = _fit_offsets(logits, torch.tensor([labels_of(s.grades)[1:] for s in graded]), settings.offset_penalty)
        head.get_parameter("bias").add_(torch.cat([torch.zeros(2), offsets.repeat(len(GRADED))]))
    return adapted.eval()


def _fit_offsets(logits: Sequence[torch.Tensor], grades: torch.Tensor, penalty: float) -> torch.Tensor:
    """Fit the offsets (3,) of the three grades, the first 0, to the mean probabilities over the views of each scan.

    Parameters
    ----------
    logits : sequence of torch.Tensor, (view, artefact, grade)
        By scan.
    grades : torch.Tensor, (scan, artefact), int64
        True ones.
    penalty : float
        Of the squared offsets.
    """
    free = torch.zeros(2, requires_grad=True)
    weights = torch.tensor(CLASS_WEIGHTS)[grades]
    optimiser = torch.optim.LBFGS([free], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        offsets = torch.cat([torch.zeros(1), free])
        mean = torch.stack([(one + offsets).softmax(2).mean(0) for one in logits]).clamp(min=1e-6)
        entropy = -mean.gather(2, grades[:, :, None])[:, :, 0].log()
        total = (weights * entropy).sum() + penalty * free.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    with torch.enable_grad():
        optimiser.step(loss)  # type: ignore[no-untyped-call]
    return torch.cat([torch.zeros(1), free.detach()])


def adapt(
    network: TwoHeadedNetwork,
    source: Sequence[DescribedScan],
    labelled: Sequence[DescribedScan],
    unlabelled: Sequence[DescribedScan],
    settings: AdaptationSettings,
) -> TwoHeadedNetwork:
    """Return a copy of `network`, trained on the source, adapted to the target sequence.

    Parameters
    ----------
    network : TwoHeadedNetwork
        Trained on the source by `train_on_one`; it is not changed.
    source, labelled : sequence of DescribedScan
        Scans with grades, of the source and of the target sequence.
    unlabelled : sequence of DescribedScan
        Scans of the target sequence; their grades are not looked at.

    Raises
    ------
    NothingToLearnFrom
        If one of the three is empty.
    """
    _need(source, labelled, unlabelled)
    torch.manual_seed(settings.seed + 1)
    adapted = aligned(network, unlabelled)
    draws = _Draws(settings.seed + 1)
    weights = _tier_weights(adapted, unlabelled)
    optimiser, schedule = _optimiser(adapted, settings.adapt_steps, settings.adapt_rate)
    adapted.train()
    for step in range(settings.adapt_steps):
        views, labels = draws.labelled(source, settings.batch)
        target_views, target_labels = draws.labelled(labelled, settings.batch)
        features, target_features = adapted(views, Domain.SOURCE), adapted(target_views, Domain.TARGET)
        loss = grading_loss(adapted.grade(features, Domain.SOURCE), labels)
        # The head of the target keeps to the source as well: five scans alone would be learnt by heart.
        loss = loss + grading_loss(adapted.grade(features, Domain.TARGET), labels)
        loss = loss + settings.labelled_weight * grading_loss(
            adapted.grade(target_features, Domain.TARGET), target_labels
        )
        if settings.domain_weight > 0:
            alpha = reversal_strength(step / max(1, settings.adapt_steps - 1))
            others = adapted(draws.unlabelled(unlabelled, settings.batch), Domain.TARGET)
            domain = domain_loss(adapted.tell_domain(features, alpha), 0, weights[_tiers(labels)] * _kept(labels))
            domain = domain + domain_loss(adapted.tell_domain(target_features, alpha), 1, _kept(target_labels))
            domain = domain + domain_loss(adapted.tell_domain(others, alpha), 1)
            loss = loss + settings.domain_weight * domain
        _step(loss, optimiser, schedule)
    return adapted.eval()


def domain_loss(logits: torch.Tensor, domain: int, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Cross entropy of (view, 2) domain logits against one domain (0 source, 1 target), weighted by view."""
    each = nn.functional.cross_entropy(logits, torch.full((len(logits),), domain), reduction="none")
    return each.mean() if weights is None else (each * weights).mean()


def _tiers(labels: torch.Tensor) -> torch.Tensor:
    return labels[:, 1:].clamp(min=0).amax(1)


def _kept(labels: torch.Tensor) -> torch.Tensor:
    """1 for a view of a scan with grades; an image to refuse belongs to neither sequence."""
    return (labels[:, 0] == 0).float()


class _Draws:
    """Random views of random scans."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def labelled(self, scans: Sequence[DescribedScan], count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw views and their labels."""
        drawn = [scans[i] for i in self._random.integers(0, len(scans), count)]
        return self._views(drawn), torch.tensor([labels_of(scan.grades) for scan in drawn])

    def unlabelled(self, scans: Sequence[DescribedScan], count: int) -> torch.Tensor:
        """Draw views."""
        return self._views([scans[i] for i in self._random.integers(0, len(scans), count)])

    def _views(self, scans: Sequence[DescribedScan]) -> torch.Tensor:
        return torch.from_numpy(np.stack([s.views[self._random.integers(len(s.views))] for s in scans]))


def _tier_weights(network: TwoHeadedNetwork, unlabelled: Sequence[DescribedScan]) -> torch.Tensor:
    """Weights of source scans by tier in the domain loss, so that both domains have the same mix of tiers."""
    trained = np.array(SOURCE_TIERS)
    posteriors = np.array([grade_scan(network, scan.fixed, Domain.TARGET).tiers for scan in unlabelled])
    actual = np.maximum(estimate_priors(posteriors, trained), _LEAST_TIER_SHARE)
    weights = importance(np.arange(len(trained)), trained, actual / actual.sum())
    return torch.tensor(weights, dtype=torch.float32)


def _every_view(scans: Sequence[DescribedScan]) -> torch.Tensor:
    """Stack the views of scans with grades: what is to be refused has statistics of its own."""
    kept = [scan for scan in scans if not scan.variant] or scans
    return torch.from_numpy(np.concatenate([scan.views for scan in kept]))


def _need(*groups: Sequence[DescribedScan]) -> None:
    if not all(groups):
        raise NothingToLearnFrom("each group of scans needs at least one")


def _optimiser(
    network: TwoHeadedNetwork, steps: int, rate: float
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    graders = [*network.shared.parameters(), *network.heads.parameters()]
    # The classifier has to follow the features it is shown, else they only learn to mislead a stale one.
    groups: list[dict[str, Any]] = [
        {"params": graders},
        {"params": network.domain.parameters(), "lr": _CLASSIFIER_PACE * rate},
    ]
    optimiser = torch.optim.AdamW(groups, lr=rate, weight_decay=1e-2)
    return optimiser, torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, steps))


def _step(loss: torch.Tensor, optimiser: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler) -> None:
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    schedule.step()

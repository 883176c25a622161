"""Measure what adaptation is worth: T1 to FLAIR with five and ten labelled scans, on persons in no training set.

Beside it, on the same test scans: the source network as it is, a network of the labelled target scans alone, the source
network with the target's own statistics and no label, all dense layers fine-tuned with and without the adversary of the
paper, and the same with every target scan of the training persons labelled, which is what labels can give at most.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from dicom_sr.volume import Volume
from models.image_qc.adapt_figures import SCANS_FILE, Method, Row, write_rows
from models.image_qc.adaptation import AdaptationSettings, adapt, aligned, shrunk, train_on_one
from models.image_qc.balance import balanced
from models.image_qc.convolutions import train_convolutions
from models.image_qc.described import DescribedScan, describe_pool
from models.image_qc.network import Convolutions, Domain, TwoHeadedNetwork
from models.image_qc.pool import build_pool, read_pool, write_pool
from models.image_qc.scan_grading import grade_scan

LABELLED = (5, 10)
SEEDS = 5
#: Each seed leaves two persons out; every person with a FLAIR is left out at least once.
_LEFT_OUT = (
    ("patient01", "tumour"),
    ("patient12", "patient07"),
    ("patient01", "patient07"),
    ("patient12", "tumour"),
)
_REJECT_SHARE = 3
_CONVOLUTION_STEPS = 500


def study_adaptation(data: Path, heads: Mapping[str, Volume], out: Path, *, work: Path) -> None:
    """Simulate, train and test everything, and write ``adaptation_scans.csv``: about 15 minutes of one core.

    Parameters
    ----------
    data : Path
        Folder of all data sets.
    heads : mapping of str to Volume
        Heads read from DICOM, by `real_scans.DicomHead.name`.
    out : Path
        Folder that gets the table.
    work : Path
        Folder that keeps the simulated scans for another run.
    """
    stored = work / "pool.npz"
    if not stored.is_file():
        write_pool(build_pool(data, heads), stored)
    pool = read_pool(stored)
    tested = {person for persons in _LEFT_OUT for person in persons}
    never_tested = [scan for scan in pool if scan.domain is Domain.SOURCE and scan.person not in tested]
    convolutions = train_convolutions(never_tested, steps=_CONVOLUTION_STEPS, seed=0)
    described = describe_pool(convolutions, pool)
    rows = [row for seed in range(SEEDS) for row in compare(convolutions, described, AdaptationSettings(), seed)]
    write_rows(rows, out / SCANS_FILE)


def compare(
    convolutions: Convolutions, pool: Sequence[DescribedScan], settings: AdaptationSettings, seed: int
) -> Iterator[Row]:
    """Train and test every method for one seed; yields a row for each test scan of each."""
    test = [scan for scan in pool if scan.person in _LEFT_OUT[seed % len(_LEFT_OUT)]]
    train = [scan for scan in pool if scan.person not in _LEFT_OUT[seed % len(_LEFT_OUT)]]
    source = [scan for scan in train if scan.domain is Domain.SOURCE]
    target = [scan for scan in train if scan.domain is Domain.TARGET and not scan.variant]
    seeded = replace(settings, seed=seed)
    base = train_on_one(convolutions, source, Domain.SOURCE, seeded)
    for count in LABELLED:
        labelled = [*choose_labelled(target, count, seed), *_free_rejects(train, count, seed)]
        for method, network in _networks(base, source, labelled, target, seeded):
            head = Domain.SOURCE if method is Method.SOURCE_ONLY else Domain.TARGET
            told = domain_accuracy(network, [*(s for s in source if not s.variant), *target], seed)
            for scan in test:
                yield _row(network, scan, told=told, head=head, seed=seed, labelled=count, method=method)


def choose_labelled(target: Sequence[DescribedScan], count: int, seed: int) -> list[DescribedScan]:
    """Choose scans to label at random, among them one at least of each tier."""
    random = np.random.default_rng([seed, count])
    order = [target[i] for i in random.permutation(len(target))]
    chosen = [next(scan for scan in order if scan.grades.tier == tier) for tier in (1, 2, 3)]
    return [*chosen, *(scan for scan in order if not any(scan is one for one in chosen))][:count]


def domain_accuracy(network: TwoHeadedNetwork, scans: Sequence[DescribedScan], seed: int) -> float:
    """Balanced accuracy of telling the domain of scans from the network's shared features, on every third of `scans`.

    The adversary of training may be beaten and the features still tell the domain: only a classifier (here a ridge
    regression, both domains weighing alike) that comes later and is judged on other scans says whether they do.
    """
    features = np.array([_features(network, scan) for scan in scans])
    target = np.array([scan.domain is Domain.TARGET for scan in scans])
    held = np.random.default_rng(seed).permutation(len(scans)) % 3 == 0
    mean, scale = features[~held].mean(0), features[~held].std(0) + 1e-6
    x = np.c_[np.ones(len(features)), (features - mean) / scale]
    weight = np.where(target, 1 / target.sum(), 1 / (~target).sum())[~held]
    fitted = x[~held]
    ridge = fitted.T @ (fitted * weight[:, None]) + 0.01 * np.eye(x.shape[1])
    beta = np.linalg.solve(ridge, fitted.T @ (weight * np.where(target[~held], 1.0, -1.0)))
    return balanced((x[held] @ beta > 0).tolist(), target[held].tolist())


def _networks(
    base: TwoHeadedNetwork,
    source: Sequence[DescribedScan],
    labelled: Sequence[DescribedScan],
    unlabelled: Sequence[DescribedScan],
    settings: AdaptationSettings,
) -> Iterator[tuple[Method, TwoHeadedNetwork]]:
    yield Method.SOURCE_ONLY, base
    alone = replace(settings, source_steps=settings.adapt_steps)
    yield Method.TARGET_ONLY, train_on_one(base.convolutions, labelled, Domain.TARGET, alone)
    yield Method.ALIGNED, aligned(base, unlabelled)
    yield Method.BOTH, adapt(base, source, labelled, unlabelled, replace(settings, domain_weight=0.0))
    yield Method.REVERSAL, adapt(base, source, labelled, unlabelled, settings)
    yield Method.ADAPTED, shrunk(base, labelled, unlabelled, settings)
    # No method with few labels can be asked for more than one that has them all.
    rejects = [scan for scan in labelled if scan.variant]
    everything = replace(settings, domain_weight=0.0, labelled_weight=1.0, adapt_steps=2 * settings.adapt_steps)
    yield Method.EVERY_LABEL, adapt(base, source, [*unlabelled, *rejects], unlabelled, everything)


def _free_rejects(train: Sequence[DescribedScan], count: int, seed: int) -> list[DescribedScan]:
    """Images of other sequences, and no images, cost no rating: one for every three labelled scans."""
    rejects = [scan for scan in train if scan.domain is Domain.TARGET and scan.variant]
    order = np.random.default_rng([seed, count, 1]).permutation(len(rejects))
    return [rejects[i] for i in order[: -(-count // _REJECT_SHARE)]]


def _row(
    network: TwoHeadedNetwork,
    scan: DescribedScan,
    *,
    told: float,
    head: Domain,
    seed: int,
    labelled: int,
    method: Method,
) -> Row:
    grade = grade_scan(network, scan.fixed, head if scan.domain is Domain.TARGET else Domain.SOURCE)
    return Row(
        seed=seed,
        labelled=labelled,
        method=method,
        scan=scan.name,
        domain=scan.domain,
        variant=scan.variant,
        true_tier=0 if scan.grades.reject else scan.grades.tier,
        tier=0 if grade.grades.reject else grade.grades.tier,
        severe=grade.tiers[2],
        domain_accuracy=told,
    )


def _features(network: TwoHeadedNetwork, scan: DescribedScan) -> npt.NDArray[np.float64]:
    network.eval()
    with torch.no_grad():
        features = network(torch.from_numpy(scan.fixed), scan.domain)
    mean: npt.NDArray[np.float64] = features.double().numpy().mean(0)
    return mean

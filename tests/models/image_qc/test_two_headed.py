"""The two-headed network: the reversal turns gradients round, every head learns, nothing depends on the batch."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from models.errors import UnusableVolume
from models.image_qc.adapt_evaluate import domain_accuracy
from models.image_qc.adaptation import (
    AdaptationSettings,
    adapt,
    aligned,
    domain_loss,
    reversal_strength,
    shrunk,
    train_on_one,
)
from models.image_qc.convolutions import describe, train_convolutions
from models.image_qc.described import DescribedScan
from models.image_qc.grading_loss import NothingToLearnFrom, grading_loss, labels_of
from models.image_qc.network import DESCRIPTION, Convolutions, Domain, TwoHeadedNetwork, reverse_gradient
from models.image_qc.pool import PooledScan
from models.image_qc.scan_grading import grade_scan
from models.image_qc.simulation import Grades
from models.image_qc.views import VIEW_SHAPE

QUICK = AdaptationSettings(source_steps=120, batch=16, seed=1)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def scan(domain: Domain, tier: int, seed: int, *, shift: float = 0.0) -> DescribedScan:
    """Make a scan whose noise shows in ten numbers, and whose sequence shows in ten others."""
    random = np.random.default_rng([seed, tier, list(Domain).index(domain)])
    views = random.normal(0.0, 0.4, (6, DESCRIPTION)).astype(np.float32)
    views[:, :10] += 1.5 * (tier - 1)
    views[:, 10:20] += shift
    grades = Grades(noise=tier - 1)
    return DescribedScan(
        person=f"p{seed}", name=f"s{seed}", domain=domain, grades=grades, variant="", views=views, fixed=views
    )


def scans(domain: Domain, count: int, *, shift: float = 0.0, first: int = 0) -> list[DescribedScan]:
    """Make scans of all tiers in turn."""
    return [scan(domain, 1 + i % 3, first + i, shift=shift) for i in range(count)]


def network() -> TwoHeadedNetwork:
    """Make an untrained network that is always the same."""
    torch.manual_seed(0)
    return TwoHeadedNetwork(Convolutions())


def test_the_reversal_passes_values_and_turns_gradients_round() -> None:
    features = torch.tensor([1.0, -2.0], requires_grad=True)
    passed = reverse_gradient(features, 0.5)
    assert torch.equal(passed, features)
    passed.sum().backward()
    assert torch.equal(features.grad, torch.tensor([-0.5, -0.5]))


def test_the_reversal_grows_from_nothing_to_almost_one() -> None:
    strengths = [reversal_strength(p) for p in np.linspace(0, 1, 11)]
    assert strengths == sorted(strengths)
    assert strengths[0] == 0.0
    assert 0.999 < strengths[-1] < 1.0


def test_the_classifier_learns_the_domain_and_the_shared_layers_unlearn_it() -> None:
    one = network().eval()
    views = torch.randn(16, DESCRIPTION)
    gradients = {}
    for alpha in (1.0, -1.0):
        one.zero_grad()
        domain_loss(one.tell_domain(one(views, Domain.TARGET), alpha), 1).backward()
        gradients[alpha] = (one.shared[1].weight.grad.clone(), one.domain[1].weight.grad.clone())
    assert torch.allclose(gradients[1.0][0], -gradients[-1.0][0])
    assert torch.allclose(gradients[1.0][1], gradients[-1.0][1])
    assert gradients[1.0][0].abs().sum() > 0


def test_every_head_and_the_shared_layers_get_a_gradient_and_the_convolutions_none() -> None:
    one = network()
    features = one(torch.randn(9, DESCRIPTION), Domain.SOURCE)
    labels = torch.tensor([labels_of(Grades(motion=i % 3, noise=(i + 1) % 3, contrast=2 - i % 3)) for i in range(9)])
    loss = sum(grading_loss(one.grade(features, domain), labels) for domain in Domain)
    (loss + domain_loss(one.tell_domain(features, 1.0), 0)).backward()
    for name, parameter in one.named_parameters():
        if name.startswith("convolutions."):
            assert parameter.grad is None
        else:
            assert parameter.grad.abs().sum() > 0, name


def test_a_scan_to_refuse_teaches_nothing_about_grades() -> None:
    logits = torch.zeros(2, 11, requires_grad=True)
    grading_loss(logits, torch.tensor([labels_of(Grades(reject=True)), labels_of(Grades(reject=True))])).backward()
    assert logits.grad[:, :2].abs().sum() > 0
    assert logits.grad[:, 2:].abs().sum() == 0


def test_the_source_head_learns_its_task_and_hands_it_to_the_other() -> None:
    trained = train_on_one(Convolutions(), scans(Domain.SOURCE, 60), Domain.SOURCE, QUICK)
    unseen = scans(Domain.SOURCE, 12, first=100)
    for head in Domain:
        said = [grade_scan(trained, one.fixed, head).grades.tier for one in unseen]
        assert np.mean([tier == one.grades.tier for tier, one in zip(said, unseen, strict=True)]) > 0.9


def test_adaptation_hides_the_domain_while_the_task_holds_and_lambda_zero_hides_less() -> None:
    source = scans(Domain.SOURCE, 60)
    target = scans(Domain.TARGET, 60, shift=1.0)
    base = train_on_one(Convolutions(), source, Domain.SOURCE, QUICK)
    told = {"base": domain_accuracy(base, [*source, *target], 0)}
    for weight in (0.0, 3.0):
        settings = AdaptationSettings(adapt_steps=200, adapt_rate=2e-3, batch=16, domain_weight=weight, seed=1)
        adapted = adapt(base, source, target[:5], target, settings)
        unseen = scans(Domain.TARGET, 30, shift=1.0, first=200)
        right = [grade_scan(adapted, one.fixed, Domain.TARGET).grades.tier == one.grades.tier for one in unseen]
        assert np.mean(right) > 0.9
        told[str(weight)] = domain_accuracy(adapted, [*source, *target], 0)
    assert told["base"] > 0.9
    assert told["3.0"] < 0.7
    assert told["3.0"] < told["0.0"]


def test_alignment_takes_the_statistics_of_the_target_and_changes_no_weight() -> None:
    source, target = scans(Domain.SOURCE, 12), scans(Domain.TARGET, 12, shift=1.0)
    base = train_on_one(Convolutions(), source, Domain.SOURCE, AdaptationSettings(source_steps=3, batch=8))
    moved = aligned(base, target)
    assert all(torch.equal(a, b) for a, b in zip(base.parameters(), moved.parameters(), strict=True))
    assert torch.allclose((moved.mean - base.mean)[1, 10:20], torch.ones(10), atol=0.3)
    assert torch.equal(moved.mean[0], base.mean[0])


def test_offsets_follow_the_grades_and_shrink_where_little_speaks_for_them() -> None:
    source, target = scans(Domain.SOURCE, 60), scans(Domain.TARGET, 24)
    base = train_on_one(Convolutions(), source, Domain.SOURCE, QUICK)
    clean = [dataclasses.replace(one, grades=Grades()) for one in target[:6]]
    moved = {}
    for penalty in (0.1, 1e6):
        settings = dataclasses.replace(QUICK, offset_penalty=penalty, statistics_share=0.0)
        adapted = shrunk(base, clean, target, settings)
        moved[penalty] = (adapted.heads["FLAIR"].bias - base.heads["FLAIR"].bias).detach().numpy()
        assert torch.equal(adapted.heads["FLAIR"].weight, base.heads["FLAIR"].weight)
        assert torch.equal(adapted.heads["T1"].bias, base.heads["T1"].bias)
    assert np.allclose(moved[1e6], 0.0, atol=1e-3)
    # Raters who call every scan clean make grades 1 and 2 rarer, alike for every artefact; reject stays.
    assert np.allclose(moved[0.1][2:].reshape(3, 3), moved[0.1][2:5])
    assert (moved[0.1][3:5] < -0.1).all()
    assert np.allclose(moved[0.1][:3], 0.0)


def test_statistics_go_as_far_as_they_are_told() -> None:
    source, target = scans(Domain.SOURCE, 12), scans(Domain.TARGET, 12, shift=1.0)
    base = train_on_one(Convolutions(), source, Domain.SOURCE, AdaptationSettings(source_steps=3, batch=8))
    none, half, whole = (aligned(base, target, share=share) for share in (0.0, 0.5, 1.0))
    assert torch.allclose(none.mean[1], base.mean[0])
    assert torch.allclose(half.mean[1], (none.mean[1] + whole.mean[1]) / 2, atol=1e-6)
    assert torch.allclose(half.scale[1], (none.scale[1] + whole.scale[1]) / 2, atol=1e-6)


def test_adaptation_leaves_the_network_it_starts_from_as_it_was() -> None:
    source, target = scans(Domain.SOURCE, 12), scans(Domain.TARGET, 12)
    base = train_on_one(Convolutions(), source, Domain.SOURCE, AdaptationSettings(source_steps=3, batch=8))
    before = {name: value.clone() for name, value in base.state_dict().items()}
    adapt(base, source, target, target, AdaptationSettings(adapt_steps=3, batch=8))
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())


def test_the_same_seed_trains_the_same_network() -> None:
    settings = AdaptationSettings(source_steps=5, batch=8, seed=3)
    torch.manual_seed(9)
    convolutions = Convolutions()
    first, second = (train_on_one(convolutions, scans(Domain.SOURCE, 9), Domain.SOURCE, settings) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_an_answer_does_not_depend_on_what_else_is_in_the_batch() -> None:
    torch.manual_seed(0)
    convolutions = Convolutions()
    views = np.random.default_rng(0).uniform(0, 1.5, (5, *VIEW_SHAPE)).astype(np.float32)
    together = describe(convolutions, views)
    alone = np.concatenate([describe(convolutions, views[i : i + 1]) for i in range(5)])
    assert together.shape == (5, DESCRIPTION)
    assert np.allclose(together, alone, atol=1e-5)


def test_convolutions_train_on_views_and_flat_views_stay_finite() -> None:
    random = np.random.default_rng(0)
    pooled = [
        PooledScan(
            person="p", name="s", domain=Domain.SOURCE, grades=Grades(noise=noise), variant="",
            views=np.abs(0.5 + noise * random.normal(0, 0.2, (3, *VIEW_SHAPE))).astype(np.float16),
            fixed=np.full((1, *VIEW_SHAPE), 0.5, np.float16),
        )
        for noise in (0, 2)
    ]  # fmt: skip
    convolutions = train_convolutions(pooled, steps=2, seed=0)
    assert np.isfinite(describe(convolutions, pooled[0].fixed)).all()


@pytest.mark.parametrize("descriptions", [np.zeros((0, DESCRIPTION)), np.full((1, DESCRIPTION), np.nan), np.zeros(9)])
def test_a_scan_without_views_or_with_voxels_that_are_not_finite_is_named(descriptions: np.ndarray) -> None:
    with pytest.raises(UnusableVolume):
        grade_scan(network(), descriptions.astype(np.float32), Domain.SOURCE)


def test_nothing_to_learn_from_is_named() -> None:
    some = scans(Domain.SOURCE, 3)
    with pytest.raises(NothingToLearnFrom):
        train_on_one(Convolutions(), [], Domain.SOURCE, QUICK)
    with pytest.raises(NothingToLearnFrom):
        adapt(network(), some, [], some, QUICK)
    with pytest.raises(NothingToLearnFrom):
        shrunk(network(), [dataclasses.replace(some[0], grades=Grades(reject=True))], some, QUICK)
    with pytest.raises(NothingToLearnFrom):
        train_convolutions([], steps=1, seed=0)


def test_tier_probabilities_add_up_to_one() -> None:
    grade = grade_scan(
        network(), np.random.default_rng(0).normal(size=(4, DESCRIPTION)).astype(np.float32), Domain.TARGET
    )
    assert sum(grade.tiers) == pytest.approx(1.0)
    assert grade.views == 4

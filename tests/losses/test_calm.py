"""CALM's objectives against the released code's numbers and the inequalities behind them."""

import numpy as np
import pytest
import torch

from learned_saliency.losses import (
    CALMLoss,
    expectation_maximization,
    location_posterior,
    marginal_likelihood,
)
from learned_saliency.models import cue_distribution
from tests.support.paths import GOLDEN as FOLDER

GOLDEN = FOLDER / "calm.npz"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def random_joint(seed, shape=(4, 6, 3, 5), scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    b, c, h, w = shape
    scores = scale * torch.randn(b, c, h, w, generator=generator, dtype=torch.float64)
    places = scale * torch.randn(b, 1, h, w, generator=generator, dtype=torch.float64)
    labels = torch.randint(c, (b,), generator=generator)
    return scores.requires_grad_(), places.requires_grad_(), labels


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("normalization", ["exact", "detached"])
@pytest.mark.parametrize("head", ["relu", "softplus"])
@pytest.mark.parametrize("objective", ["ml", "em"])
def test_losses_and_gradients_equal_the_released_codes(
    golden, objective, head, normalization, dtype
):
    scores, places = (golden[name].to(dtype).clone().requires_grad_() for name in ("f", "a"))
    found = cue_distribution(scores, places, head, normalization)
    loss = CALMLoss(objective)(found.log_joint, golden["labels"])
    loss.backward()
    name = f"{head}_{objective}"
    kind = "full" if normalization == "exact" else "official"
    expected = {
        "loss": (loss.detach(), golden[f"{name}_loss"]),
        "class scores": (scores.grad, golden[f"{name}_grad_f"]),
        "location scores": (places.grad, golden[f"{name}_grad_a_{kind}"]),
    }
    for what, (ours, theirs) in expected.items():
        # EM: the released posterior has 1e-10 in its denominator, 2e-9 of p(y|x) at the least.
        exact = {"rtol": 1e-8, "atol": 1e-10} if objective == "em" else {"rtol": 0, "atol": 1e-10}
        tolerance = exact if dtype == torch.float64 else {"rtol": 1e-5, "atol": 1e-6}
        torch.testing.assert_close(ours, theirs.to(dtype), **tolerance, msg=what)


@pytest.mark.parametrize("seed", range(20))
def test_em_bounds_ml_from_above_with_the_same_gradient_at_the_current_parameters(seed):
    scores, places, labels = random_joint(seed, scale=float(1 + seed % 4))
    log_joint = cue_distribution(scores, places).log_joint
    target = location_posterior(log_joint, labels)
    ml = marginal_likelihood(log_joint, labels)
    em = expectation_maximization(log_joint, labels, target)
    entropy = -(target * target.clamp_min(1e-300).log()).sum(dim=(1, 2)).mean()
    assert em >= ml
    torch.testing.assert_close(em, ml + entropy)
    leaves = (scores, places)
    ours = torch.autograd.grad(em, leaves, retain_graph=True)
    theirs = torch.autograd.grad(ml, leaves)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_em_bounds_ml_for_every_other_pseudo_target(seed):
    scores, places, labels = random_joint(seed)
    log_joint = cue_distribution(scores, places).log_joint.detach()
    other = random_joint(seed + 100)
    target = location_posterior(cue_distribution(*other[:2]).log_joint, labels)
    em = expectation_maximization(log_joint, labels, target)
    assert em >= marginal_likelihood(log_joint, labels)
    assert CALMLoss("em")(log_joint, labels, cue_distribution(*other[:2]).log_joint) == em


def test_no_gradient_passes_the_pseudo_target():
    scores, places, labels = random_joint(0)
    log_joint = cue_distribution(scores, places).log_joint
    target = log_joint.detach()[torch.arange(4), labels].flatten(1).softmax(1).view(4, 3, 5)
    target.requires_grad_()
    expectation_maximization(log_joint, labels, target).backward()
    assert target.grad is None
    assert not location_posterior(log_joint, labels).requires_grad


@pytest.mark.parametrize("objective", ["ml", "em"])
def test_gradients_are_the_derivatives(objective):
    scores, places, labels = random_joint(3, (2, 3, 2, 2))
    fixed = cue_distribution(scores, places).log_joint.detach()  # EM's target is held

    def loss(*leaves):
        return CALMLoss(objective)(cue_distribution(*leaves).log_joint, labels, fixed)

    assert torch.autograd.gradcheck(loss, (scores, places))


@pytest.mark.parametrize("objective", ["ml", "em"])
@pytest.mark.parametrize("head", ["relu", "softplus"])
@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_scores_one_cell_and_half_precision_give_finite_losses(
    objective, head, scale, size, dtype
):
    scores, places, labels = random_joint(5, (3, 4, size, size), scale)
    scores, places = (leaf.detach().to(dtype).requires_grad_() for leaf in (scores, places))
    loss = CALMLoss(objective)(cue_distribution(scores, places, head).log_joint, labels)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(scores.grad).all()
    assert torch.isfinite(places.grad).all()


def test_the_loss_is_the_mean_over_images():
    scores, places, labels = random_joint(1)
    log_joint = cue_distribution(scores, places).log_joint.detach()
    for objective in ("ml", "em"):
        loss = CALMLoss(objective)
        singles = [loss(log_joint[i : i + 1], labels[i : i + 1]) for i in range(len(labels))]
        torch.testing.assert_close(loss(log_joint, labels), torch.stack(singles).mean())


def test_wrong_arguments_are_refused():
    scores, places, labels = random_joint(0)
    log_joint = cue_distribution(scores, places).log_joint
    with pytest.raises(ValueError, match="objective must be one of"):
        CALMLoss("map")
    with pytest.raises(TypeError, match="labels must be integers"):
        marginal_likelihood(log_joint, labels.double())
    with pytest.raises(TypeError, match="log_joint must be floating point"):
        marginal_likelihood(log_joint.long(), labels)
    with pytest.raises(ValueError, match="expected log_joint"):
        location_posterior(log_joint[0], labels)
    with pytest.raises(ValueError, match="pseudo_target must be"):
        expectation_maximization(log_joint, labels, torch.ones(4, 3, 3))

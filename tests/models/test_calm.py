"""CALM's distribution against the released code's numbers, its axioms, and extreme numbers."""

import numpy as np
import pytest
import torch
from torch import nn

from learned_saliency.models import CALM, CAMClassifier, cue_distribution
from tests.support.paths import GOLDEN as FOLDER

GOLDEN = FOLDER / "calm.npz"
HEADS = ("relu", "softplus")


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


class Features(nn.Module):
    """A backbone that gives the images themselves."""

    channels = (3,)

    def __init__(self):
        super().__init__()
        self.network = nn.Identity()

    def forward(self, images):
        return [self.network(images)]


@pytest.fixture
def network():
    torch.manual_seed(0)
    return CALM(CAMClassifier(Features(), 5)).double()


@pytest.fixture
def features():
    return torch.randn(4, 3, 6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture
def labels():
    return torch.tensor([0, 3, 4, 3])


@pytest.mark.parametrize("head", HEADS)
def test_maps_and_probabilities_equal_the_released_codes(golden, head):
    found = cue_distribution(golden["f"].double(), golden["a"].double(), head)
    labels, counter, groups = golden["labels"], golden["counter"], golden["superclass"]
    members = groups == groups[labels][:, None]
    maps = {
        "saliency": found.saliency(),
        "gtcond": found.posterior(labels),
        "jointll": found.joint(labels),
        "jointll_superclass": found.subset(members),
        "counterfactual": found.counterfactual(labels, counter),
        "p_y": found.log_probs().exp(),
    }
    for name, value in maps.items():
        expected = golden[f"{head}_{name}"]
        # The accumulator behind the superclass is float32; gtcond has 1e-10 in its denominator.
        atol = 1e-6 if expected.dtype == torch.float32 else 1e-8 if name == "gtcond" else 1e-10
        torch.testing.assert_close(value, expected.double(), rtol=0, atol=atol, msg=name)


def test_attributions_to_several_sets_are_those_to_each(network, features):
    found = network.distribution(features)
    sets = torch.tensor([[1, 0, 0, 1, 0], [0, 1, 1, 1, 1], [0, 0, 0, 0, 1]], dtype=torch.bool)
    each = torch.stack([found.subset(row.expand(4, 5)) for row in sets], 1)
    torch.testing.assert_close(found.subsets(sets), each)


def test_the_attribution_of_a_class_sums_to_its_probability(network, features, labels):
    found = network.distribution(features)
    probs = network.head(features).exp()
    expected = probs.gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(found.joint(labels).sum(dim=(1, 2)), expected)
    torch.testing.assert_close(probs.sum(1), torch.ones(4, dtype=torch.float64))


def test_the_attributions_of_all_classes_sum_to_the_saliency(network, features, labels):
    found = network.distribution(features)
    torch.testing.assert_close(network.cams(features).sum(1), found.saliency())
    torch.testing.assert_close(found.subset(torch.ones(4, 5, dtype=torch.bool)), found.saliency())
    torch.testing.assert_close(network.cams(features, labels), found.joint(labels))
    alone = nn.functional.one_hot(labels, 5).bool()
    torch.testing.assert_close(found.subset(alone), found.joint(labels))


def test_a_constant_added_to_all_class_scores_changes_nothing(network, features, labels):
    before = network.cams(features)
    with torch.no_grad():
        network.class_branch.bias += 7.5
    torch.testing.assert_close(network.cams(features), before)


def test_conditional_times_saliency_is_the_joint_and_the_posterior_follows_bayes(
    network, features, labels
):
    found = network.distribution(features)
    joint = found.joint(labels)
    torch.testing.assert_close(found.conditional(labels) * found.saliency(), joint)
    softmax = network.class_branch(features).softmax(1)  # g, straight from its definition
    torch.testing.assert_close(found.conditional(labels), softmax[torch.arange(4), labels])
    active = nn.functional.softplus(network.location_branch(features))[:, 0]
    torch.testing.assert_close(found.saliency(), active / active.sum(dim=(1, 2), keepdim=True))
    torch.testing.assert_close(found.posterior(labels), joint / joint.sum(dim=(1, 2), keepdim=True))


def test_softmax_of_the_logits_is_the_probability(network, features):
    logits = network.head(features)
    torch.testing.assert_close(logits.softmax(1), logits.exp())
    torch.testing.assert_close(network(features), logits)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("normalization", ["exact", "detached"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_extreme_scores_one_cell_and_half_precision_stay_finite(
    head, normalization, dtype, size, scale
):
    generator = torch.Generator().manual_seed(2)
    scores, places = (
        (scale * torch.randn(3, c, size, size, generator=generator)).to(dtype).requires_grad_()
        for c in (4, 1)
    )
    found = cue_distribution(scores, places, head, normalization)
    assert found.log_joint.dtype == torch.float32
    loss = -found.log_probs()[:, 1].mean() - found.log_joint[:, 2].mean()
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(found.log_joint).all()
    for leaf in (scores, places):
        assert torch.isfinite(leaf.grad).all()
    total = found.log_joint.exp().sum(dim=(1, 2, 3))
    torch.testing.assert_close(total, torch.ones(3), rtol=0, atol=1e-5)


def test_softplus_in_log_space_equals_the_plain_one_and_its_gradient():
    places = torch.linspace(-30, 30, 25, dtype=torch.float64).view(1, 1, 5, 5).requires_grad_()
    flat = torch.zeros(1, 1, 5, 5, dtype=torch.float64)
    found = cue_distribution(flat, places).log_joint
    active = torch.log1p(places.exp())
    plain = (active / active.sum()).log()
    torch.testing.assert_close(found, plain, rtol=1e-10, atol=0)  # linear above 20 in PyTorch
    weights = torch.rand(25, dtype=torch.float64).view_as(plain)
    ours, theirs = (torch.autograd.grad((x * weights).sum(), places)[0] for x in (found, plain))
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)


def test_locations_that_are_all_rectified_away_become_uniform():
    found = cue_distribution(torch.zeros(1, 2, 3, 3), -torch.ones(1, 1, 3, 3), "relu")
    torch.testing.assert_close(found.saliency(), torch.full((1, 3, 3), 1 / 9))


def test_maps_are_exact_under_autocast(features, labels):
    torch.manual_seed(0)
    network, features = CALM(CAMClassifier(Features(), 5)), features.float()
    members = torch.rand(4, 5, generator=torch.Generator().manual_seed(0)) < 0.5
    with torch.autocast("cpu", torch.bfloat16):
        found = network.distribution(features)
        maps = found.subset(members), found.joint(labels), found.saliency()
    joint = found.log_joint.double().exp()
    wanted = (joint * members[..., None, None]).sum(1), joint[torch.arange(4), labels], joint.sum(1)
    for ours, theirs in zip(maps, wanted, strict=True):
        torch.testing.assert_close(ours, theirs.float())


def test_gradients_of_half_precision_reach_both_branches(features):
    torch.manual_seed(0)
    network = CALM(CAMClassifier(Features(), 5)).bfloat16()
    network.head(features.bfloat16())[:, 0].sum().backward()
    for parameter in network.parameters():
        assert torch.isfinite(parameter.grad).all()
        assert parameter.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"activation": "tanh"}, "activation must be"),
        ({"normalization": "softmax"}, "normalization must be"),
    ],
)
def test_unknown_options_are_refused(options, told):
    with pytest.raises(ValueError, match=told):
        CALM(CAMClassifier(Features(), 2), **options)


def test_the_classifiers_backbone_is_taken_over_and_its_head_left_behind():
    classifier = CAMClassifier(Features(), 2)
    network = CALM(classifier)
    assert network.backbone is classifier.backbone
    assert not {id(p) for p in classifier.fc.parameters()} & {id(p) for p in network.parameters()}


def test_wrong_shapes_and_types_are_refused(network, features, labels):
    with pytest.raises(ValueError, match=r"features must have shape \(B, 3, h, w\)"):
        network.head(features[:, :2])
    found = network.distribution(features)
    with pytest.raises(ValueError, match="labels must have shape"):
        found.joint(labels[:2])
    with pytest.raises(TypeError, match="labels must be integers"):
        found.posterior(labels.double())
    with pytest.raises(TypeError, match="members must be booleans"):
        found.subset(torch.ones(4, 5))
    with pytest.raises(ValueError, match="members must be"):
        found.subset(torch.ones(4, 4, dtype=torch.bool))

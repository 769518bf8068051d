import math
from itertools import combinations, permutations

import pytest
import torch
from torch import nn

from learned_saliency.attribution import SHAPCAM

HEADS = ["linear", "mlp", "flat"]


class Recording(nn.Module):
    """Counts the rows that its head gets."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.rows, self.bodies = inner, [], 0

    def features(self, images):
        self.bodies += 1
        return self.inner.features(images)

    def head(self, features):
        self.rows.append(len(features))
        return self.inner.head(features)

    def forward(self, images):
        return self.inner(images)


def five_channels(seed=0):
    """A classifier of five channels whose head multiplies them: far from additive."""

    class Products(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 5, 3)
            self.fc1, self.fc2 = nn.Linear(5, 12), nn.Linear(12, 3)

        def features(self, images):
            return self.conv(images).relu()

        def head(self, features):
            return self.fc2(self.fc1(4 * features.mean(dim=(2, 3))).square())

        def forward(self, images):
            return self.head(self.features(images))

    torch.manual_seed(seed)
    return Products().double(), torch.rand(2, 3, 8, 8, dtype=torch.float64)


def by_algorithm(classifier, images, targets, orders):
    """Algorithm 1 as it stands in the paper, one image, ordering and channel at a time."""
    features = classifier.features(images).detach()
    alpha = torch.zeros(features.shape[:2], dtype=features.dtype)
    for i in range(len(images)):
        for order in orders.tolist():
            present = torch.zeros_like(features[i : i + 1])
            before = classifier.head(present)[0, targets[i]]
            for k in order:
                present[:, k] = features[i, k]
                after = classifier.head(present)[0, targets[i]]
                alpha[i, k] += (after - before).detach()
                before = after
    return alpha / len(orders)


@pytest.mark.parametrize("head", HEADS)
def test_given_orders_give_the_golden_coefficients(tiny_cnn, liftcam_golden, head):
    method = SHAPCAM(orders=liftcam_golden["orders"])
    images, targets = liftcam_golden["images"].double(), liftcam_golden[f"{head}_targets"]
    found = method.coefficients(tiny_cnn(head), images, targets)
    torch.testing.assert_close(found, liftcam_golden[f"{head}_shapcam10"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 1000])
def test_any_batch_size_gives_the_papers_algorithm(batch_size):
    classifier, images = five_channels()
    generator = torch.Generator().manual_seed(9)
    orders = torch.rand(4, 5, generator=generator).argsort(dim=1)
    targets = torch.tensor([2, 0])
    method = SHAPCAM(orders=orders, batch_size=batch_size)
    expected = by_algorithm(classifier, images, targets, orders)
    found = method.coefficients(classifier, images, targets)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def enumerated(classifier, image, target):
    """Eq. 6 by all subsets of five channels."""
    features = classifier.features(image).detach()

    def value(subset):
        present = torch.zeros_like(features)
        present[:, list(subset)] = features[:, list(subset)]
        return classifier.head(present)[0, target].item()

    values = []
    for k in range(5):
        others = [j for j in range(5) if j != k]
        values.append(
            sum(
                (value((*subset, k)) - value(subset)) / (5 * math.comb(4, size))
                for size in range(5)
                for subset in combinations(others, size)
            )
        )
    return torch.tensor(values, dtype=torch.float64)


def test_all_orders_give_the_enumerated_shapley_values():
    classifier, images = five_channels()
    targets = torch.tensor([1, 2])
    method = SHAPCAM(orders=torch.tensor(list(permutations(range(5)))))
    found = method.coefficients(classifier, images, targets)
    for i in range(2):
        expected = enumerated(classifier, images[i : i + 1], targets[i])
        torch.testing.assert_close(found[i], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("head", ["mlp", "flat"])
def test_more_orderings_come_closer_to_the_enumerated_values(tiny_cnn, liftcam_golden, head):
    images, targets = liftcam_golden["images"].double(), liftcam_golden[f"{head}_targets"]
    expected = liftcam_golden[f"{head}_shap"]

    def error(orderings, seed):
        method = SHAPCAM(orderings=orderings, seed=seed)
        found = method.coefficients(tiny_cnn(head), images, targets)
        return (found - expected).square().mean().item()

    few = sum(error(4, seed) for seed in range(4)) / 4
    many = sum(error(100, seed) for seed in range(2)) / 2
    # The variance falls as 1 / |Pi|; a factor of 4 is left to chance.
    assert many < few / 6


def test_an_affine_head_needs_no_ordering(tiny_cnn, liftcam_golden):
    recording = Recording(tiny_cnn("linear"))
    images, targets = liftcam_golden["images"].double(), liftcam_golden["linear_targets"]
    found = SHAPCAM(orderings=1).coefficients(recording, images, targets)
    torch.testing.assert_close(found, liftcam_golden["linear_shap"], rtol=0, atol=1e-9)
    assert recording.rows == [6]


@pytest.mark.parametrize("head", HEADS)
def test_coefficients_sum_to_the_change_of_the_logit(tiny_cnn, liftcam_golden, head):
    images, targets = liftcam_golden["images"].double(), liftcam_golden[f"{head}_targets"]
    found = SHAPCAM(orderings=3).coefficients(tiny_cnn(head), images, targets).sum(dim=1)
    expected = liftcam_golden[f"{head}_f_full"] - liftcam_golden[f"{head}_f_zero"]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_only_the_head_runs_and_never_on_more_rows_than_allowed(tiny_cnn, images):
    recording = Recording(tiny_cnn("flat"))
    calls = []
    method = SHAPCAM(orderings=6, batch_size=16, progress=lambda *call: calls.append(call))
    method(recording, images)
    assert recording.bodies == 1
    assert max(recording.rows) <= 16
    # The logits, the zeros, and K - 1 = 7 subsets for each image and ordering.
    assert sum(recording.rows) == 4 + 4 + 4 * 6 * 7
    assert calls == [(1, 2), (2, 2)]


def test_map_does_not_depend_on_batch_mates_or_earlier_calls(tiny_cnn, images):
    classifier, method = tiny_cnn("flat"), SHAPCAM(orderings=3, batch_size=11)
    together = method(classifier, images)
    for i in range(4):
        alone = method(classifier, images[i : i + 1])
        torch.testing.assert_close(alone[0], together[i], rtol=0, atol=1e-10)


def test_seed_chooses_the_orderings_and_leaves_the_global_generator_alone(tiny_cnn, images):
    classifier = tiny_cnn("flat")
    state = torch.random.get_rng_state()
    first, again, other = (
        SHAPCAM(orderings=2, seed=seed).coefficients(classifier, images) for seed in (1, 1, 2)
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first, again)
    assert (first - other).abs().max() > 1e-3


def test_classifier_is_left_as_found(tiny_cnn, images):
    classifier = tiny_cnn("flat").train()
    SHAPCAM(orderings=2)(classifier, images)
    assert classifier.training
    assert all(weight.requires_grad and weight.grad is None for weight in classifier.parameters())


def test_a_single_channel_gets_everything(images):
    torch.manual_seed(0)
    classifier, _ = five_channels()
    classifier.conv, classifier.fc1 = nn.Conv2d(3, 1, 3).double(), nn.Linear(1, 12).double()
    found = SHAPCAM(orderings=2).coefficients(classifier, images, torch.zeros(4).long())
    features = classifier.features(images)
    change = classifier.head(features) - classifier.head(torch.zeros_like(features))
    torch.testing.assert_close(found, change[:, :1].detach())


@pytest.mark.parametrize(
    "options",
    [
        {"orderings": 0},
        {"batch_size": 0},
        {"orders": torch.tensor([[0, 1, 1]])},
        {"orders": torch.arange(3)},
        {"orders": torch.arange(3.0)[None]},
        {"orders": torch.empty(0, 3, dtype=torch.int64)},
    ],
)
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        SHAPCAM(**options)


def test_orders_of_another_number_of_channels_are_refused(tiny_cnn, images):
    with pytest.raises(ValueError, match="channels"):
        SHAPCAM(orders=torch.arange(5)[None])(tiny_cnn("flat"), images)

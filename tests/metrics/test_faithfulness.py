import numpy as np
import pytest
import torch
from torch import nn

from learned_saliency import metrics
from learned_saliency.metrics import (
    AverageDrop,
    AverageDropInDeletion,
    AverageGain,
    AverageIncrease,
    masked_probabilities,
)
from tests.support.paths import GOLDEN

CASES = {
    AverageDrop: ("average_drop", "o"),
    AverageIncrease: ("average_increase", "o"),
    AverageGain: ("average_gain", "o"),
    AverageDropInDeletion: ("average_drop_deletion", "d"),
}
TERMS = {"drop": "o", "gain": "o", "drop_in_deletion": "d"}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "faithfulness.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.mark.parametrize("metric", CASES)
def test_value_is_the_golden_one_however_the_images_arrive(golden, check_metric, metric):
    name, second = CASES[metric]
    samples = list(zip(golden["p"], golden[second], strict=True))

    def collate(chosen):
        return torch.stack([s[0] for s in chosen]), torch.stack([s[1] for s in chosen])

    check_metric(metric, samples, collate, golden[name] / 100, rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", TERMS)
def test_terms_of_each_image_are_the_golden_ones(golden, name):
    found = getattr(metrics, name)(golden["p"], golden[TERMS[name]])
    key = {"drop_in_deletion": "drop_deletion"}.get(name, name)
    torch.testing.assert_close(found, golden[key] / 100, rtol=0, atol=1e-11)


def test_a_tie_is_no_increase():
    found = metrics.increase(torch.tensor([0.5, 0.5, 0.5]), torch.tensor([0.5, 0.6, 0.4]))
    assert found.tolist() == [0.0, 1.0, 0.0]


def test_probabilities_of_exactly_zero_and_one_give_no_nan():
    p, q = torch.tensor([0.0, 0.0, 1.0, 1.0]), torch.tensor([0.0, 0.5, 0.5, 1.0])
    assert metrics.drop(p, q).tolist() == [0.0, 0.0, 0.5, 0.0]
    assert metrics.gain(p, q).tolist() == [0.0, 0.5, 0.0, 0.0]
    assert metrics.drop_in_deletion(p, q).tolist() == [0.0, 0.0, 0.5, 0.0]
    assert metrics.increase(p, q).tolist() == [0.0, 1.0, 0.0, 0.0]


def test_drop_and_gain_swap_when_probabilities_are_complemented(golden):
    p, o = golden["p"], golden["o"]
    torch.testing.assert_close(metrics.drop(p, o), metrics.gain(1 - p, 1 - o))


def test_a_softmax_that_rounds_above_one_is_taken():
    p = torch.tensor([1 + 1e-6])
    assert metrics.drop(p, p).item() == 0


@pytest.mark.parametrize("metric", CASES)
def test_no_image_gives_nan_as_the_mean_of_nothing(metric):
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert metric().compute().isnan()


@pytest.mark.parametrize(
    ("p", "o", "error"),
    [
        (torch.tensor([1, 0]), torch.rand(2), TypeError),
        (torch.rand(2), [0.1, 0.2], TypeError),
        (torch.rand(2), torch.rand(3), ValueError),
        (torch.rand(2, 1), torch.rand(2, 1), ValueError),
        (torch.rand(2), torch.tensor([0.5, 1.1]), ValueError),
        (torch.tensor([0.5, float("nan")]), torch.rand(2), ValueError),
    ],
)
def test_what_is_no_probability_is_refused(p, o, error):
    for metric in CASES:
        with pytest.raises(error):
            metric().update(p, o)


class Pixels(nn.Module):
    """Logits that every pixel has a say in."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(3 * 6 * 5, 4).double()
        self.sizes = []

    def forward(self, images):
        self.sizes.append(len(images))
        return self.fc(images.flatten(1))


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(4)
    images = torch.randn(3, 3, 6, 5, generator=generator, dtype=torch.float64)
    saliency = torch.rand(3, 6, 5, generator=generator, dtype=torch.float64) * 0.8
    return images, saliency, torch.tensor([3, 0, 2])


def test_masked_probabilities_by_a_plain_loop(batch):
    model = Pixels().eval()
    images, saliency, targets = batch
    found = masked_probabilities(model, images, saliency, targets)
    assert model.sizes == [9]
    for i in range(3):
        x, s, c = images[i : i + 1], saliency[i], targets[i]
        expected = [model(v).softmax(dim=1)[0, c] for v in (x, x * s, x * (1 - s))]
        torch.testing.assert_close([found.p[i], found.o[i], found.d[i]], expected)


def test_color_is_masked_with_mean_and_std(batch):
    model = Pixels().eval()
    _, saliency, targets = batch
    colors = torch.rand(3, 3, 6, 5, dtype=torch.float64)
    mean, std = torch.tensor([0.4, 0.5, 0.3]), torch.tensor([0.2, 0.3, 0.25])

    def normalized(values):
        return (values - mean[:, None, None]) / std[:, None, None]

    found = masked_probabilities(
        model, normalized(colors), saliency, targets, mean=mean.tolist(), std=std.tolist()
    )
    s = saliency[:, None]
    for values, x in zip(found, (colors, colors * s, colors * (1 - s)), strict=True):
        expected = model(normalized(x)).softmax(dim=1).gather(1, targets[:, None])[:, 0]
        torch.testing.assert_close(values, expected)


def test_minmax_stretches_each_map_and_empties_a_constant_one(batch):
    model = Pixels().eval()
    images, saliency, targets = batch
    saliency[1] = 0.5
    stretched = torch.zeros_like(saliency)
    for i in (0, 2):
        low, high = saliency[i].min(), saliency[i].max()
        stretched[i] = (saliency[i] - low) / (high - low)
    found = masked_probabilities(model, images, saliency, targets, minmax=True)
    expected = masked_probabilities(model, images, stretched, targets)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_batch_size_changes_nothing_but_the_calls(batch, batch_size):
    model = Pixels().eval()
    expected = masked_probabilities(model, *batch)
    model.sizes.clear()
    found = masked_probabilities(model, *batch, batch_size=batch_size)
    torch.testing.assert_close(found, expected)
    assert max(model.sizes) <= batch_size


def test_default_class_is_the_predicted_one_and_models_may_give_probabilities(batch):
    model = Pixels().eval()
    images, saliency, _ = batch
    found = masked_probabilities(
        lambda x: model(x).softmax(dim=1), images, saliency, probabilities=True
    )
    expected = masked_probabilities(model, images, saliency, model(images).argmax(dim=1))
    torch.testing.assert_close(found, expected)
    assert not found.p.requires_grad


def test_wrong_arguments_are_refused(batch):
    images, saliency, targets = batch
    model = Pixels().eval()
    wrong = [
        ((images, saliency[:2], targets), {}, ValueError),
        ((images, saliency[:, :4], targets), {}, ValueError),
        ((images, saliency * 2, targets), {}, ValueError),
        ((images.int(), saliency, targets), {}, TypeError),
        ((images, saliency.int(), targets), {}, TypeError),
        ((images, saliency, targets.double()), {}, TypeError),
        ((images, saliency, targets[:2]), {}, ValueError),
        ((images, saliency, targets + 1), {}, ValueError),
        ((images, saliency, targets), {"mean": [0.5] * 3}, ValueError),
        ((images, saliency, targets), {"mean": [0.5], "std": [0.5]}, ValueError),
        ((images, saliency, targets), {"mean": [0.5] * 3, "std": [0.0] * 3}, ValueError),
        ((images, saliency, targets), {"batch_size": 0}, ValueError),
    ]
    for arguments, options, error in wrong:
        with pytest.raises(error):
            masked_probabilities(model, *arguments, **options)
    with pytest.raises(ValueError, match="training mode"):
        masked_probabilities(model.train(), *batch)
    with pytest.raises(ValueError, match="outputs"):
        masked_probabilities(lambda x: x.sum(dim=(1, 2, 3)), *batch)

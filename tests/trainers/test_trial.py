"""Costs and needs of the metrics of a batch, and their values for maps that tell nothing."""

import pytest
import torch
from torch import nn

from learned_saliency.trainers import FIGURES, FaithfulnessScores, Trial
from tests.support.waves import WaveClassifier, wave_batch

SIZE = (16, 16)
#: Passes of the classifier per image and explanations of further batches, for each metric alone.
COSTS = {
    "average_drop": (3, 0),
    "average_increase": (3, 0),
    "average_gain": (3, 0),
    "average_drop_in_deletion": (3, 0),
    "insertion": (226, 0),
    "insertion_zero": (226, 0),
    "deletion": (226, 0),
    "insertion_percentile": (42, 0),
    "deletion_percentile": (42, 0),
    "aopc": (11, 0),
    "road": (18, 0),
    "road_morf": (18, 0),
    "road_lerf": (18, 0),
    "infidelity": (3 + 64, 0),
    "crop_saliency": (1, 0),
    "max_sensitivity": (0, 10),
    "coherency": (0, 1),
    "l1_complexity": (0, 0),
    "adcc": (3, 1),
    "arcc": (18, 1),
}
CONSTANT = {
    "average_drop_in_deletion": 0.0,
    "aopc": 0.0,
    "road_lerf": 0.0,
    "max_sensitivity": 1.0,
    "coherency": 0.0,
    "l1_complexity": 1.0,
    "adcc": 0.0,
    "arcc": 0.0,
}


class Explained:
    """A method that answers to the image and counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, images):
        self.calls += 1
        return torch.sigmoid(images.sum(1))


def trial(maps=None, explain=None, rows=slice(None), **options):
    images, saliency, targets = wave_batch(*SIZE)
    saliency = saliency if maps is None else maps
    places = list(range(10, 10 + len(images)))[rows]
    return Trial(
        WaveClassifier(*SIZE),
        images[rows],
        saliency[rows],
        targets[rows],
        explain=explain,
        places=places,
        **options,
    )


def terms(given, names=FIGURES):
    names = [name for name in names if FIGURES[name].needs <= {"method"}]
    return FaithfulnessScores(["m"], names).update("m", given)


@pytest.mark.parametrize("name", COSTS)
def test_passes_and_explanations_of_each_metric(name):
    method = Explained()
    given = trial(explain=method)
    terms(given, [name])
    assert (given.classifier.seen / 2, method.calls) == COSTS[name]


def test_metrics_share_what_they_need():
    method = Explained()
    given = trial(explain=method)
    shared = ["average_drop", "average_gain", "adcc", "coherency", "l1_complexity"]
    shared += ["road", "road_morf", "road_lerf", "arcc", "infidelity"]
    assert list(terms(given, shared)) == shared
    assert given.classifier.seen == 2 * (3 + 18 + 64)
    assert method.calls == 1


@pytest.mark.parametrize("name", COSTS)
def test_terms_do_not_depend_on_the_batch(name):
    method = Explained()
    whole = terms(trial(explain=method), [name])[name]
    single = [terms(trial(explain=method, rows=slice(i, i + 1)), [name])[name] for i in (0, 1)]
    torch.testing.assert_close(torch.cat(single), whole, rtol=0, atol=1e-5)


def test_random_numbers_follow_the_seed():
    names = ["road", "infidelity", "max_sensitivity"]
    first, again, other = (terms(trial(explain=Explained(), seed=s), names) for s in (0, 0, 1))
    for name in names:
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], other[name])


def test_maps_without_their_method_leave_out_what_explains_other_images():
    found = terms(trial())
    assert set(COSTS) - set(found) == {"max_sensitivity", "coherency", "adcc", "arcc"}
    with pytest.raises(ValueError, match="without their method"):
        _ = trial().masked_saliency


@pytest.mark.parametrize("name", COSTS)
def test_a_constant_map_counts_as_zeros_and_as_the_worst(name):
    """Its value does not count: ones would keep the whole image, or take all of it out."""
    method = Explained()
    found = [
        terms(trial(torch.full((2, *SIZE), value), method), [name])[name]
        for value in (0.0, 0.5, 1.0)
    ]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    if name in CONSTANT:
        assert found[0].tolist() == [CONSTANT[name]] * 2


class Red(nn.Module):
    """Network that looks for red anywhere, which one square has and the rest lacks."""

    def forward(self, images):
        score = 60 * images[:, 0].mean((1, 2)) - 1
        return torch.stack([score, torch.zeros_like(score)], 1)


def red_images():
    """Four images of 32 x 32 with a red square, at the corners and within, and their true maps."""
    generator = torch.Generator().manual_seed(0)
    images = 0.01 * torch.randn(4, 3, 32, 32, generator=generator)
    images[:, 0] -= 0.03
    boxes = []
    for image, (y, x) in zip(images, [(0, 0), (24, 24), (11, 5), (3, 20)], strict=True):
        image[0, y : y + 8, x : x + 8] = 1.0
        boxes.append(torch.tensor([[x, y, x + 8, y + 8]]))
    return images, boxes


def true_maps(images):
    red = images[:, 0].clamp(min=0.2) - 0.2
    return red / red.amax((1, 2), keepdim=True).clamp(min=1e-3)


GENERATOR = torch.Generator().manual_seed(3)
METHODS = {
    "true": true_maps,
    "random": lambda images: torch.rand(images[:, 0].shape, generator=GENERATOR),
    "constant": lambda images: torch.ones_like(images[:, 0]),
    "inverted": lambda images: 1 - true_maps(images),
}
#: An inverted map changes by as much and is larger, so that the change is the smaller part of it.
INSENSITIVE = {("max_sensitivity", "inverted")}


@pytest.mark.parametrize("name", FIGURES)
def test_the_true_map_beats_random_constant_and_inverted_ones(name):
    """In the direction that the metric declares, wherever the object lies."""
    images, boxes = red_images()
    masks = (images[:, 0] > 0.5).to(torch.uint8)
    values = {}
    for method, explain in METHODS.items():
        given = Trial(
            Red().eval(),
            images,
            explain(images),
            torch.zeros(4, dtype=torch.int64),
            explain=explain,
            truth={"boxes": boxes, "mask": masks},
        )
        scores = FaithfulnessScores([method], [name])
        scores.update(method, given)
        values[method] = scores.compute()[method][name]
    sign = 1 if FIGURES[name].figure.higher_is_better else -1
    for method in ("random", "constant", "inverted"):
        if (name, method) not in INSENSITIVE:
            assert sign * values["true"] > sign * values[method], values

"""RISE against plain loops, the masks of the released code, and the exact expectation."""

from itertools import product

import pytest
import skimage.transform
import torch
from torch import nn

from learned_saliency.attribution import RISE, split
from learned_saliency.attribution.rise import enlarging

TARGETS = torch.tensor([0, 5, 2, 5])


def masks_of(method, height, width):
    like = torch.zeros(0, dtype=torch.float64)
    return torch.cat(list(method._masks(height, width, 3, like)))


@pytest.mark.parametrize(("cells", "size"), [(7, 256), (7, 40), (2, 6), (3, 3)])
def test_cells_are_enlarged_as_in_the_released_code(cells, size):
    grid = torch.rand(cells, cells, generator=torch.Generator().manual_seed(0)).double()
    expected = skimage.transform.resize(
        grid.numpy(), (size, size), order=1, mode="reflect", anti_aliasing=False
    )
    weights = enlarging(cells, size)
    torch.testing.assert_close(weights @ grid @ weights.T, torch.from_numpy(expected))


def test_masks_are_shifted_by_up_to_a_cell_and_keep_the_probability():
    method = RISE(masks=4000, cells=3, p=0.3, seed=1)
    masks = masks_of(method, 8, 12)
    assert masks.shape == (4000, 8, 12)
    assert masks.min() >= 0
    assert masks.max() <= 1
    torch.testing.assert_close(masks.mean(0), torch.full((8, 12), 0.3).double(), rtol=0, atol=0.03)
    rows, columns = enlarging(3, 12), enlarging(3, 16)  # cells of 3 x 4 pixels, one more each way
    generator = torch.Generator().manual_seed(1)
    kept = (torch.rand(4000, 3, 3, generator=generator) < 0.3).double()
    down = torch.randint(3, (4000, 1), generator=generator)[:, 0]
    across = torch.randint(4, (4000, 1), generator=generator)[:, 0]
    assert set(down.tolist()) == {0, 1, 2}
    assert set(across.tolist()) == {0, 1, 2, 3}
    for i in range(20):
        whole = rows @ kept[i] @ columns.T  # (12, 16)
        shown = whole[down[i] : down[i] + 8, across[i] : across[i] + 12]
        torch.testing.assert_close(masks[i], shown)


@pytest.mark.parametrize("target", ["probability", "logit"])
def test_map_is_the_mean_of_masks_weighted_by_the_score(tiny_cnn, images, target):
    classifier = tiny_cnn("flat")
    method = RISE(masks=20, cells=4, p=0.4, seed=3, batch_size=7, target=target)
    maps = method.raw_maps(classifier, images, TARGETS)
    assert RISE().target == "probability"
    for image, label, found in zip(images, TARGETS, maps, strict=True):
        expected = torch.zeros_like(found)
        for mask in masks_of(method, 32, 32):
            logits = classifier((image * mask)[None])
            score = logits.softmax(1) if target == "probability" else logits
            expected += score[0, label] * mask / (20 * 0.4)
        torch.testing.assert_close(found, expected.detach(), rtol=1e-7, atol=1e-7)


class Pixels(nn.Module):
    """Two logits, one of which is a product of two pixels."""

    def features(self, images):
        return images

    def head(self, features):
        value = features[:, 0, 0, 0] * features[:, 0, 1, 1]
        return torch.stack([value, -value], dim=1)

    def forward(self, images):
        return self.head(self.features(images))


def test_map_converges_to_the_expectation_over_all_masks_and_shifts():
    classifier = Pixels().double()
    image = 2 + torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    rows = enlarging(2, 6)
    expected = torch.zeros(4, 4).double()
    for cells in product([0.0, 1.0], repeat=4):
        whole = rows @ torch.tensor(cells).double().view(2, 2) @ rows.T
        chance = 0.6 ** sum(cells) * 0.4 ** (4 - sum(cells))
        for down, across in product(range(2), repeat=2):
            mask = whole[down : down + 4, across : across + 4]
            score = classifier(image * mask).softmax(1)[0, 0]
            expected += chance / 4 * score * mask / 0.6
    method = RISE(masks=40_000, cells=2, p=0.6, batch_size=5000)
    found = method.raw_maps(classifier, image, torch.tensor([0]))[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=0.006)
    assert (expected.max() - expected.min()) > 0.1
    few = RISE(masks=400, cells=2, p=0.6).raw_maps(classifier, image, torch.tensor([0]))[0]
    assert (few - expected).abs().max() > 3 * (found - expected).abs().max()


def test_masks_are_shared_by_images_and_classes_and_run_once(tiny_cnn, images):
    heard, classifier = [], tiny_cnn("flat")
    method = RISE(masks=10, cells=4, batch_size=4, progress=lambda *step: heard.append(step))
    classes = torch.tensor([[3, 0, 9], [1, 1, 2], [8, 4, 0], [5, 6, 7]])
    maps = method.of_classes(classifier, images, classes)
    assert heard == [(step, 12) for step in range(1, 13)]  # 3 runs of 4 masks for each image
    alone = [method(classifier, images, column) for column in classes.unbind(1)]
    torch.testing.assert_close(maps, torch.stack(alone, dim=1), rtol=1e-7, atol=1e-7)
    other = RISE(masks=10, cells=4, batch_size=50)(classifier, images, classes[:, 0])
    torch.testing.assert_close(other, alone[0], rtol=1e-7, atol=1e-7)
    assert (RISE(masks=10, cells=4, seed=1)(classifier, images, classes[:, 0]) != other).any()


def test_scores_of_a_function_are_taken_as_they_are(tiny_cnn, images):
    network = tiny_cnn("linear")
    brightness = split(network, "conv3", outputs=lambda logits: logits[:, :1])
    maps = RISE(masks=8, cells=4, target="logit")(brightness, images)
    assert maps.amax() == 1
    with pytest.raises(ValueError, match="of which there is one: explain its logit"):
        RISE(masks=8, cells=4)(brightness, images)


@pytest.mark.parametrize("options", [{"masks": 0}, {"cells": 1}, {"p": 1.0}, {"batch_size": 0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=r"expected masks|at least 1"):
        RISE(**options)


def test_more_cells_than_pixels_are_refused(tiny_cnn, images):
    with pytest.raises(ValueError, match="shorter side of the images, 32 pixels, got 33"):
        RISE(cells=33)(tiny_cnn("flat"), images, TARGETS)

"""Meaningful perturbations against a plain loop of the paper's objective, image by image."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from learned_saliency.attribution import MeaningfulPerturbation
from learned_saliency.attribution.meaningful import centered_disks, enlarging, total_variation

TARGETS = torch.tensor([0, 5, 2, 5])


def smooth(mask, scale, sigma, size):
    """Repeat the cells of a mask (h, w) and blur it, with SciPy."""
    full = mask.detach().numpy().repeat(scale, 0).repeat(scale, 1)[: size[0], : size[1]]
    return torch.from_numpy(ndimage.gaussian_filter(full, sigma, mode="nearest", truncate=3))


@pytest.mark.parametrize(("scale", "size"), [(8, (32, 32)), (5, (32, 23)), (1, (9, 9))])
def test_cells_are_repeated_and_blurred(scale, size):
    cells = [-(-side // scale) for side in size]
    mask = torch.rand(*cells, generator=torch.Generator().manual_seed(0)).double()
    down, across = (enlarging(side, scale, 2.0) for side in size)
    torch.testing.assert_close(down @ mask @ across.T, smooth(mask, scale, 2.0, size))
    assert (enlarging(32, 8, 0.0).sum(1) == 1).all()


def test_variation_is_the_power_of_the_gradients_norm():
    mask = torch.tensor([[[0.0, 0.3], [0.4, 0.4]]])
    assert total_variation(mask, 3.0).item() == pytest.approx(0.5**3 + 0.1**3)
    assert total_variation(mask, 2.0).item() == pytest.approx(0.25 + 0.01)
    leaf = torch.ones(1, 3, 3, requires_grad=True)
    (slope,) = torch.autograd.grad(total_variation(leaf, 3.0).sum(), leaf)
    assert not slope.any()


def blurred(image):
    """Blur an image (3, H, W) with SciPy."""
    colors = [ndimage.gaussian_filter(c, 10.0, mode="nearest", truncate=3) for c in image]
    return torch.from_numpy(np.stack(colors))


def plain_loop(classifier, image, label, mask, shifts, game):
    """Optimize the mask (h, w) of one image with torch's parts, as the paper says."""
    adam = torch.optim.Adam([mask.requires_grad_()], lr=0.1)
    back = blurred(image)
    down, across = enlarging(32, 8, 5.0), enlarging(32, 8, 5.0)
    wide = [nn.functional.pad(x[None], (1, 2, 1, 2), mode="replicate")[0] for x in (image, back)]
    for top, left in shifts:
        x, b = (one[:, top : top + 32, left : left + 32] for one in wide)
        full = down @ mask @ across.T
        score = classifier((x * full + b * (1 - full))[None]).softmax(1)[0, label]
        variation = sum(
            (
                (mask[i + 1, j] - mask[i, j] if i < 3 else 0.0) ** 2
                + (mask[i, j + 1] - mask[i, j] if j < 3 else 0.0) ** 2
            )
            ** 1.5
            for i in range(4)
            for j in range(4)
            if (i, j) != (3, 3)
        )
        deletes = game == "deletion"
        area = (1 - mask).abs().sum() if deletes else mask.abs().sum()
        adam.zero_grad()
        (1e-4 * area + 1e-2 * variation + (score if deletes else -score)).backward()
        adam.step()
        mask.data.clamp_(0, 1)
    full = smooth(mask, 8, 5.0, (32, 32))
    return 1 - full if game == "deletion" else full


@pytest.mark.parametrize("game", ["deletion", "preservation"])
@pytest.mark.parametrize("start", ["disk", "ones"])
def test_map_is_that_of_a_plain_loop(tiny_cnn, images, game, start):
    classifier = tiny_cnn("flat")
    method = MeaningfulPerturbation(
        game=game, first_mask=start, iterations=12, seed=4, batch_size=3
    )
    found = method.raw_maps(classifier, images, TARGETS)
    shifts = torch.randint(4, (12, 2), generator=torch.Generator().manual_seed(4)).tolist()
    for image, label, one in zip(images, TARGETS.tolist(), found, strict=True):
        mask = torch.ones(4, 4, dtype=torch.float64)
        if start == "disk":
            disk = smallest_disk(classifier, image, label)
            mask = disk if game == "preservation" else 1 - disk
        expected = plain_loop(classifier, image, label, mask, shifts, game)
        torch.testing.assert_close(one, expected, rtol=0, atol=1e-6)
        assert one.amax() - one.amin() > 0.01


def smallest_disk(classifier, image, label):
    """Find the first disk whose blur takes 99% of the score, in the resolution of the mask."""
    back = blurred(image)

    @torch.no_grad()
    def score(mask):
        return classifier((image * (1 - mask) + back * mask)[None]).softmax(1)[0, label].item()

    disks = []
    for number in range(35):
        radius = 5 * number * 32 / 224
        y, x = np.ogrid[-16:16, -16:16]
        inside = (y**2 + x**2 <= radius**2).astype(float)
        disk = ndimage.gaussian_filter(inside, 10 * 32 / 224, mode="nearest")
        disks.append(torch.from_numpy(disk))
    before, after = score(torch.zeros(32, 32)), score(disks[-1])
    for disk in disks:
        if (score(disk) - after) / (before - after) < 0.01:
            break
    torch.testing.assert_close(centered_disks(32, 32), torch.stack(disks), rtol=0, atol=1e-9)
    return disk[::8, ::8].clone()


def test_a_mask_that_starts_at_one_moves_where_a_clamped_one_cannot(tiny_cnn, images):
    classifier, label = tiny_cnn("flat"), torch.tensor([0])
    mask = torch.ones(1, 1, 32, 32, dtype=torch.float64, requires_grad=True)
    score = classifier(images[:1] * mask.clamp(0, 1)).softmax(1)[0, 0]
    (slope,) = torch.autograd.grad(score, mask)
    assert not slope.any()  # what torch does at a bound
    options = {"first_mask": "ones", "iterations": 20, "area_weight": 0.0, "variation_weight": 0.0}
    moved = MeaningfulPerturbation(**options).raw_maps(classifier, images[:1], label)
    assert moved.amax() > 0.3
    assert moved.amin() >= 0


def test_penalties_make_maps_small_and_smooth(tiny_cnn, images):
    classifier = tiny_cnn("flat")

    def deleted(**options):
        method = MeaningfulPerturbation(iterations=30, mask_blur=0.0, **options)
        return method.raw_maps(classifier, images, TARGETS)

    plain = deleted(area_weight=0.0, variation_weight=0.0)
    assert deleted(area_weight=1.0).mean() < 0.2 * plain.mean()
    smoothed = deleted(variation_weight=1.0)
    assert smoothed.diff(dim=1).abs().sum() < 0.5 * plain.diff(dim=1).abs().sum()


def test_classes_of_an_image_are_optimized_together_as_alone(tiny_cnn, images):
    classifier, heard = tiny_cnn("flat"), []
    method = MeaningfulPerturbation(iterations=5, batch_size=5)
    classes = torch.tensor([[3, 0, 9], [1, 1, 2], [8, 4, 0], [5, 6, 7]])
    method.progress = lambda *step: heard.append(step)
    maps = method.of_classes(classifier, images, classes)
    assert heard == [(step, 15) for step in range(1, 16)]  # 12 masks, at most 5 at a time
    alone = [method(classifier, images, column) for column in classes.unbind(1)]
    torch.testing.assert_close(maps, torch.stack(alone, dim=1), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    "options",
    [
        {"game": "hide"},
        {"first_mask": "zeros"},
        {"area_weight": -1.0},
        {"variation_power": 1.0},
        {"scale": 0},
        {"jitter": 0},
        {"image_blur": 0.0},
        {"iterations": 0},
        {"learning_rate": 0.0},
        {"batch_size": 0},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=r"expected|must be"):
        MeaningfulPerturbation(**options)

"""Noisy linear imputation without its noise: pytorch-grad-cam's solution, and a plain system."""

import numpy as np
import pytest
import torch
from pytorch_grad_cam.metrics.road import NoisyLinearImputer
from torch.nn import functional as F

from learned_saliency.ops import impute_from_neighbors


def make(size, count=1, seed=0):
    """Images, and a smooth map of each."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, *size, generator=generator)
    maps = torch.rand(count, 1, 5, 5, generator=generator)
    return images, F.interpolate(maps, size=size, mode="bicubic")[:, 0]


def plain(image, removed):
    """Solve the dense system of one image, pixel by pixel."""
    height, width = removed.shape
    places = [tuple(place) for place in removed.nonzero().tolist()]
    matrix = np.zeros((len(places), len(places)))
    right = np.zeros((len(places), len(image)))
    for i, (y, x) in enumerate(places):
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                inside = 0 <= y + dy < height and 0 <= x + dx < width
                if (dy, dx) == (0, 0) or not inside:
                    continue
                weight = 1 / 6 if dy == 0 or dx == 0 else 1 / 12
                matrix[i, i] += weight
                if removed[y + dy, x + dx]:
                    matrix[i, places.index((y + dy, x + dx))] -= weight
                else:
                    right[i] += weight * image[:, y + dy, x + dx].numpy()
    filled = image.clone()
    filled[:, removed] = torch.from_numpy(np.linalg.solve(matrix, right).T).to(image)
    return filled


@pytest.mark.parametrize("size", [(9, 7), (1, 9), (17, 20)])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
def test_a_plain_system_has_the_same_solution(size, part):
    images, maps = make(size, 2)
    images = images.double()
    removed = maps > maps.flatten(1).quantile(1 - part, dim=1)[:, None, None]
    found = impute_from_neighbors(images, removed, tolerance=1e-12)
    for image, gone, filled in zip(images, removed, found, strict=True):
        torch.testing.assert_close(filled, plain(image, gone), rtol=0, atol=1e-9)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["smooth", "scattered", "border"])
def test_pytorch_grad_cam_finds_the_same_values(kind, part):
    """The bound is a hundredth of the noise that ROAD adds."""
    images, maps = make((64, 48))
    if kind == "scattered":
        maps = torch.rand(1, 64, 48, generator=torch.Generator().manual_seed(1))
    if kind == "border":
        maps = torch.linspace(1, 0, 64)[None, :, None].expand(1, 64, 48) + 1e-6 * maps
    removed = maps > maps.flatten(1).quantile(1 - part, dim=1)[:, None, None]
    expected = NoisyLinearImputer(noise=0.0)(images[0], (~removed[0]).float())
    found = impute_from_neighbors(images, removed)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 if kind != "border" else 1e-3)


def test_pixels_that_stay_are_unchanged_and_so_are_the_arguments():
    images, maps = make((16, 16))
    before, removed = images.clone(), maps > 0.5
    found = impute_from_neighbors(images, removed)
    assert torch.equal(images, before)
    kept = (~removed)[:, None].expand_as(images)
    assert torch.equal(found[kept], images[kept])
    assert torch.equal(impute_from_neighbors(images, torch.zeros_like(removed)), images)


def test_an_image_does_not_depend_on_its_batch_mates():
    images, maps = make((24, 24), 3)
    removed = maps > torch.tensor([0.2, 0.5, 0.8])[:, None, None]
    together = impute_from_neighbors(images, removed)
    for i in range(3):
        alone = impute_from_neighbors(images[i : i + 1], removed[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-5)


def test_half_precision_is_solved_in_float32():
    images, maps = make((16, 16))
    found = impute_from_neighbors(images.bfloat16(), maps > 0.5)
    assert found.dtype == torch.float32


def test_wrong_arguments_are_refused():
    images, maps = make((8, 8))
    with pytest.raises(TypeError, match="booleans"):
        impute_from_neighbors(images, maps)
    with pytest.raises(ValueError, match=r"\(1, 3, 8, 8\) and \(1, 8, 7\)"):
        impute_from_neighbors(images, maps[..., :-1] > 0.5)
    with pytest.raises(ValueError, match="has to stay"):
        impute_from_neighbors(images, torch.ones(1, 8, 8, dtype=torch.bool))

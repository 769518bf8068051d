from importlib import import_module

import numpy as np
import pytest
import torch

from learned_saliency.losses import DenseCRFLoss, dense_crf
from tests.support.paths import GOLDEN

BACKENDS = ["exact", "lattice"]


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "crf.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def _case(batch=2, classes=2, height=9, width=7, seed=0, dtype=torch.float64):
    """Softmax maps and random images of few colors, so that pixels do interact."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, classes, height, width, generator=generator, dtype=dtype)
    images = torch.randint(90, 131, (batch, 3, height, width), generator=generator)
    return logits.softmax(1), images


def _affinities(image, sigma_rgb, sigma_xy):
    """W of one image, pixel by pixel."""
    _, height, width = image.shape
    pixels = [(y, x) for y in range(height) for x in range(width)]
    affinity = torch.empty(len(pixels), len(pixels), dtype=torch.float64)
    for i, (y, x) in enumerate(pixels):
        for j, (v, u) in enumerate(pixels):
            color = (image[:, y, x].double() - image[:, v, u].double()).square().sum()
            place = (y - v) ** 2 + (x - u) ** 2
            affinity[i, j] = torch.exp(-color / (2 * sigma_rgb**2) - place / (2 * sigma_xy**2))
    return affinity


def _value_and_gradient(maps, images, **options):
    maps = maps.clone().requires_grad_()
    value = dense_crf(maps, images, **options)
    value.backward()
    return value.detach(), maps.grad


def _each(maps, images, **options):
    """Values and gradients of each image alone."""
    pairs = [
        _value_and_gradient(maps[i : i + 1], images[i : i + 1], **options) for i in range(len(maps))
    ]
    values, gradients = zip(*pairs, strict=True)
    return torch.stack(values), torch.cat(gradients)


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-9)])
def test_exact_equals_published_numbers(golden, size, dtype, tolerance):
    maps = golden[f"crf{size}_s"].to(dtype)
    values, gradients = _each(maps, golden[f"crf{size}_images"])
    torch.testing.assert_close(values.double(), golden[f"crf{size}_loss"], rtol=tolerance, atol=0)
    expected = golden[f"crf{size}_grad"]
    bound = tolerance * expected.abs().max().item()  # single entries cross zero
    torch.testing.assert_close(gradients.double(), expected, rtol=tolerance, atol=bound)


def test_exact_without_diagonal_equals_published_numbers(golden):
    values, gradients = _each(golden["crf32_s"].double(), golden["crf32_images"], diagonal=False)
    torch.testing.assert_close(values, golden["crf32_loss_nodiag"], rtol=1e-9, atol=0)
    torch.testing.assert_close(gradients, golden["crf32_grad_nodiag"], rtol=1e-9, atol=1e-8)


def test_exact_differs_from_the_released_form_by_the_sum_of_affinities(golden):
    values, _ = _each(golden["crf32_s"].double(), golden["crf32_images"])
    constant = golden["crf32_row_sums"].sum((1, 2))
    # S sums to one up to float32 rounding
    torch.testing.assert_close(values, golden["crf32_quadratic"] + constant, rtol=1e-6, atol=0)


@pytest.mark.parametrize("size", [32, 64])
def test_lattice_is_close_to_published_exact_numbers(golden, size):
    maps = golden[f"crf{size}_s"]
    values, gradients = _each(maps, golden[f"crf{size}_images"], backend="lattice")
    torch.testing.assert_close(values.double(), golden[f"crf{size}_loss"], rtol=0.1, atol=0)
    expected = golden[f"crf{size}_grad"]
    cosines = torch.cosine_similarity(gradients.double().flatten(1), expected.flatten(1))
    assert cosines.min() >= 0.998
    norms = gradients.double().flatten(1).norm(dim=1) / expected.flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=0.1, atol=0)


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_exact_equals_brute_force(classes):
    maps, images = _case(batch=2, classes=classes, height=4, width=5)
    maps = maps * 0.9  # need not sum to one
    expected, gradient = [], torch.zeros_like(maps)
    for i in range(2):
        affinity = _affinities(images[i], 20.0, 3.0)
        flat = maps[i].flatten(1)
        expected.append(sum(s @ affinity @ (1 - s) for s in flat))
        rows = affinity.sum(1) - 2 * flat @ affinity
        gradient[i] = rows.view_as(maps[i]) / 2  # mean over the batch
    value, actual = _value_and_gradient(maps, images, sigma_rgb=20.0, sigma_xy=3.0)
    torch.testing.assert_close(value, torch.stack(expected).mean())
    torch.testing.assert_close(actual, gradient)


@pytest.mark.parametrize("max_elements", [1, 64, 1000, 5000, 2**24])
def test_exact_is_the_same_in_blocks_of_any_size(max_elements):
    maps, images = _case(batch=3)
    expected = _value_and_gradient(maps, images)
    actual = _value_and_gradient(maps, images, max_elements=max_elements)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("diagonal", [True, False])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("classes", [2, 3])
def test_gradient_is_the_derivative_of_the_value(backend, diagonal, classes):
    maps, images = _case(batch=2, classes=classes, height=3, width=4)
    maps.requires_grad_()

    def loss(probabilities):
        return dense_crf(probabilities, images, 15.0, 5.0, backend, diagonal)

    assert torch.autograd.gradcheck(loss, maps)
    assert torch.autograd.gradcheck(lambda z: loss(z.softmax(1)), maps.detach().requires_grad_())


@pytest.mark.parametrize("classes", [2, 3])
def test_lattice_takes_the_last_map_from_the_others_without_a_difference(classes):
    maps, images = _case(classes=classes)
    shifted = maps + 1e-9  # no longer complete: every map is filtered
    expected = _value_and_gradient(shifted, images, backend="lattice")
    actual = _value_and_gradient(maps, images, backend="lattice")
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_batch_gives_the_mean_of_its_images(backend):
    maps, images = _case(batch=4, height=12, width=8)
    values, gradients = _each(maps, images, backend=backend)
    value, gradient = _value_and_gradient(maps, images, backend=backend)
    torch.testing.assert_close(value, values.mean())
    torch.testing.assert_close(gradient, gradients / 4, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_maps_of_one_class_cost_nothing(backend):
    _, images = _case(batch=1)
    maps = torch.stack([torch.zeros(1, 9, 7), torch.ones(1, 9, 7)], dim=1)
    value, gradient = _value_and_gradient(maps, images, backend=backend)
    torch.testing.assert_close(value, torch.tensor(0.0), rtol=0, atol=1e-2)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("level", [0, 255])
def test_constant_image_is_finite_and_has_only_the_place(backend, level):
    maps, _ = _case(batch=1, height=8, width=8)
    images = torch.full((1, 3, 8, 8), level)
    value, gradient = _value_and_gradient(maps, images, backend=backend)
    affinity = _affinities(images[0], 15.0, 100.0)
    expected = sum(s @ affinity @ (1 - s) for s in maps[0].flatten(1))
    tolerance = 1e-10 if backend == "exact" else 0.1
    torch.testing.assert_close(value, expected, rtol=tolerance, atol=0)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_single_pixel_pairs_with_itself(backend):
    maps = torch.tensor([0.3, 0.7]).view(1, 2, 1, 1)
    value = dense_crf(maps, torch.full((1, 3, 1, 1), 77), backend=backend)
    tolerance = 1e-5 if backend == "exact" else 0.05
    torch.testing.assert_close(value, torch.tensor(2 * 0.3 * 0.7), rtol=tolerance, atol=0)
    none = dense_crf(maps, torch.full((1, 3, 1, 1), 77), diagonal=False)
    torch.testing.assert_close(none, torch.tensor(0.0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("flip", [2, 3])
def test_flip_of_both_changes_nothing(backend, flip):
    maps, images = _case(batch=1, height=16, width=16)
    value = dense_crf(maps, images, backend=backend)
    flipped = dense_crf(maps.flip(flip), images.flip(flip), backend=backend)
    tolerance = 1e-10 if backend == "exact" else 0.1  # the lattice is not mirrored
    torch.testing.assert_close(flipped, value, rtol=tolerance, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_images_get_no_gradient_and_inputs_stay(backend):
    maps, images = _case()
    images = images.double().requires_grad_()
    maps.requires_grad_()
    copies = maps.detach().clone(), images.detach().clone()
    dense_crf(maps, images, backend=backend).backward()
    assert images.grad is None
    assert maps.grad is not None
    torch.testing.assert_close((maps.detach(), images.detach()), copies, rtol=0, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_reduced_precision_is_computed_in_float32(backend):
    maps, images = _case(dtype=torch.float32)
    expected = dense_crf(maps.bfloat16().float(), images, backend=backend)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, gradient = _value_and_gradient(maps.bfloat16(), images, backend=backend)
    assert value.dtype == torch.float32
    assert gradient.dtype == torch.bfloat16
    torch.testing.assert_close(value, expected)


def test_reduced_grid_equals_published_number(golden):
    maps, images = golden["crf64_s"][:1].double(), golden["crf64_images"][:1]
    loss = DenseCRFLoss(weight=1.0, reference_size=None, scale=0.5, backend="exact")
    torch.testing.assert_close(loss(maps, images), golden["crf64_half_loss"], rtol=1e-9, atol=0)


def test_module_without_reference_is_the_weighted_function():
    maps, images = _case()
    loss = DenseCRFLoss(weight=3.0, sigma_rgb=10.0, sigma_xy=5.0, reference_size=None)
    expected = 3 * dense_crf(maps, images, 10.0, 5.0, "lattice")
    torch.testing.assert_close(loss(maps, images), expected)


@pytest.mark.parametrize(
    ("height", "width", "weight"),
    [(224, 224, 1.1e-9), (96, 96, 3.2605e-8), (64, 64, 1.6507e-7), (32, 128, 1.6507e-7)],
)
def test_module_keeps_the_strength_at_other_sizes(height, width, weight, monkeypatch):
    seen = {}

    def spy(probabilities, images, sigma_rgb, sigma_xy, backend):
        seen.update(sigma_rgb=sigma_rgb, sigma_xy=sigma_xy, backend=backend)
        return torch.tensor(1.0, dtype=torch.float64)

    monkeypatch.setitem(DenseCRFLoss.forward.__globals__, "dense_crf", spy)
    maps = torch.full((1, 2, height, width), 0.5)
    value = DenseCRFLoss()(maps, torch.zeros(1, 3, height, width))
    torch.testing.assert_close(value.item(), weight, rtol=1e-4, atol=0)
    expected = {"sigma_rgb": 15.0, "sigma_xy": 100 * (height * width) ** 0.5 / 224}
    assert seen == {**expected, "backend": "lattice"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_module_gives_an_enlarged_image_the_same_loss(backend):
    maps, images = _case(batch=1, height=12, width=12)
    loss = DenseCRFLoss(weight=1.0, reference_size=12, sigma_xy=5.0, backend=backend)
    large = [x.repeat_interleave(3, 2).repeat_interleave(3, 3) for x in (maps, images)]
    torch.testing.assert_close(loss(*large), loss(maps, images), rtol=0.05, atol=0)
    halved = DenseCRFLoss(weight=1.0, reference_size=12, sigma_xy=5.0, scale=1 / 3, backend=backend)
    torch.testing.assert_close(halved(*large), loss(maps, images), rtol=0.05, atol=0)


def test_bad_arguments_are_named():
    maps, images = _case()
    with pytest.raises(TypeError, match="floating point"):
        dense_crf(torch.ones(2, 2, 9, 7, dtype=torch.int64), images)
    with pytest.raises(ValueError, match="probabilities must be"):
        dense_crf(maps[0], images)
    with pytest.raises(ValueError, match="probabilities must be"):
        dense_crf(maps[:0], images[:0])
    with pytest.raises(ValueError, match="images must be"):
        dense_crf(maps, images[:, :, :-1])
    with pytest.raises(ValueError, match="images must be"):
        dense_crf(maps, images[:1])
    with pytest.raises(ValueError, match="sigma_rgb"):
        dense_crf(maps, images, sigma_rgb=0)
    with pytest.raises(ValueError, match="sigma_xy"):
        dense_crf(maps, images, sigma_xy=float("nan"))
    with pytest.raises(ValueError, match=r"exact.*lattice.*'grid'"):
        dense_crf(maps, images, backend="grid")
    with pytest.raises(ValueError, match="max_elements"):
        dense_crf(maps, images, max_elements=0)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("weight", -1.0),
        ("weight", float("nan")),
        ("sigma_xy", 0.0),
        ("sigma_rgb", -1.0),
        ("reference_size", 0),
        ("scale", 0.0),
        ("scale", 2.0),
        ("backend", "grid"),
    ],
)
def test_module_rejects_bad_options(option, value):
    with pytest.raises(ValueError, match=option.removesuffix("_rgb").removesuffix("_xy")):
        DenseCRFLoss(**{option: value})


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_batch_in_parts_is_the_mean_of_its_images(monkeypatch, backend):
    maps, images = _case(batch=19)
    values, gradients = _each(maps, images, backend=backend)
    monkeypatch.setattr(import_module(dense_crf.__module__), "_PIXELS", 1)
    maps = maps.contiguous(memory_format=torch.channels_last)
    value, gradient = _value_and_gradient(maps, images, backend=backend)
    torch.testing.assert_close(value, values.mean())
    torch.testing.assert_close(gradient, gradients / 19)

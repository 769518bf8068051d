import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from learned_saliency.metrics import (
    Deletion,
    Insertion,
    area_under_curves,
    deletion_curves,
    insertion_curves,
)
from learned_saliency.metrics.insertion_deletion import blur


class Pixels(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(3 * 7 * 6, 4).double()
        self.sizes = []

    def forward(self, images):
        self.sizes.append(len(images))
        return self.fc(images.flatten(1))


@pytest.fixture
def model():
    return Pixels().eval()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(4)
    images = torch.randn(3, 3, 7, 6, generator=generator, dtype=torch.float64)
    saliency = torch.rand(3, 7, 6, generator=generator, dtype=torch.float64)
    saliency[1] = (saliency[1] * 4).floor() / 4  # with ties
    saliency[2] = 0.5
    return images, saliency, torch.tensor([3, 0, 2])


def plain_curve(model, image, saliency, target, steps, before, after):
    """One pixel after the other, ties in reading order; a constant map changes nothing."""
    height, width = saliency.shape
    pixels = sorted(
        ((y, x) for y in range(height) for x in range(width)),
        key=lambda p: (-saliency[p].item(), p),
    )
    curve = []
    for t in range(steps + 1):
        current = before.clone()
        for y, x in pixels[: int(t * height * width / steps + 0.5)]:
            current[:, y, x] = after[:, y, x]
        if saliency.min() == saliency.max():
            current = before
        curve.append(model(current[None]).softmax(dim=1)[0, target].detach())
    return torch.stack(curve)


@pytest.mark.parametrize("steps", [1, 5, 40, 42, 224])
@pytest.mark.parametrize("kind", ["blur", "zero", "deletion"])
def test_curves_by_a_plain_loop(model, batch, kind, steps):
    images, saliency, targets = batch
    if kind == "deletion":
        found = deletion_curves(model, *batch, steps=steps)
    else:
        found = insertion_curves(model, *batch, steps=steps, start=kind)
    assert found.shape == (3, steps + 1)
    for i in range(3):
        zero = torch.zeros_like(images[i])
        start = blur(images)[i] if kind == "blur" else zero
        versions = (images[i], zero) if kind == "deletion" else (start, images[i])
        expected = plain_curve(model, images[i], saliency[i], targets[i], steps, *versions)
        torch.testing.assert_close(found[i], expected)


def test_defaults_are_paper_000s_224_steps_of_224_pixels():
    # The logits count the pixels that are in: the curve is their number after each step.
    def counting(images):
        share = images[:, 0].flatten(1).sum(dim=1) / 224**2
        return torch.stack([share, 1 - share], dim=1)

    images = torch.ones(1, 3, 224, 224, dtype=torch.float64)
    saliency = torch.rand(1, 224, 224, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([0])
    options = {"probabilities": True}
    expected = torch.linspace(0, 1, 225, dtype=torch.float64)[None]
    found = insertion_curves(counting, images, saliency, target, start="zero", **options)
    torch.testing.assert_close(found, expected)
    found = deletion_curves(counting, images, saliency, target, **options)
    torch.testing.assert_close(found, 1 - expected)


@pytest.mark.parametrize("batch_size", [1, 5, 1000])
def test_batch_size_bounds_the_calls_and_changes_nothing(model, batch, batch_size):
    expected = insertion_curves(model, *batch, steps=9)
    model.sizes.clear()
    found = insertion_curves(model, *batch, steps=9, batch_size=batch_size)
    torch.testing.assert_close(found, expected)
    assert max(model.sizes) <= batch_size
    assert sum(model.sizes) == 3 + 3 * 10


def test_only_the_order_of_a_map_counts(model, batch):
    images, saliency, targets = batch
    found = deletion_curves(model, images, saliency**3, targets, steps=7)
    torch.testing.assert_close(found, deletion_curves(model, *batch, steps=7))


def test_black_instead_of_zero_with_mean_and_std(model, batch):
    targets = batch[2]
    mean, std = [0.4, 0.5, 0.3], [0.2, 0.3, 0.25]
    curves = deletion_curves(model, *batch, steps=3, mean=mean, std=std)
    black = -torch.tensor(mean, dtype=torch.float64) / torch.tensor(std, dtype=torch.float64)
    last = black[:, None, None].expand(3, 7, 6)
    expected = model(last[None]).softmax(dim=1)[0, targets]
    torch.testing.assert_close(curves[:2, -1], expected[:2])  # the third map is constant
    curves = insertion_curves(model, *batch, steps=3, start="zero", mean=mean, std=std)
    torch.testing.assert_close(curves[:, 0], expected)


def test_default_class_is_the_predicted_one(model, batch):
    images, saliency, _ = batch
    found = deletion_curves(model, images, saliency, steps=2)
    expected = model(images).softmax(dim=1).amax(dim=1)
    torch.testing.assert_close(found[:, 0], expected.detach())


def test_blur_is_scipys():
    generator = torch.Generator().manual_seed(2)
    images = torch.rand(2, 3, 30, 25, generator=generator, dtype=torch.float64)
    expected = gaussian_filter(images.numpy(), (0, 0, 5, 5), mode="nearest", radius=(0, 0, 5, 5))
    torch.testing.assert_close(blur(images), torch.from_numpy(expected))


def test_area_by_hand():
    curves = torch.tensor([[0.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.2, 0.4, 0.8]])
    expected = torch.tensor([0.5, 1.0, 0.45], dtype=torch.float64)
    torch.testing.assert_close(area_under_curves(curves), expected)


@pytest.mark.parametrize("metric", [Insertion, Deletion])
def test_value_is_the_mean_area_however_the_curves_arrive(check_metric, metric):
    curves = torch.rand(13, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    areas = [sum((row[t] + row[t + 1]) / 14 for t in range(7)) for row in curves]
    check_metric(metric, list(curves), lambda rows: (torch.stack(rows),), torch.stack(areas).mean())


def test_wrong_arguments_are_refused(model, batch):
    images, saliency, _ = batch
    for options in ({"steps": 0}, {"batch_size": 0}, {"start": "noise"}, {"std": [1.0] * 3}):
        with pytest.raises(ValueError, match=next(iter(options))):
            insertion_curves(model, *batch, **options)
    with pytest.raises(ValueError, match="expected images"):
        deletion_curves(model, images[:2], saliency)
    with pytest.raises(ValueError, match="training mode"):
        deletion_curves(model.train(), *batch)
    with pytest.raises(TypeError, match="floating"):
        Insertion().update(torch.ones(2, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="curves"):
        Deletion().update(torch.rand(4))

"""Seeds and losses of SPG against plain loops over the pixels."""

import math

import pytest
import torch
from torch.nn import functional

from learned_saliency.losses import IGNORE, SPGLoss, guidance_seeds, seed_cross_entropy


def seeds_by_loops(guide, high, low, least):
    found = torch.full(guide.shape, IGNORE)
    for image, values in enumerate(guide.tolist()):
        pixels = [value for row in values for value in row]
        few = sum(value > high for value in pixels) < least
        threshold = 0.7 * max(pixels) if few else high
        for row, line in enumerate(values):
            for column, value in enumerate(line):
                if value > threshold:
                    found[image, row, column] = 1
                if value < low:
                    found[image, row, column] = 0
    return found


def cross_entropy_by_loops(scores, seeds):
    total, count = 0.0, 0
    pairs = zip(scores.flatten().tolist(), seeds.flatten().tolist(), strict=True)
    for score, seed in pairs:
        if seed != IGNORE:
            p = 1 / (1 + math.exp(-score))
            total -= math.log(p if seed == 1 else 1 - p)
            count += 1
    return total / count


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(3)


def test_seeds_are_cut_by_two_thresholds():
    guide = torch.tensor([[[0.05, 0.04, 0.7], [0.71, 0.5, 0.9]]])
    expected = torch.tensor([[[IGNORE, 0, IGNORE], [1, IGNORE, 1]]])
    torch.testing.assert_close(guidance_seeds(guide, 0.7, 0.05), expected)
    torch.testing.assert_close(guidance_seeds(guide, 0.7, 0.05, least=2), expected)
    expected[0, 0, 2] = 1  # above 0.63
    torch.testing.assert_close(guidance_seeds(guide, 0.7, 0.05, least=3), expected)


@pytest.mark.parametrize("least", [0, 3.5, 40])
def test_seeds_are_those_of_plain_loops(generator, least):
    guide = (
        torch.rand(4, 5, 6, generator=generator) * torch.tensor([1, 0.8, 0.5, 0.04])[:, None, None]
    )
    given = guide.clone()
    for high, low in ((0.7, 0.05), (0.5, 0.05), (0.7, 0.1)):
        found = guidance_seeds(guide, high, low, least)
        torch.testing.assert_close(found, seeds_by_loops(guide, high, low, least))
        alone = guidance_seeds(guide[1:2], high, low, least)
        torch.testing.assert_close(found[1:2], alone)
    torch.testing.assert_close(guide, given, rtol=0, atol=0)


def test_a_constant_guide_gives_no_seeds_and_no_loss(generator):
    scores = torch.randn(2, 3, 3, generator=generator, requires_grad=True)
    seeds = guidance_seeds(torch.tensor([0.0, 0.9])[:, None, None].expand(2, 3, 3), 0.7, 0.05, 5)
    assert (seeds == IGNORE).all()
    loss = seed_cross_entropy(scores, seeds)
    loss.backward()
    assert loss.item() == 0
    assert (scores.grad == 0).all()


def test_the_cross_entropy_ignores_what_is_not_sure(generator):
    scores = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    seeds = torch.randint(0, 3, (2, 4, 3), generator=generator)
    seeds[seeds == 2] = IGNORE
    found = seed_cross_entropy(scores, seeds)
    assert found.item() == pytest.approx(cross_entropy_by_loops(scores.detach(), seeds))
    assert torch.autograd.gradcheck(lambda s: seed_cross_entropy(s, seeds), scores)
    (gradient,) = torch.autograd.grad(found, scores)
    assert (gradient[seeds == IGNORE] == 0).all()
    assert (gradient[seeds == 1] < 0).all()
    large = torch.full((1, 1, 2), 200.0)
    assert seed_cross_entropy(large, torch.tensor([[[1, 0]]])).item() == pytest.approx(100)


def test_the_terms_are_guided_as_in_the_paper(generator):
    size, labels = (12, 10), torch.tensor([1, 0, 2])
    cams = torch.randn(3, 4, 5, generator=generator)
    scores = [2 * torch.randn(3, *shape, generator=generator) for shape in ((6, 5), (3, 3), (4, 5))]
    logits = torch.randn(3, 4, generator=generator)
    loss = SPGLoss(seed_pixels=400, reference_size=100)
    terms = loss(logits, cams, scores, labels, size)
    least = 400 / 100**2 * 12 * 10  # 4.8 pixels

    def enlarged(maps):
        return functional.interpolate(maps[:, None], size, mode="bilinear")[:, 0]

    shallow, deep, last = map(enlarged, scores)
    attention = torch.stack([(m - m.min()) / (m.max() - m.min()) for m in enlarged(cams)])
    both = (shallow.sigmoid() + deep.sigmoid()) / 2
    expected = {
        "classification": functional.cross_entropy(logits, labels).item(),
        "deep": cross_entropy_by_loops(deep, seeds_by_loops(attention, 0.7, 0.05, least)),
        "shallow": cross_entropy_by_loops(
            shallow, seeds_by_loops(deep.sigmoid(), 0.5, 0.05, least)
        ),
        "last": cross_entropy_by_loops(last, seeds_by_loops(both, 0.7, 0.1, least)),
    }
    assert {name: value.item() for name, value in terms._asdict().items()} == pytest.approx(
        expected
    )


def test_no_gradient_passes_a_guide(generator):
    shapes = {"cams": (3, 3), "shallow": (4, 4), "deep": (3, 3), "last": (2, 2)}
    maps = {
        name: torch.randn(2, *shape, generator=generator, requires_grad=True)
        for name, shape in shapes.items()
    }
    branches = [maps[name] for name in ("shallow", "deep", "last")]
    labels = torch.tensor([0, 1])
    terms = SPGLoss()(torch.zeros(2, 3), maps["cams"], branches, labels, (8, 8))
    for name in ("shallow", "deep", "last"):
        found = torch.autograd.grad(
            getattr(terms, name), list(maps.values()), retain_graph=True, allow_unused=True
        )
        read = {n for n, gradient in zip(maps, found, strict=True) if gradient is not None}
        assert read == {name}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"attention_thresholds": (0.05, 0.7)}, r"attention_thresholds must be .* \[0.05, 0.7\]"),
        ({"deep_thresholds": (1.5, 0.1)}, "deep_thresholds must be two numbers"),
        ({"fused_thresholds": (0.5,)}, "fused_thresholds must be two numbers"),
        ({"seed_pixels": -1}, "seed_pixels must be at least 0"),
    ],
)
def test_options_out_of_range_are_refused(options, told):
    with pytest.raises(ValueError, match=told):
        SPGLoss(**options)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(B, H, W\), got \(2, 3\)"):
        guidance_seeds(torch.zeros(2, 3), 0.7, 0.1)
    with pytest.raises(ValueError, match="differ"):
        seed_cross_entropy(torch.zeros(1, 2, 2), torch.zeros(1, 2, 3, dtype=torch.int64))

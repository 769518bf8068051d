import pytest
import torch
from torch import nn
from torch.nn import functional

from learned_saliency.models import FCAM, CAMClassifier, FeaturePyramid, MaskDecoder
from learned_saliency.models.casm import _poolings


def maps(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_levels_of_several_scales_pass_untouched_without_parameters():
    pyramid = FeaturePyramid([4, 8, 8], [4, 8, 8])
    levels = [maps(1, 4, 8, 8), maps(1, 8, 4, 4), maps(1, 8, 4, 4)]
    assert all(a is b for a, b in zip(pyramid(levels), levels, strict=True))
    assert dict(pyramid.state_dict()) == {}
    assert (pyramid.channels, pyramid.reductions) == ([4, 8, 8], [4, 8, 8])


def test_a_single_level_passes_untouched():
    assert dict(FeaturePyramid([8], [16]).state_dict()) == {}


@pytest.mark.parametrize(
    ("number", "patch", "reductions"),
    [
        (4, 16, [4, 8, 16, 16]),
        (4, 14, [3.5, 7, 14, 14]),
        (2, 16, [4, 16]),
        (5, 8, [2, 4, 8, 8, 8]),
    ],
)
def test_equal_levels_become_finer_ones_above_an_untouched_last(number, patch, reductions):
    torch.manual_seed(0)
    pyramid = FeaturePyramid([8] * number, [patch] * number)
    levels = [maps(2, 8, 3, 5, seed=n) for n in range(number)]
    found = pyramid(levels)
    assert pyramid.reductions == reductions
    assert [level.shape[1] for level in found] == pyramid.channels
    assert pyramid.channels[:2] + pyramid.channels[-1:] == [2, 4 if number > 2 else 8, 8]
    assert [tuple(level.shape[2:]) for level in found] == [
        (round(3 * patch / side), round(5 * patch / side)) for side in reductions
    ]
    assert found[-1] is levels[-1]
    sum(level.square().sum() for level in found).backward()
    assert all(weight.grad.abs().sum() > 0 for weight in pyramid.parameters())


def test_the_finest_level_is_worked_out_by_hand():
    """Two transposed convolutions, normalization and GELU between them, then 1x1 and the like."""
    torch.manual_seed(0)
    stage = FeaturePyramid([4, 4], [16, 16]).stages[0]
    for weight in stage.parameters():
        nn.init.normal_(weight)
    first, norm, _, second, mix, last = stage
    level = maps(1, 4, 2, 2)

    def enlarge(inputs, layer):
        """Each cell becomes 2 x 2 cells, each with a matrix of its own."""
        cells = torch.einsum("bkhw,kcij->bchiwj", inputs, layer.weight).flatten(4).flatten(2, 3)
        return cells + layer.bias[:, None, None]

    def normalize(inputs, layer):
        mean = inputs.mean(1, keepdim=True)
        scale = (inputs.var(1, unbiased=False, keepdim=True) + layer.eps).sqrt()
        return (inputs - mean) / scale * layer.weight[:, None, None] + layer.bias[:, None, None]

    expected = enlarge(functional.gelu(normalize(enlarge(level, first), norm)), second)
    expected = torch.einsum("bkhw,ck->bchw", expected, mix.weight[:, :, 0, 0])
    torch.testing.assert_close(stage(level), normalize(expected, last))


class FlatBackbone(nn.Module):
    """Levels that are all equally big."""

    def __init__(self, patch=14, levels=4):
        super().__init__()
        self.channels, self.reductions = [8] * levels, [patch] * levels
        self.network = nn.Conv2d(3, 8, patch, stride=patch)

    def forward(self, images):
        level = self.network(images)
        return [level * n for n in range(1, len(self.channels) + 1)]


@pytest.mark.parametrize("patch", [14, 16])
def test_fcam_decodes_equal_levels_and_trains_the_pyramid(patch):
    torch.manual_seed(0)
    model = FCAM(CAMClassifier(FlatBackbone(patch), 3)).train()
    output = model(maps(2, 3, 2 * patch, 3 * patch))
    assert len(model.decoder.layers) == 5
    assert tuple(output.scores.shape) == (2, 2, 2 * patch, 3 * patch)
    output.scores.square().sum().backward()
    assert all(weight.grad is not None for weight in model.pyramid.parameters())
    assert all(weight.grad is None for weight in model.classifier.parameters())


@pytest.mark.parametrize(("patch", "cells"), [(14, (8, 12)), (16, (8, 12)), (8, (4, 6))])
def test_casm_scores_at_about_four_pixels(patch, cells):
    backbone = FlatBackbone(patch)
    decoder = MaskDecoder(backbone.channels, backbone.reductions, width=4)
    seen = []
    taps = decoder._taps
    decoder._taps = lambda parts: seen.append(tuple(parts[0].shape[-2:])) or taps(parts)
    levels = backbone(maps(1, 3, 2 * patch, 3 * patch))
    assert decoder(levels, (2 * patch, 3 * patch)).shape == (1, 2 * patch, 3 * patch)
    assert seen == [cells]


@pytest.mark.parametrize(
    ("reduction", "wanted", "count"), [(3.5, 4, 0), (3.5, 7, 1), (3.5, 20, 2), (3.5, 2, 0)]
)
def test_fractional_cells_are_pooled_as_far_as_they_stay_below(reduction, wanted, count):
    assert _poolings(reduction, wanted) == count

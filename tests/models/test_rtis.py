"""Masking network of Real Time Image Saliency."""

import pytest
import torch
from torch.nn import functional

from learned_saliency.models import RTIS, CAMClassifier
from learned_saliency.models.rtis import FeatureFilter, MaskingDecoder
from tests.support.networks import TinyBackbone


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return RTIS(CAMClassifier(TinyBackbone((4, 6, 8)), 5), width=4, map_reduction=2)


def test_the_filter_is_equation_5():
    torch.manual_seed(0)
    feature_filter = FeatureFilter(6, 4)
    features, targets = random(2, 6, 3, 2), torch.tensor([3, 1])
    found, scores = feature_filter(features, targets)
    for b in range(2):
        vector = feature_filter.embedding.weight[targets[b]]
        for i in range(3):
            for j in range(2):
                score = sum(features[b, k, i, j] * vector[k] for k in range(6))
                torch.testing.assert_close(scores[b, i, j], score)
                torch.testing.assert_close(
                    found[b, :, i, j], features[b, :, i, j] * score.sigmoid()
                )


def test_the_mask_is_the_share_of_the_first_of_two_maps_enlarged(network):
    network.eval()
    maps = []
    network.decoder.pair.register_forward_hook(lambda m, i, output: maps.append(output))
    levels, _ = network.classify(random(2, 3, 32, 24))
    masks, presence = network(levels, torch.tensor([1, 4]), (32, 24))
    first, second = maps[0].abs().unbind(1)
    assert first.shape == (2, 16, 12)
    share = (first / (first + second))[:, None]
    expected = functional.interpolate(share, (32, 24), mode="bilinear")[:, 0]
    torch.testing.assert_close(masks, expected, rtol=0, atol=1e-5)
    scores = network.filter(levels[-1], torch.tensor([1, 4]))[1]
    torch.testing.assert_close(presence, scores.amax((1, 2)))
    assert bool(((masks >= 0) & (masks <= 1)).all())


def test_two_empty_maps_give_an_empty_mask_with_a_finite_gradient(network):
    for parameter in network.decoder.pair.parameters():
        torch.nn.init.zeros_(parameter)
    levels, _ = network.classify(random(2, 3, 32, 32))
    masks = network(levels, torch.tensor([0, 1]), (32, 32)).masks
    assert bool((masks == 0).all())
    masks.sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in network.decoder.parameters())


def test_masks_are_of_their_image_and_their_class_alone(network):
    network.eval()
    network.filter.embedding.weight.data *= 100
    images = random(3, 3, 32, 32)
    levels, _ = network.classify(images)
    together = network(levels, torch.tensor([0, 2, 4]), (32, 32)).masks
    for row, label in enumerate((0, 2, 4)):
        alone, _ = network.classify(images[row : row + 1])
        one = network(alone, torch.tensor([label]), (32, 32)).masks
        torch.testing.assert_close(one[0], together[row])
        other = network(alone, torch.tensor([1]), (32, 32)).masks
        assert float((other - one).abs().max()) > 1e-4


@pytest.mark.parametrize(
    ("reductions", "map_reduction", "first", "widths"),
    [
        ((2, 4, 8, 16, 32), 4, 1, [12, 6, 3]),  # the paper's: levels of 1/4 to 1/32
        ((4, 8, 16, 16), 4, 0, [12, 6, 3]),  # a vision transformer's pyramid
        ((3.5, 7, 14, 14), 4, 0, [12, 6, 3]),
        ((2, 4, 8, 8, 8), 4, 1, [12, 6, 3]),  # strides removed
        ((32,), 4, 0, [12, 6, 3]),  # a single level: doublings alone
        ((8, 16), 2, 0, [12, 6, 3]),  # two doublings beyond the finest level
        ((2, 4), 16, 1, []),
    ],
)
def test_blocks_lead_from_the_last_level_to_the_size_of_the_mask(
    reductions, map_reduction, first, widths
):
    channels = [2 + i for i in range(len(reductions))]
    decoder = MaskingDecoder(channels, reductions, 3, map_reduction).eval()
    assert decoder.first == first
    assert [block.enlarge[1].num_features for block in decoder.blocks] == widths
    levels = [
        random(1, c, int(112 / r), int(56 / r)) for c, r in zip(channels, reductions, strict=True)
    ]
    pairs = []
    decoder.pair.register_forward_hook(lambda m, i, output: pairs.append(output.shape[-2:]))
    assert decoder(levels[-1], levels[:-1], (112, 56)).shape == (1, 112, 56)
    side = {3.5: 3.5, 4: 4, 2: 2, 16: 4}[map_reduction if reductions[0] != 3.5 else 3.5]
    assert abs(pairs[0][0] - 112 / side) <= 4


def test_levels_of_odd_sizes_fit(network):
    levels, _ = network.classify(random(2, 3, 37, 45))
    assert network(levels, torch.tensor([0, 1]), (37, 45)).masks.shape == (2, 37, 45)


def test_the_classifier_is_frozen_for_good(network):
    network.train()
    before = {k: v.clone() for k, v in network.classifier.state_dict().items()}
    levels, logits = network.classify(random(2, 3, 32, 32))
    assert not logits.requires_grad
    network(levels, torch.tensor([0, 1]), (32, 32)).masks.sum().backward()
    assert all(p.grad is None for p in network.classifier.parameters())
    assert not network.classifier.training
    torch.testing.assert_close(network.classifier.state_dict(), before, rtol=0, atol=0)


def test_the_gradient_of_the_network_is_right():
    torch.manual_seed(0)
    network = RTIS(CAMClassifier(TinyBackbone((2, 3)), 4), width=2, map_reduction=2)
    network.double().eval()  # BatchNorm in evaluation mode
    levels, _ = network.classify(random(1, 3, 8, 8).double())
    levels = [level.requires_grad_() for level in levels]

    def masks(*levels):
        return network(levels, torch.tensor([2]), (8, 8))

    assert torch.autograd.gradcheck(masks, levels)


@pytest.mark.parametrize("given", [{"width": 0}, {"map_reduction": 0}])
def test_numbers_out_of_range_are_refused(given):
    with pytest.raises(ValueError, match=next(iter(given))):
        RTIS(CAMClassifier(TinyBackbone(), 4), **given)


def test_a_single_class_is_refused():
    with pytest.raises(ValueError, match="at least 2 of them"):
        RTIS(CAMClassifier(TinyBackbone(), 1))

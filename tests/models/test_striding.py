from functools import partial

import pytest
import torch
from timm.layers import ConvNormAct
from timm.models.inception_v3 import InceptionB, InceptionD
from torch import nn
from torch.nn import functional

from learned_saliency.models.striding import pad_same, unstride


class Levels(nn.Sequential):
    """Stages in a row, the outputs of all as levels."""

    def forward(self, images):
        levels = []
        for stage in self:
            images = stage(images)
            levels.append(images)
        return levels


class Residual(nn.Module):
    """A strided layer beside a shortcut whose stride no module holds."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, stride=2, padding=1)

    def forward(self, inputs):
        return self.conv(inputs) + inputs[..., ::2, ::2]


class Folding(nn.Module):
    """Smaller maps by a reshape that no module holds, after a pool that one does."""

    def __init__(self):
        super().__init__()
        self.pool = nn.AvgPool2d(2)

    def forward(self, inputs):
        return functional.pixel_unshuffle(self.pool(inputs), 2).mean(1, keepdim=True)


def images(channels, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, channels, size, size, generator=generator)


def stem(channels=4):
    return nn.Conv2d(3, channels, 3, stride=2, padding=1)


def reference_reduction(block, inputs, stride, padding):
    """Inception's block with all strides and paddings as given, branch by branch."""

    def last(layer, maps):
        convolved = functional.conv2d(maps, layer.conv.weight, stride=stride, padding=padding)
        return layer.bn(convolved)  # timm's kind, ReLU included

    if isinstance(block, InceptionB):
        double = block.branch3x3dbl_2(block.branch3x3dbl_1(inputs))
        branches = [last(block.branch3x3, inputs), last(block.branch3x3dbl_3, double)]
    else:
        single = block.branch3x3_1(inputs)
        deep = block.branch7x7x3_3(block.branch7x7x3_2(block.branch7x7x3_1(inputs)))
        branches = [last(block.branch3x3_2, single), last(block.branch7x7x3_4, deep)]
    return torch.cat([*branches, functional.max_pool2d(inputs, 3, stride, padding)], 1)


def test_convolutions_keep_kernel_and_padding():
    network = Levels(stem(), nn.Conv2d(4, 5, 3, stride=2, padding=1))
    weight, bias = network[1].weight, network[1].bias
    assert unstride(network, 1) == 2
    fine, coarse = network(images(3, 16))
    assert fine.shape[-1] == coarse.shape[-1] == 8
    torch.testing.assert_close(coarse, functional.conv2d(fine, weight, bias, padding=1))


@pytest.mark.parametrize("pool", [nn.MaxPool2d, nn.AvgPool2d])
def test_pools_without_overlap_vanish_and_overlapping_ones_move_by_one(pool):
    network = Levels(stem(), nn.Sequential(pool(2)), nn.Sequential(pool(3, 2, 1)))
    assert unstride(network, 2) == 4
    first, second, third = network(images(3, 16))
    torch.testing.assert_close(second, first, rtol=0, atol=0)
    torch.testing.assert_close(third, pool(3, 1, 1)(first))


def test_strides_of_other_sizes_are_returned_as_growth():
    network = Levels(stem(), nn.Conv2d(4, 4, 5, stride=4, padding=2))
    assert unstride(network, 1) == 4
    assert [level.shape[-1] for level in network(images(3, 16))] == [8, 8]


@pytest.mark.parametrize("block", [InceptionB, InceptionD])
@pytest.mark.parametrize("padded", [False, True])
def test_inceptions_reductions_follow_in_all_branches(block, padded):
    network = Levels(stem(6), block(6, partial(ConvNormAct, padding=0))).eval()
    if padded:
        pad_same(network)
        fine, coarse = network(images(3, 26))
        expected = reference_reduction(network[1].block, fine, stride=2, padding=1)
        torch.testing.assert_close(coarse, expected)
    assert unstride(network, 1) == 2
    fine, coarse = network(images(3, 26))
    assert coarse.shape[-1] == (13 if padded else 11)
    expected = reference_reduction(network[1].block, fine, stride=1, padding=int(padded))
    torch.testing.assert_close(coarse, expected)


def test_same_padding_reaches_every_unpadded_layer_and_no_other():
    network = Levels(
        nn.Conv2d(3, 4, 3, stride=2),
        nn.Conv2d(4, 4, (1, 5), padding=(0, 2)),
        nn.MaxPool2d(3, 2),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 1),
    )
    pad_same(network)
    assert [module.padding for module in network] == [(1, 1), (0, 2), (1, 1), 0, (0, 0)]
    assert [level.shape[-1] for level in network(images(3, 32))] == [16, 16, 8, 4, 4]


def test_modes_hooks_and_statistics_are_as_found():
    network = Levels(stem(), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, stride=2, padding=1))
    network[1].eval()
    unstride(network, 1)
    assert [module.training for module in network] == [True, False, True]
    assert not any(module._forward_pre_hooks for module in network.modules())
    assert network[1].num_batches_tracked == 0


@pytest.mark.parametrize(
    ("stage", "stages", "message"),
    [
        (nn.Conv2d(4, 4, 3, stride=2, padding=1), 3, "3, but only 2 stages"),
        (Residual(), 1, "branches no longer agree"),
        (Folding(), 1, "has 40 rows where 80 were expected"),
    ],
)
def test_networks_whose_strides_are_not_in_modules_are_refused(stage, stages, message):
    with pytest.raises(ValueError, match=message):
        unstride(Levels(stem(), stage), stages)

import pytest
import torch
from torch.nn import functional

from learned_saliency.models import CASM, CAMClassifier, MaskDecoder, MultiScaleBackbone
from tests.support.networks import TinyBackbone

CHANNELS, REDUCTIONS = (4, 6, 8), (2, 4, 8)


@pytest.fixture
def images():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def network(**options):
    torch.manual_seed(0)
    return CASM(CAMClassifier(TinyBackbone(), 5), **options)


def test_the_decoder_computes_what_the_paper_describes(images):
    """Written out by hand for one image: pooled stem, branches, concatenation, 3x3, sigmoid."""
    model = network(width=3, map_reduction=4).eval()
    with torch.no_grad():
        for branch in model.decoder.branches:
            branch[1].running_mean.normal_()
            branch[1].running_var.uniform_(0.5, 2)
        levels = model.classifier.levels(images)
        found = model.masks(images, levels)
        parts = [functional.max_pool2d(levels[0], 3, 2, 1)]
        for level, (convolution, norm, _) in zip(levels[1:], model.decoder.branches, strict=True):
            mixed = torch.einsum("bkhw,ok->bohw", level, convolution.weight[:, :, 0, 0])
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            shifted = (mixed - norm.running_mean[:, None, None]) * scale[:, None, None]
            active = (shifted + norm.bias[:, None, None]).clamp(min=0)
            parts.append(
                functional.interpolate(active, (8, 8), mode="bilinear", align_corners=False)
            )
        score = model.decoder.score
        scores = functional.conv2d(torch.cat(parts, 1), score.weight, score.bias, padding=1)
        mask = 1 / (1 + torch.exp(-scores))
        expected = functional.interpolate(mask, (32, 32), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found, expected[:, 0])


def test_resnet50_gets_the_papers_decoder():
    backbone = MultiScaleBackbone("resnet50")
    decoder = MaskDecoder(backbone.channels, backbone.reductions)
    assert [branch[0].weight.shape[:2] for branch in decoder.branches] == [
        (64, 256),
        (64, 512),
        (64, 1024),
        (64, 2048),
    ]
    assert decoder.score.weight.shape == (1, 64 + 4 * 64, 3, 3)
    with torch.no_grad():
        levels = backbone.eval()(torch.randn(1, 3, 224, 224))
        stem = backbone.network.maxpool(levels[0])
        found = decoder.eval()(levels, (56, 56))
        parts = [stem, *(b(x) for b, x in zip(decoder.branches, levels[1:], strict=True))]
        parts = [functional.interpolate(p, (56, 56), mode="bilinear") for p in parts]
        expected = decoder.score(torch.cat(parts, dim=1)).sigmoid()[:, 0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("wanted", "cells"), [(None, 16), (2, 16), (4, 8), (8, 4)])
def test_the_first_level_is_pooled_to_the_wanted_cells(images, wanted, cells):
    model = network(map_reduction=wanted, interpolation="nearest").eval()
    mask = model(images).saliency
    assert mask.shape == (2, 32, 32)
    coarse = mask[:, :: 32 // cells, :: 32 // cells]
    torch.testing.assert_close(
        coarse.repeat_interleave(32 // cells, 1).repeat_interleave(32 // cells, 2), mask
    )
    assert len(coarse[0].unique()) > cells  # as many different values as cells, about


def test_a_shared_encoder_learns_nothing_from_the_mask(images):
    model = network()
    model(images).saliency.sum().backward()
    assert all(p.grad is None for p in model.classifier.parameters())
    assert all(p.grad is not None for p in model.mask_parameters())


def test_a_separate_encoder_starts_as_a_copy_and_learns_alone(images):
    model = network(shared=False)
    theirs = dict(model.classifier.backbone.state_dict())
    torch.testing.assert_close(dict(model.encoder.state_dict()), theirs, rtol=0, atol=0)
    model(images).saliency.sum().backward()
    assert all(p.grad is None for p in model.classifier.parameters())
    assert all(p.grad is not None for p in model.mask_parameters())
    assert {id(p) for p in model.mask_parameters()} == {
        id(p) for part in (model.encoder, model.decoder) for p in part.parameters()
    }


def test_masks_do_not_depend_on_batch_mates(images):
    model = network().eval()
    with torch.no_grad():
        whole = model(images)
        alone = model(images[1:])
    torch.testing.assert_close(alone.saliency, whole.saliency[1:])
    torch.testing.assert_close(alone.logits, whole.logits[1:])


def test_a_frozen_classifier_stays_in_evaluation_mode_and_without_gradients():
    model = network()
    model.freeze_classifier()
    model.train()
    assert not any(module.training for module in model.classifier.modules())
    assert model.decoder.training
    assert not any(p.requires_grad for p in model.classifier.parameters())
    assert all(p.requires_grad for p in model.mask_parameters())


def test_bad_options_are_refused():
    for options, told in [
        ({"width": 0}, "width"),
        ({"interpolation": "cubic"}, "interpolation"),
        ({"map_reduction": 6}, "map_reduction"),
        ({"map_reduction": 0}, "map_reduction"),
    ]:
        with pytest.raises(ValueError, match=told):
            network(**options)

"""Boxes and mixed images against numbers worked out by hand and plain loops."""

import pytest
import torch

from learned_saliency.models import CutMix, cut_box, mix_images


@pytest.mark.parametrize(
    ("own_share", "center", "box"),
    [
        (0.75, (10, 20), (0, 12, 20, 28)),  # half of 40 x 32 pixels: 10 and 8 on each side
        (0.75, (38, 30), (28, 22, 40, 32)),  # cut off at the right and at the bottom
        (0.0, (0, 0), (0, 0, 20, 16)),  # as large as the image, a quarter of it inside
        (1.0, (7, 7), (7, 7, 7, 7)),
        (0.9, (20, 16), (14, 11, 26, 21)),  # 12.6 x 10.1 pixels: 6 and 5 on each side
    ],
)
def test_boxes_are_those_of_equation_2(own_share, center, box):
    assert cut_box(own_share, center, (32, 40)) == box


def loops(images, partners, box):
    x0, y0, x1, y1 = box
    mixed = images.clone()
    for image, partner in enumerate(partners.tolist()):
        for y in range(y0, y1):
            for x in range(x0, x1):
                mixed[image, :, y, x] = images[partner, :, y, x]
    return mixed


def test_a_box_of_each_image_is_its_partners():
    images = torch.randn(4, 3, 9, 7, generator=torch.Generator().manual_seed(0))
    given, partners, box = images.clone(), torch.tensor([2, 1, 3, 0]), (1, 0, 5, 8)
    assert torch.equal(mix_images(images, partners, box), loops(given, partners, box))
    assert torch.equal(images, given)


@pytest.mark.parametrize("seed", range(20))
def test_a_batch_is_mixed_with_one_box_and_permutation_and_the_share_is_that_of_the_pixels(seed):
    torch.manual_seed(seed)
    images = torch.arange(6.0)[:, None, None, None].expand(6, 3, 20, 30).contiguous()
    mixed = CutMix()(images)
    assert sorted(mixed.partners.tolist()) == list(range(6))
    for image, partner in enumerate(mixed.partners.tolist()):
        values = mixed.images[image]
        own = (values == image).float().mean().item()
        assert ((values == image) | (values == partner)).all()
        if partner != image:
            assert own == pytest.approx(mixed.share)
    box = (mixed.images != images).any(0)[0]
    assert torch.equal(box, box.any(1)[:, None] & box.any(0)[None])


def test_shares_and_mixed_batches_are_drawn_as_beta_and_probability_say():
    torch.manual_seed(0)
    images = torch.zeros(2, 1, 64, 64)
    shares = {
        beta: torch.tensor([CutMix(beta)(images).share for _ in range(400)]) for beta in (1, 20)
    }
    # a box of the drawn area a has in the mean (1 - sqrt(a) / 4)^2 of it inside the image
    area = torch.linspace(0, 1, 10001)
    expected = 1 - (area * (1 - area.sqrt() / 4) ** 2).mean()
    torch.testing.assert_close(shares[1].mean(), expected, atol=0.04, rtol=0)
    assert shares[20].std() < 0.12 < shares[1].std()
    unmixed = sum(CutMix(probability=0.3)(images).images is images for _ in range(400))
    assert 0.6 < unmixed / 400 < 0.8


def test_in_evaluation_images_pass_and_nothing_is_drawn():
    images = torch.randn(2, 3, 20, 20)
    before = torch.get_rng_state()
    mixed = CutMix().eval()(images)
    assert mixed.images is images
    assert (mixed.partners.tolist(), mixed.share) == ([0, 1], 1.0)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(CutMix(probability=0.0)(images).images, images)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"beta": 0.0}, "beta must be above 0"),
        ({"probability": -0.1}, r"probability must lie in \[0, 1\]"),
    ],
)
def test_options_out_of_range_are_told(options, told):
    with pytest.raises(ValueError, match=told):
        CutMix(**options)

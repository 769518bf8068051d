"""Hidden cells against plain loops over images and cells."""

import math

import pytest
import torch

from learned_saliency.models import HideAndSeek, hidden_pixels


def loops(cells, sizes, height, width, reference_size):
    """Pixels of hidden cells, cell by cell from the upper left corner on."""
    side = math.sqrt(height * width)
    hidden = torch.zeros(len(sizes), height, width, dtype=torch.bool)
    for image, size in enumerate(sizes):
        if size == 0:
            continue
        step = size * side / reference_size
        for row in range(math.ceil(height / step)):
            for column in range(math.ceil(width / step)):
                if cells[image][row][column]:
                    y0, y1 = math.ceil(row * step), math.ceil((row + 1) * step)
                    x0, x1 = math.ceil(column * step), math.ceil((column + 1) * step)
                    hidden[image, y0:y1, x0:x1] = True  # cut off at the border
    return hidden


@pytest.mark.parametrize(
    ("height", "width", "reference_size"),
    [(224, 224, 224), (64, 64, 224), (48, 48, 224), (18, 32, 24), (32, 18, 12)],
)
def test_hidden_pixels_are_those_of_a_plain_loop(height, width, reference_size):
    generator = torch.Generator().manual_seed(height)
    sizes = torch.tensor([0, 16, 32, 44, 56, 7])
    cells = torch.rand(6, 64, 64, generator=generator) < 0.5
    found = hidden_pixels(cells, sizes, (height, width), reference_size)
    wanted = loops(cells.tolist(), sizes.tolist(), height, width, reference_size)
    assert torch.equal(found, wanted)
    assert not found[0].any()


def test_a_batch_hides_what_its_draws_say_by_the_mean_and_leaves_the_given_images():
    images = torch.randn(5, 3, 64, 64, generator=torch.Generator().manual_seed(0)).add_(10)
    given = images.clone()
    hiding = HideAndSeek(sizes=[0, 16, 32, 44, 56], probability=0.3)
    torch.manual_seed(4)
    found = hiding(images)
    torch.manual_seed(4)
    sizes = hiding.sizes[torch.randint(5, (5,))].tolist()
    assert len(set(sizes)) > 2
    cells = (torch.rand(5, 14, 14) < 0.3).tolist()  # 224 pixels of cells of 16
    hidden = loops(cells, sizes, 64, 64, 224)
    assert torch.equal(found == 0, hidden[:, None].expand(-1, 3, -1, -1))
    assert torch.equal(found, torch.where(hidden[:, None], torch.zeros(()), given))
    assert torch.equal(images, given)


@pytest.mark.parametrize("probability", [0.0, 0.25, 0.5, 1.0])
def test_each_cell_is_hidden_with_the_probability(probability):
    torch.manual_seed(1)
    hiding = HideAndSeek(sizes=[32], probability=probability)
    found = hiding(torch.ones(200, 1, 14, 14)) == 0  # 49 cells of 2 x 2 pixels
    cells = found[:, 0, ::2, ::2].float()
    torch.testing.assert_close(cells.mean(), torch.tensor(probability), atol=0.02, rtol=0)
    assert torch.equal(found[:, 0, ::2, ::2], found[:, 0, 1::2, 1::2])


def test_sizes_are_drawn_alike_and_the_images_of_a_batch_apart():
    torch.manual_seed(2)
    found = HideAndSeek(sizes=[0, 224], probability=1.0)(torch.ones(400, 1, 8, 8)) == 0
    whole = found.flatten(1).float().mean(1)
    assert set(whole.tolist()) == {0.0, 1.0}
    assert 0.4 < float(whole.mean()) < 0.6


def test_in_evaluation_images_pass_and_nothing_is_drawn():
    images = torch.randn(2, 3, 20, 20)
    before = torch.get_rng_state()
    assert HideAndSeek().eval()(images) is images
    assert torch.equal(torch.get_rng_state(), before)
    assert not HideAndSeek().state_dict()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"sizes": []}, "sizes must be at least 0"),
        ({"sizes": [0]}, "one above 0"),
        ({"sizes": [-1, 4]}, "sizes must be at least 0"),
        ({"probability": 1.1}, r"probability must lie in \[0, 1\]"),
        ({"reference_size": 0}, "reference_size must be at least 1"),
    ],
)
def test_options_out_of_range_are_told(options, told):
    with pytest.raises(ValueError, match=told):
        HideAndSeek(**options)

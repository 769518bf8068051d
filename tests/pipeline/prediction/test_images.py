"""Pixels of images in any of their forms."""

import numpy as np
import pytest
import torch
from PIL import Image

from learned_saliency.pipeline.prediction.images import pixels_of

WIDTH, HEIGHT = 12, 7


def test_the_same_image_in_any_form(colors, saved):
    path = saved(colors, "a.png")
    for image in (
        path,
        str(path),
        Image.open(path),
        colors,
        colors.astype(np.uint16) * 256,
        colors.astype(np.float32) / 255,
        colors / 255.0,
        np.dstack([colors, np.full_like(colors[..., :1], 255)]),
        torch.from_numpy(colors).permute(2, 0, 1),
        torch.from_numpy(colors).permute(2, 0, 1) / 255,
        (torch.from_numpy(colors).permute(2, 0, 1).double() / 255).requires_grad_(),
    ):
        np.testing.assert_array_equal(pixels_of(image), colors)
    gray = np.repeat(colors[..., :1], 3, 2)
    np.testing.assert_array_equal(pixels_of(colors[..., 0]), gray)
    np.testing.assert_array_equal(pixels_of(torch.from_numpy(colors[None, ..., 0])), gray)


@pytest.mark.parametrize(
    ("image", "kind", "told"),
    [
        (np.zeros((3, 8, 8), np.uint8), ValueError, r"got \(3, 8, 8\)"),
        (np.zeros((0, 8, 3), np.uint8), ValueError, "with pixels"),
        (np.zeros((8, 8, 3), np.int64), TypeError, "int64"),
        (np.full((8, 8, 3), -0.5), ValueError, r"in \[0, 1\]"),
        (np.full((8, 8, 3), np.nan), ValueError, r"in \[0, 1\]"),
        (np.full((8, 8, 3), 255.0), ValueError, "are normalized here"),
        (torch.zeros(8, 8, 3), ValueError, r"tensor \(3, H, W\)"),
        (7, TypeError, "got int"),
        (None, TypeError, "got NoneType"),
    ],
)
def test_what_stands_for_no_image_is_refused(image, kind, told):
    with pytest.raises(kind, match=told):
        pixels_of(image)

"""Regions that are found band by band against those of the whole image."""

import cv2
import numpy as np
import pytest
import torch

from learned_saliency.metrics import boxes_from_saliency
from learned_saliency.pipeline.prediction.tiles.components import Regions


@pytest.mark.parametrize("seed", range(12))
def test_bands_give_the_regions_of_the_whole(seed):
    generator = np.random.default_rng(seed)
    image = (generator.random((60, 45)) < (0.3, 0.45, 0.6)[seed % 3]).astype(np.uint8)
    regions, row = Regions(*image.shape), 0
    while row < len(image):
        rows = int(generator.integers(1, 9))
        regions.add(image[row : row + rows])
        row += rows
    stats = cv2.connectedComponentsWithStats(image, connectivity=8)[2][1:]
    expected = sorted(
        (min(x, 44), min(y, 59), min(x + w, 44), min(y + h, 59), n)
        for x, y, w, h, n in stats.tolist()
    )
    found = regions.largest(10**6)
    assert sorted((*box, pixels) for box, pixels in found) == expected
    assert regions.count == len(expected)
    assert [region.pixels for region in found] == sorted((n for *_, n in expected), reverse=True)
    assert regions.largest(2) == found[:2]


def test_a_box_is_that_of_other_images():
    saliency = np.zeros((40, 50), np.float32)
    saliency[5:20, 8:30] = 1
    regions = Regions(40, 50)
    regions.add((saliency[:13] > 0).view(np.uint8))
    regions.add((saliency[13:] > 0).view(np.uint8))
    expected = boxes_from_saliency(torch.from_numpy(saliency)[None], 0.5)[0].tolist()
    assert list(regions.largest(1)[0].box) == expected

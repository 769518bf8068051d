"""Dense-CRF refinement: what its terms do, and what is refused."""

import sys

import cv2
import numpy as np
import pytest

from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.prediction.dense_crf import DenseCRF

pytest.importorskip("pydensecrf", reason="does not build on every Python")
LEFT = 20  # where the dark half of the image ends


@pytest.fixture
def image():
    pixels = np.full((32, 48, 3), 220, np.uint8)
    pixels[:, :LEFT] = 30
    return pixels


@pytest.fixture
def blurred():
    """A map that is high on the left and fades across the edge of the image."""
    ramp = 1 / (1 + np.exp((np.arange(48) - LEFT) / 4))
    return np.tile(ramp.astype(np.float32), (32, 1))


@pytest.mark.parametrize("neutral", [0.5, 0.3])
def test_without_pairs_the_unary_term_is_left(image, blurred, neutral):
    refine = DenseCRF(neutral=neutral, smooth_weight=0, bilateral_weight=0)
    p = blurred.clip(1e-4, 1 - 1e-4)
    odds = p / (1 - p) / (neutral / (1 - neutral))
    np.testing.assert_allclose(refine(image, blurred), odds / (1 + odds), atol=1e-5)
    if neutral == 0.5:
        np.testing.assert_allclose(refine(image, blurred), p, atol=1e-5)


def test_maps_become_sharp_at_the_edges_of_the_image(image, blurred):
    before = blurred.copy(), image.copy()
    found = DenseCRF(neutral=0.5, bilateral_xy=20)(image, blurred)
    assert found.dtype == np.float32
    assert found.shape == blurred.shape
    inner = found[4:-4]
    assert inner[:, : LEFT - 1].min() > 0.95
    assert inner[:, LEFT + 1 :].max() < 0.05
    np.testing.assert_array_equal(blurred, before[0])
    np.testing.assert_array_equal(image, before[1])


def test_a_small_object_is_not_outvoted_by_its_surroundings():
    """A disc of 8 % of the image, a little lighter than what lies around it, under a smooth map."""
    rows, columns = np.mgrid[:128, :128] - 64
    distance = np.hypot(rows, columns)
    noise = np.random.default_rng(0).normal(0, 4, (128, 128, 3))
    image = (110 + 6.0 * (distance < 21)[..., None] + noise).clip(0, 255).astype(np.uint8)
    saliency = np.exp(-((distance / 14) ** 2) / 2).astype(np.float32)
    before = (saliency > 0.3).mean()
    kept = (DenseCRF()(image, saliency) > 0.5).mean() / before
    assert 0.4 < kept < 1.2
    wide = (DenseCRF(bilateral_radius=None)(image, saliency) > 0.5).mean() / before
    assert wide < 0.2


def test_maps_of_zeros_stay_so(image):
    assert DenseCRF()(image, np.zeros((32, 48), np.float32)).max() < 0.01


def test_large_images_are_refined_at_a_smaller_size(image, blurred):
    large = cv2.resize(image, (480, 320), interpolation=cv2.INTER_NEAREST)
    refine = DenseCRF(max_side=48, bilateral_xy=20)
    found = refine(large, cv2.resize(blurred, (480, 320)))
    assert found.shape == (320, 480)
    small = refine(image, cv2.resize(cv2.resize(blurred, (480, 320)), (48, 32), interpolation=3))
    np.testing.assert_allclose(found, cv2.resize(small, (480, 320)), atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"iterations": 0},
        {"neutral": 1.0},
        {"smooth_weight": -1},
        {"max_side": 0},
        {"bilateral_radius": 0},
    ],
)
def test_options_out_of_range_are_told(options):
    with pytest.raises(UserError, match="crf"):
        DenseCRF(**options)


def test_a_missing_package_is_told_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    with pytest.raises(UserError, match="pip install pydensecrf2"):
        DenseCRF()

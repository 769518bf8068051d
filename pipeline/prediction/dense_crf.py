"""Refinement that sharpens maps along the edges of their images."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.prediction.images import Pixels

_LEAST = 1e-4  # probability: the logarithm stays finite


class DenseCRF:
    """Mean-field inference in a fully connected CRF (Kraehenbuehl and Koltun, NeurIPS 2011).

    One kernel lets pixels agree that lie close together, another kernel pixels that lie close and
    look alike.
    A map p gives the unary term -log p of the foreground and -log (1 - p) of the background, after
    the odds of p were divided by the odds of ``neutral``: maps that are normalized to [0, 1] are no
    probabilities, and at 0.5 much of an object belongs to the background.

    In mean-field inference a kernel of weight w adds w (2 m - 1) to the log-odds of a pixel, m the
    share of the foreground in what the kernel sees there. Where a kernel is wider than the object
    and the colors agree, m is near 0, and at the default weights a map's value must exceed 0.95 to
    outweigh it: of small objects a few pixels are left. So the kernel of positions and colors is
    narrowed to the object: a Gaussian of half its radius has 86 % of its weight inside a disc that
    it is centered on. Refine maps for boxes and outlines; what comes out is nearly 0 or 1
    everywhere and says nothing of degrees of evidence. Objects that look like their surroundings
    still lose area at their border.

    Args:
        iterations: Iterations of the inference, at least 1.
        neutral: Value of a map at which foreground and background are equally likely, in (0, 1);
            0.5 takes maps as probabilities.
        smooth_weight: Weight of the kernel of positions, 0 or more.
        smooth_xy: Standard deviation of this kernel in pixels, above 0.
        bilateral_weight: Weight of the kernel of positions and colors, 0 or more.
        bilateral_xy: Largest standard deviation of its positions in pixels, above 0.
        bilateral_radius: Largest share, above 0, that this standard deviation may have of the
            radius of a disc as large as the map's largest connected region above ``neutral``; None
            for ``bilateral_xy`` always.
        bilateral_rgb: Standard deviation of its colors in levels of 0..255, above 0.
        max_side: Longer side in pixels to which a larger image is reduced for the inference; the
            result is enlarged again. The standard deviations hold in the reduced image.

    Raises:
        UserError: If an option is out of range or pydensecrf is not installed.
    """

    def __init__(
        self,
        *,
        iterations: int = 5,
        neutral: float = 0.3,
        smooth_weight: float = 3.0,
        smooth_xy: float = 3.0,
        bilateral_weight: float = 4.0,
        bilateral_xy: float = 80.0,
        bilateral_radius: float | None = 0.5,
        bilateral_rgb: float = 13.0,
        max_side: int = 640,
    ) -> None:
        positive = {
            "iterations": iterations,
            "smooth_xy": smooth_xy,
            "bilateral_xy": bilateral_xy,
            "bilateral_rgb": bilateral_rgb,
            "bilateral_radius": 1 if bilateral_radius is None else bilateral_radius,
            "max_side": max_side,
        }
        for name, value in positive.items():
            if not value > 0:
                raise UserError(f"crf.{name}={value}: it must be above 0.")
        if not 0 < neutral < 1:
            raise UserError(f"crf.neutral={neutral}: it must be in (0, 1).")
        if min(smooth_weight, bilateral_weight) < 0:
            raise UserError("crf: the weights must not be negative.")
        try:
            from pydensecrf import densecrf
        except ImportError:
            raise UserError(
                "refine=crf needs the package pydensecrf, which is not installed: "
                "`pip install pydensecrf2` (Python up to 3.12, with a C++ compiler)."
            ) from None
        self._crf = densecrf.DenseCRF2D
        self.iterations = iterations
        self.neutral = neutral
        self.smooth = {"sxy": smooth_xy, "compat": smooth_weight}
        self.bilateral_xy = bilateral_xy
        self.bilateral_radius = bilateral_radius
        self.bilateral = {"srgb": bilateral_rgb, "compat": bilateral_weight}
        self.max_side = max_side

    def __call__(self, image: Pixels, saliency: NDArray[np.float32]) -> NDArray[np.float32]:
        """Sharpen a map.

        Args:
            image: uint8 (H, W, 3).
            saliency: Shape (H, W) in [0, 1].

        Returns:
            Probabilities of the foreground, float32 (H, W) in [0, 1].
        """
        height, width = saliency.shape
        scale = min(1.0, self.max_side / max(height, width))
        if scale == 1:
            return self._infer(image, saliency)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        refined = self._infer(small, cv2.resize(saliency, size, interpolation=cv2.INTER_AREA))
        return cv2.resize(refined, (width, height), interpolation=cv2.INTER_LINEAR)

    def _infer(self, image: Pixels, saliency: NDArray[np.float32]) -> NDArray[np.float32]:
        height, width = saliency.shape
        p = saliency.clip(_LEAST, 1 - _LEAST).ravel()
        foreground = p / (p + self.neutral / (1 - self.neutral) * (1 - p))
        field = self._crf(width, height, 2)
        field.setUnaryEnergy(-np.log(np.stack([1 - foreground, foreground])))
        field.addPairwiseGaussian(**self.smooth)
        pixels, width_xy = np.ascontiguousarray(image), self._bilateral_xy(saliency)
        field.addPairwiseBilateral(rgbim=pixels, sxy=width_xy, **self.bilateral)
        found = np.array(field.inference(self.iterations))  # (2, H * W)
        return found[1].reshape(height, width).clip(0, 1)

    def _bilateral_xy(self, saliency: NDArray[np.float32]) -> float:
        """Standard deviation of positions, in pixels, that fits the object in a map."""
        if self.bilateral_radius is None:
            return self.bilateral_xy
        above = (saliency > self.neutral).astype(np.uint8)
        areas = cv2.connectedComponentsWithStats(above)[2][1:, cv2.CC_STAT_AREA]
        radius = np.sqrt(areas.max(initial=1) / np.pi)
        return min(self.bilateral_xy, max(1.0, self.bilateral_radius * float(radius)))

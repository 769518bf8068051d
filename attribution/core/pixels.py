"""Base of methods whose map is a gradient by the image, and gradients under backward rules."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from learned_saliency.attribution.core.method import PostHocMethod, Query
from learned_saliency.ops import blur, full_precision, widen

#: Names of the functions that are rectifiers; ReLU6 modules call ``hardtanh``.
RECTIFIERS = ("relu", "relu6", "hardtanh")


class PixelGradient(PostHocMethod):
    """A method whose map is a gradient by the image, often with the network run in its own way.

    The largest absolute value over the three colors counts, and the map is blurred. A subclass
    supplies `_gradients`, or `attributions`.

    Args:
        blur_sigma: Standard deviation of the Gaussian blur, in pixels, at least 0; 0 is no blur.
        batch_size: Images in one pass of the network, at least 1; bounds memory.
        **options: See `PostHocMethod`.

    Raises:
        ValueError: If an option is out of its range.
    """

    needs_gradients = True

    def __init__(self, *, blur_sigma: float = 5.0, batch_size: int = 32, **options: str) -> None:
        super().__init__(**options)
        if blur_sigma < 0 or batch_size < 1:
            raise ValueError(
                f"expected blur_sigma >= 0 and batch_size >= 1, got {blur_sigma} and {batch_size}"
            )
        self.blur_sigma = blur_sigma
        self.batch_size = batch_size

    def attributions(self, query: Query) -> Tensor:
        """Compute the gradient of every pixel.

        Returns:
            Shape (B, 3, H, W), one per color, any sign.
        """
        every = torch.arange(len(query.images), device=query.images.device)
        return torch.cat([self._gradients(query, rows) for rows in every.split(self.batch_size)])

    def _cams(self, query: Query) -> Tensor:
        return blur(self.attributions(query).abs().amax(dim=1), self.blur_sigma)

    def _gradients(self, query: Query, rows: Tensor) -> Tensor:
        """Compute the gradients (R, 3, H, W), at least float32, of the images ``rows`` (R,)."""
        raise NotImplementedError

    def _check_rectifiers(self, seen: int) -> None:
        """Raise ValueError if the network called no rectifier."""
        if not seen:
            raise ValueError(
                f"{type(self).__name__} changes how gradients pass ReLUs, and the network calls "
                "none; take IntegratedGradients, or a method of the CAM family"
            )


def gradient_within(
    query: Query, rows: Tensor, mode: TorchFunctionMode, targets: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Run the network once within a mode, and go back to the images once.

    Args:
        query: The batch to explain.
        rows: Images, int (R,), values in [0, B).
        mode: The mode, which changes functions or what is handed back by them.
        targets: Classes to explain, int64 (R,); by default those of the query, which are the
            predicted ones if none were given.

    Returns:
        Gradient of each score by its image, shape (R, 3, H, W), at least float32; and the classes.
    """
    with torch.enable_grad():
        leaf = query.images[rows].requires_grad_()
        with mode:
            logits = query.run(leaf, rows)
        if targets is None:
            targets = query.own_targets(logits, rows)
        score = query.class_scores(logits, targets[:, None]).sum()
    with full_precision(leaf.device):
        return widen(torch.autograd.grad(score, leaf)[0]), targets

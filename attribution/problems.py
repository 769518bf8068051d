"""The problem that Opti-CAM solves for each image of a batch."""

from typing import NamedTuple

import torch
from torch import Tensor

from learned_saliency.attribution.core.method import Query
from learned_saliency.attribution.objectives import MaskObjective
from learned_saliency.ops import full_precision


class MaskProblem(NamedTuple):
    """F of Eq. 10 for some images, as a function of their u.

    Attributes:
        objective: F and n.
        query: The batch.
        rows: Rows of these images in the query, int64 (R,).
        images: Shape (R, 3, H, W).
        features: Activations (R, K, h, w).
        targets: Classes, int64 (R,).
        original: Scores of the images as they are, (R,).
    """

    objective: MaskObjective
    query: Query
    rows: Tensor
    images: Tensor
    features: Tensor
    targets: Tensor
    original: Tensor

    @classmethod
    def of(cls, objective: MaskObjective, query: Query, rectify: bool) -> "MaskProblem":
        """Pose the problem of all images of a batch, on features without negative values or not."""
        images = query.images.clone() if query.images.is_inference() else query.images
        features = query.features.relu() if rectify else query.features
        original = query.score.detach()
        rows = torch.arange(len(images), device=images.device)
        return cls(objective, query, rows, images, features, query.targets, original)

    def pick(self, kept: Tensor) -> "MaskProblem":
        """Return the problem of the images for which ``kept``, bool (R,), is true."""
        objective, query, *parts = self
        return MaskProblem(objective, query, *(part[kept] for part in parts))

    def _run(self, shown: Tensor) -> Tensor:
        """Run the network on masked images, those of each mask in turn: (N * R, 3, H, W)."""
        return self.query.run(shown, self.rows.repeat(len(shown) // len(self.rows)))

    def masks(self, u: Tensor) -> Tensor:
        """Compute the masks n(up(S)), (R, H, W) in [0, 1], from u (R, K)."""
        with full_precision(u.device):
            maps = torch.einsum("bk,bkhw->bhw", u.softmax(dim=1), self.features)  # Eq. 8
        return self.objective.masks(maps, self.images.shape[-2:])

    def evaluate(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Compute F, shape (R,), and its gradient (R, K), at u (R, K)."""
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            value = self.objective(
                self._run,
                self.images,
                self.masks(u),
                self.targets,
                self.original,
                self.query.activation,
            )
            if not value.requires_grad:  # the logits do not depend on the image
                return value, torch.zeros_like(u)
            with full_precision(u.device):
                (gradient,) = torch.autograd.grad(value.sum(), u)
        return value.detach(), gradient

"""Training of SPG, a CAM classifier that learns foreground from its own maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from learned_saliency.losses import SPGLoss
from learned_saliency.models import SPG
from learned_saliency.ops import maximum_of_present, min_max
from learned_saliency.trainers.cam import CAMModule, ClassifierLosses


class SPGModule(CAMModule):
    """Module that trains a CAM classifier by self-produced guidance (Zhang et al., ECCV 2018).

    In multi-label tasks the attention map that guides is the maximum of the normalized maps of the
    image's classes: the branches tell object from background, whatever the object is. An image
    without a class has no attention map, and guides branch B2 nowhere.

    The native map is the class map of the network, as that of a CAM classifier.

    Args:
        network: A `models.SPG`.
        loss: The losses of labels and guidance.
        **options: See `CAMModule`.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"multiclass", "multilabel", "binary"})
    refusals: ClassVar[Mapping[str, str]] = {
        "regression": "is guided by the maps of the classes that an image has, and there are none"
    }
    network: SPG

    def __init__(self, *, loss: SPGLoss, **options: Any) -> None:
        super().__init__(**options)
        self.loss = loss

    @property
    def compiled_parts(self) -> list[nn.Module]:
        """The backbone; see `SaliencyModule`."""
        return [self.network.backbone]

    def losses(self, images: Tensor, labels: Tensor) -> ClassifierLosses:
        """Compute the cross-entropies of labels and guidance.

        Args:
            images: Normalized images of shape (B, 3, H, W).
            labels: What the task learns of them; see `CAMModule.losses`.
        """
        found = self.network.branches(images)
        with torch.no_grad():
            if labels.dtype == torch.bool:
                maps = min_max(self.network.cams(found.features))
                cams = maximum_of_present(maps, labels)
            else:
                cams = self.network.cams(found.features, labels)
        branches = (found.shallow, found.deep, found.last)
        terms = self.loss(found.logits, cams, branches, labels, images.shape[-2:])
        return ClassifierLosses(terms._asdict(), found.logits)

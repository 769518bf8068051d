"""Training of Real Time Image Saliency, a network that masks the evidence of a class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from learned_saliency.datamodules import WSOLBatch
from learned_saliency.losses import AlternativeImages, RTISLoss
from learned_saliency.models import RTIS, MultiScaleClassifier
from learned_saliency.trainers.base import SaliencyModule
from learned_saliency.trainers.outputs import Explanation, NativeMap

_AT_ONCE = 32  # masks of as many classes are made in one pass of the decoder


class RTISModule(SaliencyModule):
    """Module that trains a masking network on a frozen classifier (Dabkowski and Gal, 2017).

    A step takes levels and logits of the frozen classifier (no gradient) and each image's true
    class, the predicted class where the true one is unknown. A part of the images is asked for a
    fake class instead, one of the others at random. Of the rest the classifier sees what the mask
    keeps and what it leaves, Phi(X, M) and Phi(X, 1 - M), in one pass whose gradient goes to the
    mask alone. The fake classes are drawn on the CPU, the images that are mixed in on the device.

    The native map of a class is its mask, as it is, without min-max normalization.

    Args:
        network: A `models.RTIS`.
        loss: Objective of the masks.
        alternatives: Images that are mixed in, drawn anew for each of the two mixtures.
        fake_probability: Probability that an image is asked for a fake class, in [0, 1).
        **options: See `SaliencyModule`.

    Raises:
        ValueError: If ``fake_probability`` is out of range.
    """

    network: RTIS
    for_given: ClassVar[Mapping[str, Any]] = {}  # a given classifier needs no other values

    def __init__(
        self,
        *,
        network: RTIS,
        loss: RTISLoss,
        alternatives: AlternativeImages,
        fake_probability: float = 0.3,
        **options: Any,
    ) -> None:
        super().__init__(network=network, **options)
        if not 0 <= fake_probability < 1:
            raise ValueError(f"fake_probability must be in [0, 1), got {fake_probability}")
        self.loss = loss
        self.alternatives = alternatives
        self.fake_probability = fake_probability
        self._finer = WeakTensorKeyDictionary()  # finer levels of features that are still in use

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the levels of earlier passes, which copies and files do not need."""
        state = super().__getstate__()
        del state["_finer"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin without levels of earlier passes."""
        super().__setstate__(state)
        self._finer = WeakTensorKeyDictionary()

    @property
    def classifier(self) -> MultiScaleClassifier:
        """The frozen classifier that is explained."""
        return self.network.classifier

    @property
    def native(self) -> NativeMap:
        """Mask of a class: how much of each pixel is kept, a score."""
        return NativeMap(per_class=True, probabilities=False)

    @property
    def compiled_parts(self) -> list[nn.Module]:
        """The frozen backbone, for clean and for masked images, and the decoder."""
        return [self.classifier.backbone, self.network.decoder]

    def explain(self, images: Tensor, labels: Tensor | None) -> Explanation:
        """Compute masks of the given classes; see `SaliencyModule.explain`."""
        levels, logits = self.network.classify(images)
        if not torch.compiler.is_compiling():
            self._finer[levels[-1]] = levels[:-1]
        targets = self.known_targets(labels, logits)
        masks = self.network(levels, targets, images.shape[-2:]).masks
        return Explanation(masks, logits, levels[-1])

    def native_maps(self, features: Tensor, images: Tensor, targets: Tensor) -> Tensor:
        """Compute masks of further classes; see `SaliencyModule.native_maps`.

        The finer levels are those of the pass that gave the features. They are kept as long as the
        features are; of features from elsewhere it takes another pass.
        """
        finer = self._finer.get(features)
        if finer is None:
            return super().native_maps(features, images, targets)
        return self.network([*finer, features], targets, images.shape[-2:]).masks

    def explain_all(self, images: Tensor) -> Explanation:
        """Compute masks of all classes from one pass; see `SaliencyModule.explain_all`."""
        levels, logits = self.network.classify(images)
        masks = []
        for classes in torch.arange(logits.shape[1], device=images.device).split(_AT_ONCE):
            repeated = [level.repeat_interleave(len(classes), dim=0) for level in levels]
            found = self.network(repeated, classes.repeat(len(images)), images.shape[-2:]).masks
            masks.append(found.unflatten(0, (len(images), len(classes))))
        return Explanation(torch.cat(masks, dim=1), logits, levels[-1])

    def training_step(self, batch: WSOLBatch, batch_idx: int) -> Tensor:
        """Compute the objective of the masks (Eq. 3)."""
        images = batch["image"]
        levels, logits = self.network.classify(images)
        targets = self.known_targets(batch["label"], logits)
        shift, real = self._draw(len(images), logits.shape[1])
        asked = (targets + shift.to(targets.device)) % logits.shape[1]
        found = self.network(levels, asked, images.shape[-2:])
        real = real.to(targets.device)
        preserved, destroyed = self._mixed_logits(images[real], found.masks[real], logits)
        terms = self.loss(found.masks, found.presence, real, preserved, destroyed, targets[real])
        self.log_losses(terms.total, terms.parts(), len(images))
        self.log_means({"train/mask_area": found.masks.detach().mean()}, len(images), on_step=False)
        return terms.total

    def _draw(self, images: int, classes: int) -> tuple[Tensor, Tensor]:
        """Draw what is added to each image's class, 0 for a real one; list the rows of the real."""
        fake = torch.rand(images) < self.fake_probability
        shift = torch.where(fake, torch.randint(1, classes, (images,)), 0)
        return shift, (~fake).nonzero()[:, 0]

    def _mixed_logits(self, images: Tensor, masks: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Classify Phi(X, M) and Phi(X, 1 - M) of R images, each to (R, C)."""
        if not len(images):
            return logits[:0], logits[:0]
        mixed = []
        for shown in (masks, 1 - masks):
            hidden = self.alternatives(images, self.mean, self.std)
            shown = shown[:, None].to(images.dtype)
            mixed.append(images * shown + hidden * (1 - shown))
        preserved, destroyed = self.classifier(torch.cat(mixed)).chunk(2)
        return preserved, destroyed

"""Training of Real Time Image Saliency, a network that masks the evidence of a class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from learned_saliency.datamodules import WSOLBatch
from learned_saliency.losses import AlternativeImages, RTISLoss
from learned_saliency.models import RTIS, MultiScaleClassifier
from learned_saliency.trainers.base import SaliencyModule
from learned_saliency.trainers.of_features import OfFeatures
from learned_saliency.trainers.outputs import Explanation, NativeMap

_AT_ONCE = 32  # masks of as many classes are made in one pass of the decoder


class RTISModule(SaliencyModule):
    """Module that trains a masking network on a frozen classifier (Dabkowski and Gal, 2017).

    A step takes levels and logits of the frozen classifier (no gradient) and each image's true
    class, the predicted class where the true one is unknown. A part of the images is asked for a
    fake class instead, one of the others at random. Of the rest the classifier sees what the mask
    keeps and what it leaves, Phi(X, M) and Phi(X, 1 - M), in one pass whose gradient goes to the
    mask alone. The fake classes are drawn on the CPU, the images that are mixed in on the device.
    In multi-label tasks the real class is one of the image's classes, drawn anew each epoch, the
    fake one of the classes that it does not have, and f_c the sigmoid of the class: an image
    without a class is always asked for a fake one, one with all of them never.

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

    tasks: ClassVar[frozenset[str]] = frozenset({"multiclass", "multilabel"})
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
        self._finer = OfFeatures()  # finer levels

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
        self._finer.keep(levels[-1], levels[:-1])
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
        count, masks = logits.shape[0], []
        for classes in torch.arange(logits.shape[1], device=images.device).split(_AT_ONCE):
            shape = count, classes.shape[0]
            repeated = [level[:, None].expand(*shape, -1, -1, -1).flatten(0, 1) for level in levels]
            targets = classes.expand(shape).flatten()
            found = self.network(repeated, targets, images.shape[-2:]).masks
            masks.append(found.unflatten(0, shape))
        return Explanation(torch.cat(masks, dim=1), logits, levels[-1])

    def training_step(self, batch: WSOLBatch, batch_idx: int) -> Tensor:
        """Compute the objective of the masks (Eq. 3)."""
        images = batch["image"]
        levels, logits = self.network.classify(images)
        asked, real = self._ask(batch, logits)
        found = self.network(levels, asked, images.shape[-2:])
        mixed = self._mixed_logits(images[real], found.masks[real], logits)
        parts = found.masks, found.presence, real, *mixed, asked[real]
        terms = self.loss(*parts, activation=self.task.activation)
        self.log_losses(terms.total, terms.parts(), len(images))
        self.log_means({"train/mask_area": found.masks.detach().mean()}, len(images), on_step=False)
        return terms.total

    def _ask(self, batch: WSOLBatch, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Draw the class that is asked of each image, (B,), and list the rows of the real ones."""
        images, classes = logits.shape
        if not self.task.exclusive:
            fake = torch.rand(images) < self.fake_probability
            return _draw_absent(batch["label"], self.task.present(batch, logits), fake)
        targets = self.known_targets(batch["label"], logits)
        shift, real = self._draw(images, classes)
        return (targets + shift.to(targets.device)) % classes, real.to(targets.device)

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


def _draw_absent(labels: Tensor, present: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Draw an absent class of the images that are to have a fake one.

    Args:
        labels: One of the classes of each image, int64 (B,), -1 where it has none.
        present: Whether each image has each class, bool (B, C).
        fake: Whether a fake class is wanted, bool (B,) on the CPU.

    Returns:
        Classes, int64 (B,), and the rows of those that the images have, int64 (R,).
    """
    chances = torch.rand(present.shape).to(present.device).masked_fill(present, -1.0)
    wanted = (fake.to(labels.device) | (labels < 0)) & ~present.all(dim=1)
    return torch.where(wanted, chances.argmax(dim=1), labels), (~wanted).nonzero()[:, 0]

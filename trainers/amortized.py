"""Training of amortized Opti-CAM, a network that gives Opti-CAM's map in one pass."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from learned_saliency.attribution import MaskObjective
from learned_saliency.datamodules import WSOLBatch
from learned_saliency.models import Amortized, AmortizedOutput, MultiScaleClassifier
from learned_saliency.ops import activation_of, widen
from learned_saliency.trainers.base import SaliencyModule
from learned_saliency.trainers.outputs import Explanation, NativeMap


class AmortizedModule(SaliencyModule):
    """Module that trains a network to give Opti-CAM's map in one pass, on a frozen classifier.

    A step takes features and logits of the frozen classifier (no gradient), the network's raw map
    of one of the most probable classes, n(S) at the size of the image, and minus the mean of the
    objective F (paper 000, Eq. 10), for which the classifier sees the masked images once, forward
    and backward. Labels are not read. With ``targets=1`` the predicted class is explained;
    otherwise each step draws one of each image's ``targets`` most probable classes.

    In multi-label tasks the most probable classes are those of the highest logits, too, whether the
    image has them or not.

    The native map of a class is n(S), the very mask that is trained.

    Args:
        network: A `models.Amortized`.
        objective: What is maximized.
        targets: Number of an image's most probable classes of which a step draws one, at least 1.
        gradient_clip: Largest norm of the gradient of a step, above 0: images that have nearly lost
            their class would lead otherwise.
        **options: See `SaliencyModule`.

    Raises:
        ValueError: If ``targets`` or ``gradient_clip`` is out of range.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"multiclass", "multilabel"})
    network: Amortized
    for_given: ClassVar[Mapping[str, Any]] = {}  # a given classifier needs no other values

    def __init__(
        self,
        *,
        network: Amortized,
        objective: MaskObjective,
        targets: int = 1,
        gradient_clip: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(network=network, **options)
        if targets < 1 or not gradient_clip > 0:
            raise ValueError(
                "targets must be at least 1 and gradient_clip above 0, "
                f"got {targets} and {gradient_clip}"
            )
        self.gradient_clip = gradient_clip
        self.objective = objective
        self.targets = targets

    @property
    def classifier(self) -> MultiScaleClassifier:
        """The frozen classifier that is explained."""
        return self.network.classifier

    @property
    def native(self) -> NativeMap:
        """The trained mask of a class, a score of any kind."""
        return NativeMap(per_class=True, probabilities=False)

    @property
    def compiled_parts(self) -> list[nn.Module]:
        """The frozen backbone, for clean and for masked images, and what is trained."""
        return [self.classifier.backbone, self.network.form]

    @property
    def export_obstacle(self) -> str | None:
        """Tell that the gradient of a head is needed that has no closed form."""
        if self.network.has_closed_form:
            return None
        return (
            f"the map reads the gradient of the head of {type(self.classifier).__name__}, which a "
            "graph can hold only where it has a closed form, as that of a CAM classifier; "
            "format=safetensors keeps the weights"
        )

    @property
    def map_parts(self) -> dict[str, Any]:
        """Arguments of `attribution.Amortized` with which it gives the native map."""
        return {
            "network": self.network.form,
            "normalization": self.objective.normalization,
            "interpolation": self.objective.interpolation,
        }

    def explain(self, images: Tensor, labels: Tensor | None) -> Explanation:
        """Compute masks of the given classes; see `SaliencyModule.explain`."""
        targets = partial(self.known_targets, labels)
        return self._explanation(self.network(images, targets), images)

    def native_maps(self, features: Tensor, images: Tensor, targets: Tensor) -> Tensor:
        """Compute masks from the features of an earlier pass; see `SaliencyModule.native_maps`.

        Where the head reads more of the image than the features, and these are not of the latest
        pass, it takes another one.
        """
        if hasattr(self.classifier, "head_of"):
            try:
                self.classifier.head_of(features)
            except RuntimeError:
                return super().native_maps(features, images, targets)
        return self._explanation(self.network.explain(features, targets), images).saliency

    def explain_all(self, images: Tensor) -> Explanation:
        """Compute masks of all classes from one pass; see `SaliencyModule.explain_all`."""
        with torch.no_grad():
            features = self.classifier.levels(images)[-1]
            logits = self.classifier.head(features)
        count, classes = logits.shape
        every = torch.arange(classes, device=features.device).repeat(count)
        found = self.network.explain(features.repeat_interleave(classes, dim=0), every)
        masks = self.objective.masks(found.maps, images.shape[-2:])
        return Explanation(masks.unflatten(0, (count, classes)), logits, features)

    def _explanation(self, output: AmortizedOutput, images: Tensor) -> Explanation:
        masks = self.objective.masks(output.maps, images.shape[-2:])
        return Explanation(masks, output.logits, output.features)

    def training_step(self, batch: WSOLBatch, batch_idx: int) -> Tensor:
        """Compute minus the mean objective of the network's masks (Eq. 10)."""
        images = batch["image"]
        output = self.network(images, self._draw)
        masks = self.objective.masks(output.maps, images.shape[-2:])
        targets, activation = output.targets, activation_of(self.classifier)
        original = self.objective.select(widen(output.logits), targets, activation)
        values = self.objective(self.classifier, images, masks, targets, original, activation)
        loss = -values.mean()
        self.log_losses(loss, {}, len(images))
        self.log_means({"train/mask_area": masks.detach().mean()}, len(images), on_step=False)
        return loss

    def _draw(self, logits: Tensor) -> Tensor:
        """Draw one of each image's most probable classes, int64 (B,)."""
        known = logits.topk(min(self.targets, logits.shape[1])).indices
        if self.targets == 1:
            return known[:, 0]
        chosen = torch.randint(known.shape[1], (len(known), 1), device=known.device)
        return known.gather(1, chosen)[:, 0]

    def configure_gradient_clipping(
        self, optimizer: torch.optim.Optimizer, *given: Any, **options: Any
    ) -> None:
        """Clip the norm of the gradient; the trainer itself is not asked to."""
        self.clip_gradients(optimizer, self.gradient_clip, "norm")

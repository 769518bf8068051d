"""Training of F-CAM, a decoder that learns full-resolution maps from coarse maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from learned_saliency.attribution import PostHocMethod, SharedFeatures
from learned_saliency.datamodules import WSOLBatch
from learned_saliency.losses import FCAMLoss, SeedSampler, class_seeds, joint_seeds
from learned_saliency.models import FCAM, FCAMOutput
from learned_saliency.trainers.foreground import ForegroundModule
from learned_saliency.trainers.gradient_shares import gradient_norms, norm_shares


class FCAMModule(ForegroundModule):
    """Module that trains the decoder of F-CAM (Belharbi et al., WACV 2022) on a frozen classifier.

    A step takes features of the frozen classifier (no gradient), the map of the true class by
    ``seed_method`` on these features (of the predicted class where the true one is unknown), a few
    foreground and background pixels drawn from the map (Eq. 1-2), and the pixel alignment loss of
    the decoder's two maps (Eq. 3). The classification term of Eq. 3 belongs to the classifier's own
    training, which comes before. The barrier's t grows after each epoch.

    In multi-label tasks the maps of all classes of the image are drawn from. The network's one
    foreground learns from their maximum (`joint_seeds`); where it has one of each class, each
    learns from its class's map (`class_seeds`). An image without a class is background everywhere.

    Args:
        network: A `models.FCAM`.
        seed_method: Post-hoc method from whose maps of that class pseudo-labels are drawn.
        sampler: Sampler of the pseudo-labeled pixels.
        loss: Pixel alignment loss.
        gradient_shares: Number N of steps, >= 1; every N-th logs each term's share of the
            gradient at the decoder's foreground scores, as ``train/gradient_share/<term>``; see
            `gradient_norms`. It is that of the batch that makes the step, of norms that are means
            over the processes. None for none; the training is the same.
        **options: See `SaliencyModule`.
    """

    tasks: ClassVar[frozenset[str]] = frozenset(
        {"multiclass", "multilabel", "binary", "regression"}
    )

    def __init__(
        self,
        *,
        network: FCAM,
        seed_method: PostHocMethod,
        sampler: SeedSampler,
        loss: FCAMLoss,
        gradient_shares: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(network=network, **options)
        if self.network.per_class and not self.has_classes:
            raise ValueError("a foreground of each class needs classes: values share one")
        if gradient_shares is not None and gradient_shares < 1:
            raise ValueError(f"gradient_shares must be at least 1 or None, got {gradient_shares}")
        self.seed_method = seed_method
        self.sampler = sampler
        self.loss = loss
        self.gradient_shares = gradient_shares

    @property
    def shard_obstacle(self) -> str | None:
        """Tell where pseudo-labels are drawn from more than the classifier's last features."""
        obstacle = self.seed_method.export_obstacle
        return super().shard_obstacle or (obstacle and f"of its pseudo-labels, {obstacle}")

    def on_train_epoch_start(self) -> None:
        """Set the random state, including the sampler's."""
        super().on_train_epoch_start()
        self.sampler.reseed(self.epoch_seed())

    def random_state(self) -> dict[str, Tensor]:
        """Return the states of all generators, the sampler's included."""
        sampler = self.sampler.random_state
        return super().random_state() | ({} if sampler is None else {"sampler": sampler})

    def set_random_state(self, states: Mapping[str, Tensor]) -> None:
        """Go on drawing from a `random_state`."""
        super().set_random_state(states)
        if "sampler" in states:
            self.sampler.set_random_state(states["sampler"], self.device)

    def training_step(self, batch: WSOLBatch, batch_idx: int) -> Tensor:
        """Compute the pixel alignment loss of the decoder's maps (Eq. 3)."""
        images = batch["image"]
        output = self.network(images)
        with torch.no_grad():
            pseudo_labels, present = self._draw(batch, output)
        terms = self.loss(output.scores, pseudo_labels, self.colors(images), present)
        self.log_losses(terms.total, terms.parts(), len(images))
        self._log_gradient_shares(terms.parts(), output.scores)
        return terms.total

    def _log_gradient_shares(self, terms: Mapping[str, Tensor], scores: Tensor) -> None:
        """Log the terms' parts of the gradient, if this batch makes a step that is to be logged."""
        every, step = self.gradient_shares, self.global_step
        if every is None or step % every or self.accumulates:
            return
        norms = self.trainer.strategy.reduce(gradient_norms(terms, scores), reduce_op="mean")
        shares = zip(terms, norm_shares(norms).tolist(), strict=True)
        values = {f"train/gradient_share/{name}": share for name, share in shares}
        for logger in self.loggers:  # whatever batches Lightning writes the curves of
            logger.log_metrics(values | {"epoch": self.current_epoch}, step)

    def _draw(self, batch: WSOLBatch, output: FCAMOutput) -> tuple[Tensor, Tensor | None]:
        """Draw pseudo-labels (B, H, W), and tell which foregrounds each image has, (B, F)."""
        images, logits = batch["image"], output.logits
        shared = SharedFeatures(self.classifier, images, output.features)
        # A GPU's maps are in [0, 1] as they are made; to look would keep its host waiting.
        check = not images.is_cuda
        if self.task.exclusive and not self.network.per_class:
            targets = self.known_targets(batch["label"], logits)
            return self.sampler(self.seed_method(shared, images, targets), check=check), None
        present = self.task.present(batch, logits)
        most = max(1, int(present.sum(dim=1).max()))
        targets = present.int().argsort(dim=1, descending=True, stable=True)[:, :most]
        maps, among = (
            self.seed_method.of_classes(shared, images, targets),
            present.gather(1, targets),
        )
        if self.network.per_class:
            return class_seeds(self.sampler, maps, targets, among, check), present
        return joint_seeds(self.sampler, maps, among, check), present.any(dim=1, keepdim=True)

    def on_train_epoch_end(self) -> None:
        """Raise the barrier's t."""
        super().on_train_epoch_end()
        self.loss.temperature.step()

"""Training of a supervised bound: F-CAM's network, shown true masks or boxes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from learned_saliency.datamodules import WSOLBatch
from learned_saliency.losses import SupervisedLoss
from learned_saliency.models import FCAM
from learned_saliency.trainers.foreground import ForegroundModule
from learned_saliency.trainers.outputs import LearnedShare


class SupervisedModule(ForegroundModule):
    """Module that trains F-CAM's decoder by full supervision, a bound for what F-CAM can reach.

    Network, frozen classifier, optimizer and evaluation are F-CAM's; pseudo-labels, size constraint
    and CRF loss give way to the cross-entropy of every pixel against the truth. It is learned from
    one share of ``val``; the other one chooses the checkpoint and the box threshold. The classifier
    is F-CAM's too, trained on the labels of ``train`` and chosen on the whole of ``val``: it is the
    same for all epochs between which the other share chooses.

    Choe et al. (CVPR 2020) have such a bound, the few-shot learning baseline (FSL). What differs:
    they train a whole classification network whose last layer is a convolution to one score per
    cell, and take all of ``val`` for the training.

    Args:
        network: A `models.FCAM`.
        loss: The loss of a batch.
        share: Part of the images of ``val`` to learn from, in (0, 1).
        split_seed: Seed by which these images are drawn, 0 or more.
        **options: See `SaliencyModule`.

    Raises:
        ValueError: If ``share`` or ``split_seed`` is out of range.
    """

    refusals: ClassVar[Mapping[str, str]] = {
        "multilabel": "learns one foreground from masks or boxes, of which an image has others for "
        "each of its classes"
    }

    def __init__(
        self,
        *,
        network: FCAM,
        loss: SupervisedLoss,
        share: float = 0.8,
        split_seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(network=network, **options)
        if not 0 < share < 1:
            raise ValueError(f"share must be in (0, 1), got {share}")
        if split_seed < 0:
            raise ValueError(f"split_seed must be 0 or more, got {split_seed}")
        self.loss = loss
        self._learned = LearnedShare(share, split_seed)

    @property
    def learned_share(self) -> LearnedShare:
        """Share of ``val`` whose masks or boxes the decoder learns from."""
        return self._learned

    def training_step(self, batch: WSOLBatch, batch_idx: int) -> Tensor:
        """Compute the cross-entropy of the decoder's maps against masks or boxes."""
        scores = self.network(batch["image"]).scores
        loss = self.loss(scores, batch.get("mask"), batch.get("boxes"))
        self.log_losses(loss, {"pixels": loss}, len(batch["image"]))
        return loss

"""Ready functions of what networks return to scores that can be explained; see `split`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learned_saliency.attribution.core.outputs import find_entry

#: An entry of what a network returns: a key of a dictionary, an attribute of an object or an index
#: of a list or tuple; None for the only one, or the one that is named ``logits``.
Entry = str | int | None


class RawScores(nn.Module):
    """Output of a network as it is: the values of a regression, or one output of several.

    A single output stays one, where a classifier's single logit becomes two classes.

    Args:
        entry: See `Entry`.
    """

    def __init__(self, entry: Entry = None) -> None:
        super().__init__()
        self.entry = entry

    def forward(self, output: Any) -> Tensor:
        """Take the scores (B, T), or (B,), out of an output."""
        return find_entry(output, self.entry)


class RegionScore(nn.Module):
    """Mean logit of each class over a region of a segmentation (Seg-Grad-CAM, Vinogradova 2020).

    The score of class c is the mean of the logits over the pixels of the region, sum_ij M_ij y_cij
    / sum_ij M_ij; the paper sums, which gives gradient methods the same maps. A method's
    ``targets`` are classes.

    Args:
        region: M, weights of shape (H', W'), the size of the network's output, at least 0, such as
            the pixels that were predicted as the class; None for all pixels.
        entry: Entry of the logits (B, C, H', W'), see `Entry`; torchvision's networks call it
            ``"out"``.

    Raises:
        ValueError: If the region is empty, has negative values or is of another shape; when called,
            if the logits are not of its size.
    """

    def __init__(self, region: Tensor | None = None, entry: Entry = None) -> None:
        super().__init__()
        if region is not None:
            region = torch.as_tensor(region).float()
            if region.dim() != 2 or bool((region < 0).any()) or not bool(region.sum() > 0):
                raise ValueError(
                    f"region must be (H, W), of values from 0, not all 0: {tuple(region.shape)}"
                )
        self.register_buffer("region", region, persistent=False)
        self.entry = entry

    def forward(self, output: Any) -> Tensor:
        """Compute the scores (B, C) of an output."""
        logits = find_entry(output, self.entry)
        if self.region is None:
            return logits.mean(dim=(2, 3))
        if logits.shape[2:] != self.region.shape:
            raise ValueError(
                f"region is {tuple(self.region.shape)}, the output {tuple(logits.shape[2:])}: "
                "resize the region"
            )
        return (logits * self.region).sum(dim=(2, 3)) / self.region.sum()


class EmbeddingSimilarity(nn.Module):
    """Cosine similarity of an embedding with each of some references.

    References are embeddings of the same network: of other images, of texts, means of a class. A
    method's ``targets`` are indices of references, so that B images are explained for a reference
    of their own by ``targets=torch.arange(B)``.

    Args:
        references: Shape (T, D).
        entry: Entry of the embedding (B, D), see `Entry`.

    Raises:
        ValueError: If the references are not (T, D), or have a row of zeros.
    """

    def __init__(self, references: Tensor, entry: Entry = None) -> None:
        super().__init__()
        if references.dim() != 2 or not bool(references.abs().sum(dim=1).all()):
            raise ValueError(
                f"references must be (T, D), no row all 0, got {tuple(references.shape)}"
            )
        self.register_buffer("references", references.detach(), persistent=False)
        self.entry = entry

    def forward(self, output: Any) -> Tensor:
        """Compute the similarities (B, T), in [-1, 1]."""
        embedding = find_entry(output, self.entry)
        references = self.references.to(embedding.dtype)
        return F.cosine_similarity(embedding[:, None], references, dim=2)


class BoxScore(nn.Module):
    """Score of given boxes in the detections of a network, as torchvision's detectors return them.

    The detection that overlaps a box most counts, if their IoU is above ``least_iou`` and it has
    the box's class: its score is the IoU plus the detector's own score. Otherwise the score is 0:
    the object is lost. A method's ``targets`` are indices of boxes; ``total`` sums over all.

    Args:
        boxes: Boxes to explain, (T, 4) x0 y0 x1 y1 in pixels of the images, x1 and y1 exclusive.
        labels: Their classes, int (T,).
        least_iou: In [0, 1).
        total: Whether all boxes are one target.

    Raises:
        ValueError: If the shapes do not fit each other.
    """

    def __init__(
        self, boxes: Tensor, labels: Tensor, *, least_iou: float = 0.5, total: bool = False
    ) -> None:
        super().__init__()
        boxes, labels = torch.as_tensor(boxes).float(), torch.as_tensor(labels)
        if boxes.dim() != 2 or boxes.shape[1] != 4 or labels.shape != boxes.shape[:1]:
            raise ValueError(
                f"boxes must be (T, 4) and labels (T,), got {tuple(boxes.shape)} and "
                f"{tuple(labels.shape)}"
            )
        self.register_buffer("boxes", boxes, persistent=False)
        self.register_buffer("labels", labels, persistent=False)
        self.least_iou = least_iou
        self.total = total

    def forward(self, output: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """Compute the scores (B, T), or (B,) in total, in [0, 2] each.

        Args:
            output: For each image ``boxes`` (N, 4), ``scores`` (N,) and ``labels`` (N,).
        """
        scores = torch.stack([self._scores(found) for found in output])
        return scores.sum(dim=1) if self.total else scores

    def _scores(self, found: Mapping[str, Tensor]) -> Tensor:
        boxes, scores = found["boxes"], found["scores"]
        lost = self.boxes.new_zeros(len(self.boxes)) + 0 * (boxes.sum() + scores.sum())
        if not len(boxes):
            return lost
        ious, best = _ious(self.boxes.to(boxes.dtype), boxes).max(dim=1)
        kept = (ious > self.least_iou) & (found["labels"][best] == self.labels)
        return torch.where(kept, ious + scores[best], lost)


def _ious(boxes: Tensor, others: Tensor) -> Tensor:
    """Compute the IoU of boxes (T, 4) and others (N, 4), shape (T, N), with a gradient."""
    low = torch.maximum(boxes[:, None, :2], others[:, :2])
    high = torch.minimum(boxes[:, None, 2:], others[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=2)
    areas = [(b[:, 2:] - b[:, :2]).prod(dim=1) for b in (boxes, others)]
    return shared / (areas[0][:, None] + areas[1] - shared)

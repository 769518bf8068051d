"""Box accuracy against boxes of class-agnostic regions that a classifier chose."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from learned_saliency.metrics.boxes import THRESHOLDS, best_ious
from learned_saliency.metrics.figures import Figure
from learned_saliency.metrics.localization import middle_of_longest_maximum
from learned_saliency.metrics.zerobox.ladder import UNDECIDED
from learned_saliency.metrics.zerobox.regions import Regions
from learned_saliency.ops import box_iou

_IOU = 0.5


def chosen_boxes(response: Tensor, regions: Sequence[Regions]) -> Tensor:
    """Choose for each image the region that a classifier's response follows most, and give its box.

    A region's score is the correlation of the response with the region's mask, so that neither a
    tiny region nor nearly the whole image wins by its size.

    Args:
        response: Maps of the classifier, (B, H, W), of any range.
        regions: Regions of each image.

    Returns:
        Boxes x0 y0 x1 y1 in pixels, int64 (B, 4), on the CPU; x1 and y1 lie inside. -1 -1 -1 -1
        where a response is constant and so chooses none.

    Raises:
        ValueError: If there are not as many regions as maps, or their sizes differ.
    """
    if len(regions) != len(response):
        raise ValueError(f"expected regions of {len(response)} images, got {len(regions)}")
    maps = response.detach().double().cpu().numpy()
    return torch.from_numpy(np.stack([_chosen(*each) for each in zip(maps, regions, strict=True)]))


def _chosen(response: np.ndarray, regions: Regions) -> np.ndarray:
    """Choose a region's box (4,) by a response (H, W)."""
    if response.shape != regions.segments.shape:
        raise ValueError(f"a map is {response.shape}, its segments {regions.segments.shape}")
    none = np.full(4, -1, dtype=np.int64)
    if np.ptp(response) <= 1e-6 or len(regions.members) == 1:
        return none
    count = regions.members.shape[1]
    flat = regions.segments.ravel()
    centered = response.ravel() - response.mean()
    sums = regions.members @ np.bincount(flat, centered, minlength=count)
    sizes = regions.members @ np.bincount(flat, minlength=count).astype(float)
    share = sizes / flat.size
    spread = np.sqrt(share * (1 - share))
    # up to a factor that is the same for all regions; the whole image correlates with nothing
    scores = np.divide(sums, spread, out=np.full(len(sums), -np.inf), where=share < 1)
    return regions.boxes[int(scores.argmax())]


class ZeroBoxPseudoBoxes(Metric):
    """MaxBoxAcc against pseudo-boxes, minus that of the whole image (Murtaza et al., WACV 2025).

    Their study chooses checkpoints and thresholds by boxes of class-agnostic proposals, of which a
    classifier's response picks one per image. ``compute`` gives ``zerobox_pseudo_boxes``, in
    [-1, 1]: the fraction of images whose box overlaps the pseudo-box by an IoU of 0.5, at the best
    threshold, minus the fraction that a box around the whole image would meet; and
    ``zerobox_pseudo_boxes_threshold``, this threshold. An image without a pseudo-box is missed by
    any map.

    Note:
        The study's proposals come from selective search, CLIP or a region proposal network, with
        its own rule of choice. Here they are the regions of `find_regions`, chosen by
        `chosen_boxes`, so that nothing but the images and the labels is needed.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    needs: ClassVar[frozenset[str]] = frozenset()
    figures: ClassVar[Mapping[str, Figure]] = {
        "zerobox_pseudo_boxes": Figure(True, progress=True),
        "zerobox_pseudo_boxes_threshold": Figure(None, headline=False),
    }

    hits: Tensor  # (1000,): by threshold
    whole_hits: Tensor  # counts a box around the whole image
    images: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        hits = torch.zeros(len(THRESHOLDS), dtype=torch.int64)
        self.add_state("hits", hits, dist_reduce_fx="sum")
        self.add_state("whole_hits", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, saliency: Tensor, boxes: Tensor) -> None:
        """Count a batch.

        Args:
            saliency: Maps of shape (B, H, W) in [0, 1].
            boxes: Pseudo-boxes from `chosen_boxes`, int64 (B, 4).
        """
        self.images += len(saliency)
        there = boxes[:, 0] >= 0
        if not there.any():
            return
        boxes = boxes[there]
        ious = best_ious(saliency[there.to(saliency.device)], list(boxes[:, None]))
        self.hits += (ious[:, 0] >= _IOU).sum(0).to(self.hits.device)
        height, width = saliency.shape[1:]
        whole = box_iou(np.array([0, 0, width - 1, height - 1]), boxes.numpy())
        self.whole_hits += int((whole >= _IOU).sum())

    def compute(self) -> dict[str, Tensor]:
        """Compute the accuracy above that of the whole image, and the threshold."""
        best = middle_of_longest_maximum(self.hits.double())
        threshold = torch.tensor(THRESHOLDS, device=self.hits.device)[best]
        above = self.hits.max() - self.whole_hits  # exact, so that equal epochs have equal values
        return {
            "zerobox_pseudo_boxes": above.double() / self.images,
            "zerobox_pseudo_boxes_threshold": torch.where(self.hits.any(), threshold, UNDECIDED),
        }

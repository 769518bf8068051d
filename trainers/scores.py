"""The metrics of one split for several methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric, SumMetric

from learned_saliency.datamodules import WSOLBatch
from learned_saliency.metrics import (
    Localization,
    LocalizationFloors,
    MapStatistics,
    MaskLocalization,
    PrecisionRecall,
    PxAP,
)

_GROUPS = ("seen", "unseen")  # in training, where that was restricted to some classes


class SplitScores(nn.Module):
    """Counts everything that is reported of a split.

    For each method the box metrics where images have boxes, those without a threshold also for the
    images of seen and of unseen classes apart where the batches tell them, PxAP where images have
    masks, statistics of the maps, and the accuracy of the classifier that all of them explain.

    Args:
        methods: Names of the methods.
        floors: Whether to count what maps reach without looking at the image, too.
    """

    def __init__(self, methods: Sequence[str], floors: bool = False) -> None:
        super().__init__()
        self.boxes = nn.ModuleDict({name: Localization() for name in methods})
        self.pixels = nn.ModuleDict({name: PxAP() for name in methods})
        self.statistics = nn.ModuleDict({name: MapStatistics() for name in methods})
        self.cut_at_mean = nn.ModuleDict({name: MaskLocalization() for name in methods})
        self.groups = nn.ModuleDict(
            {
                name: nn.ModuleDict({group: MaskLocalization() for group in _GROUPS})
                for name in methods
            }
        )
        self.accuracy = MeanMetric()
        self.top5_accuracy = MeanMetric()
        self.floors = LocalizationFloors() if floors else None
        # Counted over all processes: one of them may have no batch, and must not stay behind.
        self.with_boxes = SumMetric()
        self.with_masks = SumMetric()
        self.with_groups = SumMetric()

    def update(self, maps: Mapping[str, Tensor], logits: Tensor, batch: WSOLBatch) -> None:
        """Count a batch.

        Args:
            maps: Maps (B, H, W) in [0, 1] by method.
            logits: Class scores of shape (B, C).
            batch: The labels, and boxes and masks where the split has them.
        """
        boxes, masks, labels = batch.get("boxes"), batch.get("mask"), batch["label"]
        self.with_boxes.update(0 if boxes is None else len(boxes))
        self.with_masks.update(0 if masks is None else len(masks))
        self.with_groups.update(len(labels) if boxes is not None and "seen" in batch else 0)
        for name, saliency in maps.items():
            self.statistics[name].update(saliency)
            if boxes is not None:
                self.boxes[name].update(saliency, boxes, logits, labels)
                self.cut_at_mean[name].update(saliency, boxes, logits, labels)
                self._update_groups(name, saliency, logits, batch)
            if masks is not None:
                self.pixels[name].update(saliency, masks)
        if self.floors is not None and (boxes is not None or masks is not None):
            self.floors.update(boxes, image_size=tuple(batch["image"].shape[-2:]), masks=masks)
        hits = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
        self.accuracy.update(hits[:, 0].float())
        self.top5_accuracy.update(hits.any(dim=1).float())

    def _update_groups(self, name: str, saliency: Tensor, logits: Tensor, batch: WSOLBatch) -> None:
        """Count the images of seen and of unseen classes apart, where the batch tells them."""
        if "seen" not in batch:
            return
        for group, members in zip(_GROUPS, (batch["seen"], ~batch["seen"]), strict=True):
            if members.any():
                boxes = [b for b, member in zip(batch["boxes"], members, strict=True) if member]
                self.groups[name][group].update(
                    saliency[members], boxes, logits[members], batch["label"][members]
                )

    def compute(self) -> dict[str, dict[str, float]]:
        """Figures by method, fractions; over all processes.

        The floors stand beside the methods as ``full_image`` and ``centered_box``.
        """
        accuracy = {
            "accuracy": float(self.accuracy.compute()),
            "top5_accuracy": float(self.top5_accuracy.compute()),
        }
        boxes, masks = bool(self.with_boxes.compute()), bool(self.with_masks.compute())
        groups = bool(self.with_groups.compute())
        results = {}
        for name in self.boxes:
            results[name] = {}
            if boxes:
                results[name] |= _floats(self.boxes[name].compute())
                results[name] |= _floats(self.cut_at_mean[name].compute())
            if groups:
                for group, metric in self.groups[name].items():
                    found = _floats(metric.compute())
                    results[name] |= {f"{figure}_{group}": v for figure, v in found.items()}
            results[name] |= _floats(self.statistics[name].compute())
            if masks:
                results[name]["pxap"] = float(self.pixels[name].compute())
            results[name] |= accuracy
        if self.floors is not None and (boxes or masks):
            results |= {name: _floats(v) for name, v in self.floors.compute().items()}
        return results

    def curves(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, PrecisionRecall]]:
        """Box accuracy against threshold, and precision against recall, by method.

        Every process must call it. A kind that the split has no ground truth for is empty.
        """
        boxes, pixels = {}, {}
        if self.with_boxes.compute():
            boxes = {name: metric.curves() for name, metric in self.boxes.items()}
        if self.with_masks.compute():
            pixels = {name: metric.curve() for name, metric in self.pixels.items()}
        return boxes, pixels

    def reset(self) -> None:
        """Forget all counts."""
        for metric in self.modules():
            if isinstance(metric, Metric):
                metric.reset()


def _floats(values: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}

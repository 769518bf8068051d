"""Training images with their boxes and masks, for a bound by full supervision."""

from collections.abc import Sequence
from pathlib import Path

import torch

from learned_saliency.datamodules.batch import WSOLBatch
from learned_saliency.datamodules.dataset import ImageOptions, TrainDataset
from learned_saliency.datamodules.masks import MaskValues
from learned_saliency.datamodules.metadata import SplitMetadata
from learned_saliency.datamodules.transforms import cut_boxes, cut_window
from learned_saliency.datamodules.truth import Truth


class SupervisedDataset(TrainDataset):
    """Training images, randomly cropped and flipped, and with them their boxes and masks.

    Boxes may reach beyond the crop, or lie outside of it.

    Args:
        metadata: The split.
        root: Folder that ids are relative to.
        mask_root: Folder that mask paths are relative to.
        size: Side in pixels to which images, boxes and masks are resized, or height and width.
        crop_size: Likewise of the random crop, at most as large.
        options: How images become batches. Masks are kept in memory only.
        fast: Whether pixels need not be exact, see `read_window`.
        mask_values: What the data set declares about the values of its masks; None for plain masks.
    """

    def __init__(
        self,
        metadata: SplitMetadata,
        root: Path,
        mask_root: Path,
        *,
        size: int | Sequence[int],
        crop_size: int | Sequence[int],
        options: ImageOptions,
        fast: bool = False,
        mask_values: MaskValues | None = None,
    ) -> None:
        super().__init__(metadata, root, size=size, crop_size=crop_size, options=options, fast=fast)
        read = size, options.decoding, mask_values
        self._truth = Truth(metadata, mask_root, *read, opener=options.mask_opener)

    def __getitems__(self, items: Sequence[tuple[int, int] | int]) -> WSOLBatch:
        """Load a batch; see `TrainDataset`.

        Raises:
            DataError: If an image or a mask does not decode.
        """
        batch, drawn = super().__getitems__(items), self._drawn(items)
        if self._truth.boxes is not None:
            batch["boxes"] = [cut_boxes(self._truth.boxes[i], window) for i, window in drawn]
        masks = self._truth.masks([index for index, _ in drawn])
        if masks is not None:
            pairs = zip(masks, drawn, strict=True)
            batch["mask"] = torch.stack([cut_window(mask, window) for mask, (_, window) in pairs])
        return batch

"""Boxes and masks of a split, resized with its images."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from learned_saliency.datamodules.decoding import Decoding
from learned_saliency.datamodules.in_memory import read_all
from learned_saliency.datamodules.masks import MaskValues, read_mask
from learned_saliency.datamodules.metadata import SplitMetadata
from learned_saliency.datamodules.opening import image_source
from learned_saliency.datamodules.sizes import Size
from learned_saliency.datamodules.transforms import scale_boxes


class Truth:
    """Boxes and masks of the images of a split, as far as the split has them.

    Args:
        metadata: The split.
        mask_root: Folder that mask paths are relative to.
        size: Side in pixels of the square to which they are resized, or height H and width W.
        decoding: What the data set declares about its files.
        values: What the data set declares about the values of its masks; None for plain masks.
        center_crop: See `read_resized`.
        opener: Reads a mask's bytes by its path, where masks are no files.

    Attributes:
        boxes: N int64 tensors of shape (n, 4), see `WSOLBatch`; None where the split has no boxes.
    """

    def __init__(
        self,
        metadata: SplitMetadata,
        mask_root: Path,
        size: int | Sequence[int],
        decoding: Decoding,
        values: MaskValues | None = None,
        center_crop: bool | int = False,
        opener: Callable[[str], bytes] | None = None,
    ) -> None:
        self._mask_root, self._size, self._opener = mask_root, Size.of(size), opener
        self._options = center_crop, decoding, values
        self._mask_paths, self._ignore_paths = metadata.mask_paths, metadata.ignore_paths
        self.boxes = _boxes_by_image(metadata, self._size, center_crop)
        self._masks: Tensor | None = None

    def keep_masks(self) -> None:
        """Read all masks into memory, H W bytes each.

        Raises:
            DataError: If a mask does not decode.
        """
        if self._masks is None and self._mask_paths is not None:
            self._masks = read_all(self._read_mask, len(self._mask_paths))

    def masks(self, indices: Sequence[int]) -> Tensor | None:
        """Return the masks of some images, uint8 (B, H, W); None where the split has no masks.

        Raises:
            DataError: If a mask does not decode.
        """
        if self._masks is not None:
            return self._masks[torch.tensor(indices, dtype=torch.int64)]
        if self._mask_paths is None:
            return None
        masks = [self._read_mask(index) for index in indices]
        empty = torch.empty((0, *self._size), dtype=torch.uint8)
        return torch.stack(masks) if masks else empty

    def _read_mask(self, index: int) -> Tensor:
        if not self._mask_paths[index]:  # a sample of a class that nobody has outlined
            return torch.full(tuple(self._size), 255, dtype=torch.uint8)
        groups = self._mask_paths[index], self._ignore_paths[index]
        masks, ignores = (
            [image_source(self._mask_root, path, self._opener) for path in paths]
            for paths in groups
        )
        return read_mask(masks, ignores, self._size, *self._options)


def _boxes_by_image(
    metadata: SplitMetadata, size: Size, center_crop: bool | int
) -> list[Tensor] | None:
    """Scale all boxes at once; return N tensors of shape (n, 4)."""
    if metadata.boxes is None:
        return None
    order = np.argsort(metadata.box_images, kind="stable")
    images = metadata.box_images[order]
    boxes = torch.from_numpy(metadata.boxes[order])
    scaled = scale_boxes(boxes, torch.from_numpy(metadata.sizes[images]), size, center_crop)
    return list(scaled.split(np.bincount(images, minlength=len(metadata)).tolist()))

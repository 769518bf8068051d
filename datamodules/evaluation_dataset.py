"""Images as they are evaluated, with boxes and masks."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from learned_saliency.datamodules.batch import WSOLBatch
from learned_saliency.datamodules.dataset import ImageDataset, ImageOptions, draw_classes
from learned_saliency.datamodules.masks import MaskValues
from learned_saliency.datamodules.metadata import SplitMetadata
from learned_saliency.datamodules.opening import ImageSource
from learned_saliency.datamodules.sizes import Size
from learned_saliency.datamodules.transforms import read_resized
from learned_saliency.datamodules.truth import Truth


class EvaluationDataset(ImageDataset):
    """Images resized as they are, with boxes and masks where the metadata has them.

    Args:
        metadata: The split.
        root: Folder that ids are relative to.
        mask_root: Folder that mask paths are relative to.
        size: Side in pixels to which images, boxes and masks are resized, or height and width.
        options: How images become batches. Masks are kept in memory only.
        center_crop: See `read_resized`.
        fast: Whether pixels need not be exact, see `read_resized`.
        seen: Classes that were trained on, for the batches' ``seen``; None leaves it out.
        mask_values: What the data set declares about the values of its masks; None for plain masks.
    """

    def __init__(
        self,
        metadata: SplitMetadata,
        root: Path,
        mask_root: Path,
        *,
        size: int | Sequence[int],
        options: ImageOptions,
        center_crop: bool | int = False,
        fast: bool = False,
        seen: Sequence[int] | None = None,
        mask_values: MaskValues | None = None,
    ) -> None:
        super().__init__(metadata, root, Size.of(size), options)
        self._center_crop, self._fast = center_crop, fast
        self._seen = None if seen is None else torch.isin(self._labels, torch.tensor(seen))
        read = size, options.decoding, mask_values, center_crop
        self._truth = Truth(metadata, mask_root, *read, options.mask_opener)
        self._first = None
        if metadata.sources is not None:
            self._first = torch.zeros(len(self), dtype=torch.bool)
            self._first[self._firsts] = True

    def __getitems__(self, items: Sequence[tuple[int, int] | int]) -> WSOLBatch:
        """Load a batch of the images at the indices ``items``, which may be empty.

        Of the (index, draw) pairs that ``TrainSampler`` yields, the draws change nothing but the
        class of images with several.

        Raises:
            DataError: If an image or a mask does not decode.
        """
        indices = [item[0] if isinstance(item, tuple) else item for item in items]
        batch = self._batch(indices, self._pixels(indices), self._size)
        draw_classes(batch, items)
        if self._first is not None:
            batch["first"] = self._first[batch["index"]]
            batch["source"] = self._files[batch["index"].numpy()].tolist()
        if self._seen is not None:
            batch["seen"] = self._seen[batch["index"]]
        if self._truth.boxes is not None:
            batch["boxes"] = [self._truth.boxes[index] for index in indices]
        masks = self._truth.masks(indices)
        if masks is not None:
            batch["mask"] = masks
        return batch

    def _pixels(self, indices: Sequence[int]) -> Iterator[Tensor]:
        """Yield the images of samples; of samples of one image in a row it is read once."""
        row, image = None, None
        for index in indices:
            if self._images is not None:
                yield self._kept(index)
                continue
            if image is None or self._rows[index] != row:
                row, image = self._rows[index], self._read(self._source(index))
            yield image

    def _read(self, source: ImageSource) -> Tensor:
        decoding = self._options.decoding
        return read_resized(source, self._size, self._center_crop, decoding, self._fast)

    def _kind(self) -> list[str]:
        middle = "middle" if isinstance(self._center_crop, bool) else f"middle{self._center_crop}"
        return super()._kind() + [middle] * bool(self._center_crop) + ["reduced"] * self._fast

"""Batch that every loader of this room yields and every trainer takes."""

from typing import NotRequired, TypedDict

from torch import Tensor

#: Label of an image whose class is not known.
UNKNOWN = -1
#: What labels can be: one class per image, any number of classes, one of two, or values.
TASKS = ("multiclass", "multilabel", "binary", "regression")


class WSOLBatch(TypedDict):
    """B images with their labels; on evaluation splits also with boxes or masks of the object.

    Attributes:
        image: Normalized images, float32 of shape (B, 3, H, W); (value / 255 - mean) / std.
        label: Classes, int64 of shape (B,), in [0, num_classes), or -1 where the class is unknown.
            For multi-label tasks the class that the sample is about, one that the image has: in
            training drawn anew in each epoch; -1 where it has none. In regression the number of the
            value that the sample is about, in training drawn likewise.
        labels: Which classes the image has, bool of shape (B, num_classes). Present only for
            multi-label tasks.
        values: Values of the image, float32 of shape (B, T). Present only in regression.
        first: bool of shape (B,), whether the sample is the first of its image in the split, so
            that images are counted once. Present only on evaluation splits where an image may be
            several samples.
        source: B identifiers of the images that the samples show. Present where ``first`` is.
        image_id: B identifiers, each a path relative to the root of the data set.
        index: Places of the images in the list of their split, int64 of shape (B,).
        boxes: B int64 tensors of shape (n, 4), n >= 1, for multi-label tasks n >= 0, x0 y0 x1 y1 in
            pixels of the resized image. The annotation's x1, y1, the last pixels inside the box,
            are scaled and truncated like x0, y0. Present only on evaluation splits of a data set
            with boxes, and in training on a share of one.
        mask: uint8 of shape (B, H, W): 0 background, 1 object, 255 ignore. Present only on
            evaluation splits of a data set with masks, and in training on a share of one.
        seen: bool of shape (B,), whether the class was trained on. Present only on the test split
            and only where training was restricted to some classes.
    """

    image: Tensor
    label: Tensor
    labels: NotRequired[Tensor]
    values: NotRequired[Tensor]
    first: NotRequired[Tensor]
    source: NotRequired[list[str]]
    image_id: list[str]
    index: Tensor
    boxes: NotRequired[list[Tensor]]
    mask: NotRequired[Tensor]
    seen: NotRequired[Tensor]

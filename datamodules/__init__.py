"""Data module for all data sets, and the readers of data sets."""

from learned_saliency.datamodules.batch import WSOLBatch
from learned_saliency.datamodules.checks import leaves
from learned_saliency.datamodules.classes import (
    read_class_names,
    read_groups,
    read_name_list,
)
from learned_saliency.datamodules.decoding import (
    Decoding,
    Pixels,
    pixel_count,
    read_picture,
    read_pixels,
    to_rgb,
)
from learned_saliency.datamodules.metadata import read_split
from learned_saliency.datamodules.opening import MAX_PIXELS, ImageError
from learned_saliency.datamodules.parts import (
    ClassPair,
    CreaturesParts,
    CUBParts,
    PartReader,
    class_pairs,
)
from learned_saliency.datamodules.readers import CreaturesRenderer, CUBReader, Reader
from learned_saliency.datamodules.textfile import DataError
from learned_saliency.datamodules.transforms import placement, read_square, standardize, to_square
from learned_saliency.datamodules.wsol import WSOLDataModule

__all__ = [
    "MAX_PIXELS",
    "CUBParts",
    "CUBReader",
    "ClassPair",
    "CreaturesParts",
    "CreaturesRenderer",
    "DataError",
    "Decoding",
    "ImageError",
    "PartReader",
    "Pixels",
    "Reader",
    "WSOLBatch",
    "WSOLDataModule",
    "class_pairs",
    "leaves",
    "pixel_count",
    "placement",
    "read_class_names",
    "read_groups",
    "read_name_list",
    "read_picture",
    "read_pixels",
    "read_split",
    "read_square",
    "standardize",
    "to_rgb",
    "to_square",
]

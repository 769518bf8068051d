"""Data module for all data sets, and the readers of data sets."""

from learned_saliency.datamodules.batch import WSOLBatch
from learned_saliency.datamodules.classes import read_class_names, read_name_list
from learned_saliency.datamodules.metadata import read_split
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
    "CUBParts",
    "CUBReader",
    "ClassPair",
    "CreaturesParts",
    "CreaturesRenderer",
    "DataError",
    "PartReader",
    "Reader",
    "WSOLBatch",
    "WSOLDataModule",
    "class_pairs",
    "placement",
    "read_class_names",
    "read_name_list",
    "read_split",
    "read_square",
    "standardize",
    "to_square",
]

"""Readers that make data sets on first use; a data set is one file."""

from learned_saliency.datamodules.readers.base import Reader, SplitReader, image_roots
from learned_saliency.datamodules.readers.creatures import CreaturesRenderer
from learned_saliency.datamodules.readers.cub import CUBReader

__all__ = [
    "CUBReader",
    "CreaturesRenderer",
    "Reader",
    "SplitReader",
    "image_roots",
]

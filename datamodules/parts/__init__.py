"""Labels of the object parts by which classes differ."""

from learned_saliency.datamodules.parts.base import ClassPair, PartReader, class_pairs
from learned_saliency.datamodules.parts.creatures import CreaturesParts
from learned_saliency.datamodules.parts.cub import CUBParts

__all__ = [
    "CUBParts",
    "ClassPair",
    "CreaturesParts",
    "PartReader",
    "class_pairs",
]

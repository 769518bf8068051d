"""Labels of the object parts by which classes differ."""

from learned_saliency.datamodules.parts.base import ClassPair, Look, PartReader, class_pairs
from learned_saliency.datamodules.parts.creatures import CreaturesParts
from learned_saliency.datamodules.parts.cub import CUBParts
from learned_saliency.datamodules.parts.questions import Asked, PartQuestions

__all__ = [
    "Asked",
    "CUBParts",
    "ClassPair",
    "CreaturesParts",
    "Look",
    "PartQuestions",
    "PartReader",
    "class_pairs",
]

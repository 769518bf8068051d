"""Labels of the object parts by which classes differ."""

from learned_saliency.datamodules.parts.base import ClassPair, Look, PartReader, class_pairs
from learned_saliency.datamodules.parts.creatures import CreaturesParts
from learned_saliency.datamodules.parts.cub import CUBParts
from learned_saliency.datamodules.parts.questions import Asked, PartQuestions
from learned_saliency.datamodules.parts.rendered import (
    RenderedParts,
    Rerendered,
    shared_parts,
    sufficient_parts,
)

__all__ = [
    "Asked",
    "CUBParts",
    "ClassPair",
    "CreaturesParts",
    "Look",
    "PartQuestions",
    "PartReader",
    "RenderedParts",
    "Rerendered",
    "class_pairs",
    "shared_parts",
    "sufficient_parts",
]

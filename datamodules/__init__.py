from datamodules.batch import WSOLBatch
from datamodules.creatures import CreaturesRenderer
from datamodules.creatures_parts import CreaturesParts
from datamodules.cub import CUBReader
from datamodules.cub_parts import CUBParts
from datamodules.parts import ClassPair, PartReader, class_pairs
from datamodules.textfile import DataError
from datamodules.wsol import WSOLDataModule

__all__ = [
    "CUBParts",
    "CUBReader",
    "ClassPair",
    "CreaturesParts",
    "CreaturesRenderer",
    "DataError",
    "PartReader",
    "WSOLBatch",
    "WSOLDataModule",
    "class_pairs",
]

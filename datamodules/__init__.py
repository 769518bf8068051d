from datamodules.batch import WSOLBatch
from datamodules.creatures import CreaturesRenderer
from datamodules.cub import CUBReader
from datamodules.textfile import DataError
from datamodules.wsol import WSOLDataModule

__all__ = [
    "CUBReader",
    "CreaturesRenderer",
    "DataError",
    "WSOLBatch",
    "WSOLDataModule",
]

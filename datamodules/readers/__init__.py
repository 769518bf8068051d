"""Readers that make data sets on first use; a data set is one file."""

from learned_saliency.datamodules.readers.base import (
    ByteReader,
    Published,
    Reader,
    Source,
    SplitReader,
    image_files,
    image_opener,
    image_roots,
    mask_files,
    mask_opener,
    mask_values,
    placed,
    published,
    shuffle_window,
    sources,
    tasks,
)
from learned_saliency.datamodules.readers.coco import COCOReader
from learned_saliency.datamodules.readers.creatures import CreaturesRenderer
from learned_saliency.datamodules.readers.cub import CUBReader
from learned_saliency.datamodules.readers.folder import FolderReader
from learned_saliency.datamodules.readers.imagenet import ImageNetReader
from learned_saliency.datamodules.readers.labels import LabelsReader
from learned_saliency.datamodules.readers.nih import NIHReader
from learned_saliency.datamodules.readers.openimages import OpenImagesReader
from learned_saliency.datamodules.readers.parquet import ParquetReader
from learned_saliency.datamodules.readers.pascal import VOCReader
from learned_saliency.datamodules.readers.pets import PetsReader
from learned_saliency.datamodules.readers.photos import PhotosReader
from learned_saliency.datamodules.readers.webdataset import WebDatasetReader

__all__ = [
    "ByteReader",
    "COCOReader",
    "CUBReader",
    "CreaturesRenderer",
    "FolderReader",
    "ImageNetReader",
    "LabelsReader",
    "NIHReader",
    "OpenImagesReader",
    "ParquetReader",
    "PetsReader",
    "PhotosReader",
    "Published",
    "Reader",
    "Source",
    "SplitReader",
    "VOCReader",
    "WebDatasetReader",
    "image_files",
    "image_opener",
    "image_roots",
    "mask_files",
    "mask_opener",
    "mask_values",
    "placed",
    "published",
    "shuffle_window",
    "sources",
    "tasks",
]

"""Data module for all data sets, and the readers of data sets."""

from learned_saliency.datamodules.batch import TASKS, UNKNOWN, WSOLBatch
from learned_saliency.datamodules.checks import leaves
from learned_saliency.datamodules.classes import (
    find_classes,
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
from learned_saliency.datamodules.inspection import (
    ImageFacts,
    content_digest,
    inspect_image,
    inspect_mask,
)
from learned_saliency.datamodules.known_classes import match_classes
from learned_saliency.datamodules.masks import MaskValues
from learned_saliency.datamodules.metadata import SPLITS, SplitMetadata, read_split
from learned_saliency.datamodules.multilabel import read_multilabel_split
from learned_saliency.datamodules.opening import MAX_PIXELS, ImageError, ImageSource, image_source
from learned_saliency.datamodules.parts import (
    Asked,
    ClassPair,
    CreaturesParts,
    CUBParts,
    Look,
    PartQuestions,
    PartReader,
    RenderedParts,
    Rerendered,
    class_pairs,
    shared_parts,
    sufficient_parts,
)
from learned_saliency.datamodules.readers import (
    ByteReader,
    CreaturesRenderer,
    CUBReader,
    FolderReader,
    ImageNetReader,
    OpenImagesReader,
    ParquetReader,
    PetsReader,
    PhotosReader,
    Published,
    Reader,
    Source,
    image_opener,
    image_roots,
    mask_values,
    published,
    sources,
)
from learned_saliency.datamodules.regression import read_regression_split
from learned_saliency.datamodules.resampling import resizes_down_first
from learned_saliency.datamodules.similarity import (
    near_duplicate_groups,
    perceptual_hashes,
    read_gray,
)
from learned_saliency.datamodules.splits import SplitDataModule
from learned_saliency.datamodules.textfile import DataError, is_integer, read_lines
from learned_saliency.datamodules.transforms import (
    center_crop_of,
    placement,
    read_square,
    standardize,
    to_square,
)
from learned_saliency.datamodules.wsol import WSOLDataModule

__all__ = [
    "MAX_PIXELS",
    "SPLITS",
    "TASKS",
    "UNKNOWN",
    "Asked",
    "ByteReader",
    "CUBParts",
    "CUBReader",
    "ClassPair",
    "CreaturesParts",
    "CreaturesRenderer",
    "DataError",
    "Decoding",
    "FolderReader",
    "ImageError",
    "ImageFacts",
    "ImageNetReader",
    "ImageSource",
    "Look",
    "MaskValues",
    "OpenImagesReader",
    "ParquetReader",
    "PartQuestions",
    "PartReader",
    "PetsReader",
    "PhotosReader",
    "Pixels",
    "Published",
    "Reader",
    "RenderedParts",
    "Rerendered",
    "Source",
    "SplitDataModule",
    "SplitMetadata",
    "WSOLBatch",
    "WSOLDataModule",
    "center_crop_of",
    "class_pairs",
    "content_digest",
    "find_classes",
    "image_opener",
    "image_roots",
    "image_source",
    "inspect_image",
    "inspect_mask",
    "is_integer",
    "leaves",
    "mask_values",
    "match_classes",
    "near_duplicate_groups",
    "perceptual_hashes",
    "pixel_count",
    "placement",
    "published",
    "read_class_names",
    "read_gray",
    "read_groups",
    "read_lines",
    "read_multilabel_split",
    "read_name_list",
    "read_picture",
    "read_pixels",
    "read_regression_split",
    "read_split",
    "read_square",
    "resizes_down_first",
    "shared_parts",
    "sources",
    "standardize",
    "sufficient_parts",
    "to_rgb",
    "to_square",
]

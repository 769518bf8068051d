"""Numerical kernels: plain references, and faster backends that give the same results."""

from learned_saliency.ops.activations import Activation, activation_of
from learned_saliency.ops.backends import SeedNumbers, label_images, seed_loops
from learned_saliency.ops.blurring import blur
from learned_saliency.ops.contours import LevelBoxes, level_boxes
from learned_saliency.ops.dense_crf import CRF_BACKENDS, crf_features
from learned_saliency.ops.imputation import impute_from_neighbors
from learned_saliency.ops.min_max import maximum_of_present, min_max
from learned_saliency.ops.otsu import check_maps, otsu_of_levels, otsu_threshold, to_8_bit
from learned_saliency.ops.overlap import box_iou, level_ious
from learned_saliency.ops.permutohedral import permutohedral_filter
from learned_saliency.ops.precision import full_precision, widen

__all__ = [
    "CRF_BACKENDS",
    "Activation",
    "LevelBoxes",
    "SeedNumbers",
    "activation_of",
    "blur",
    "box_iou",
    "check_maps",
    "crf_features",
    "full_precision",
    "impute_from_neighbors",
    "label_images",
    "level_boxes",
    "level_ious",
    "maximum_of_present",
    "min_max",
    "otsu_of_levels",
    "otsu_threshold",
    "permutohedral_filter",
    "seed_loops",
    "to_8_bit",
    "widen",
]

"""Checks of a data set; a file has one kind of question."""

from learned_saliency.pipeline.data.checks.boxes import check_boxes
from learned_saliency.pipeline.data.checks.classes import check_classes
from learned_saliency.pipeline.data.checks.copies import check_copies
from learned_saliency.pipeline.data.checks.images import check_forms, check_images
from learned_saliency.pipeline.data.checks.masks import check_masks
from learned_saliency.pipeline.data.checks.places import (
    check_download,
    check_inside,
    check_unlisted,
    image_files,
)

__all__ = [
    "check_boxes",
    "check_classes",
    "check_copies",
    "check_download",
    "check_forms",
    "check_images",
    "check_inside",
    "check_masks",
    "check_unlisted",
    "image_files",
]

"""Files of an evaluation that follow from its single images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from learned_saliency.pipeline.reports.bootstrap import write_intervals
from learned_saliency.pipeline.reports.gallery import write_gallery
from learned_saliency.pipeline.reports.image_scores import TABLE_FILE
from learned_saliency.trainers import GalleryImage


def write_per_image(
    folder: Path, images: Sequence[GalleryImage], class_names: Sequence[str], seed: int
) -> list[Path]:
    """Write intervals and gallery beside the table of images.

    Args:
        folder: Folder of the evaluation or run, with ``images.csv``; without it nothing is done.
        images: Images of the gallery.
        class_names: Names of the labels.
        seed: Seed of the resampling.

    Returns:
        Paths of the files to look at.
    """
    if not (folder / TABLE_FILE).is_file():
        return []
    write_gallery(folder, images, class_names)
    return [folder / TABLE_FILE, write_intervals(folder, seed)]

"""Gallery of a bundle: the one that it holds, or its maps on gray."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import torch

from learned_saliency.pipeline.reports.gallery import GALLERY_FILE, SavedGallery, parse_gallery
from learned_saliency.pipeline.runs import Bundle
from learned_saliency.trainers import GalleryImage, RecordedModule, TestOutput, draw_image

_MOST = 200  # images, spread evenly


def bundle_gallery(bundle: Bundle) -> SavedGallery:
    """Read the gallery of a bundle; where it has none, draw its maps without photographs.

    Raises:
        ValueError: If it is not as evaluations write it, or the bundle is damaged.
    """
    if GALLERY_FILE in bundle:
        return parse_gallery(BytesIO(bundle.read(GALLERY_FILE)))
    count = len(bundle.images)
    chosen = np.linspace(0, count - 1, min(count, _MOST)).round().astype(int).tolist()
    module = bundle.module()
    images = [_drawn(module, bundle, number) for number in chosen]
    return SavedGallery(images, bundle.facts.class_names)


def _drawn(module: RecordedModule, bundle: Bundle, number: int) -> GalleryImage:
    maps, logits, batch = bundle.batch([bundle.images[number]])
    labels = batch["label"] if bundle.facts.explained == "label" else None
    targets = module.known_targets(labels, logits)
    with torch.no_grad():
        return draw_image(module, TestOutput(maps, logits, targets, {}, {}), batch, 0)

"""Metrics of finished maps in Python, without files: what ``evaluate.py maps=...`` computes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from learned_saliency.datamodules import WSOLBatch
from learned_saliency.trainers.base import SaliencyModule
from learned_saliency.trainers.posthoc import MapsModule, PostHocModule

Array = Tensor | np.ndarray


def evaluate_maps(
    maps: Array | Mapping[str, Array],
    *,
    boxes: Sequence[Any] | None = None,
    masks: Array | None = None,
    labels: Array | Sequence[int] | None = None,
    images: Array | None = None,
    classifier: nn.Module | None = None,
    faithfulness: Sequence[str] = (),
    batch_size: int = 32,
    **options: Any,
) -> dict[str, dict[str, float]]:
    """Compute all metrics of finished maps, of any tool, as ``evaluate.py maps=...`` does.

    Args:
        maps: Maps (N, H, W) in [0, 1], or several such arrays by the names of their methods.
        boxes: True boxes x0 y0 x1 y1 of each image in pixels of the maps, N times (n, 4) integers,
            n at least 1; x1 and y1 lie inside the box.
        masks: True masks (N, H, W): 0 background, 1 object, 255 ignore.
        labels: Class of each image (N,), -1 where unknown. They count with a classifier alone.
        images: Images (N, 3, H, W) as the classifier takes them.
        classifier: Network of images to logits (B, C), in evaluation mode, for accuracy, top-1
            localization and faithfulness.
        faithfulness: Names of faithfulness metrics, keys of `trainers.FIGURES`; they need the
            classifier.
        batch_size: Images in a pass.
        **options: ``explained``, ``mask_color``, ``mean`` and ``std`` of `SaliencyModule`.

    Returns:
        Metrics by method as in ``results.json``, fractions: the given names, or ``maps``; and the
        floors, ``full_image`` and ``centered_box``.

    Raises:
        ValueError: If shapes or values are wrong, or faithfulness is asked for without classifier.
    """
    values = _named(maps)
    shape = next(iter(values.values())).shape
    if (classifier is None) != (images is None):
        raise ValueError("classifier and images: expected both or none of them")
    if faithfulness and classifier is None:
        raise ValueError("faithfulness: watches a classifier's answers, and there is none")
    truth = _truth(shape, boxes=boxes, masks=masks, labels=labels, images=images)
    sources = {name: partial(_rows, array) for name, array in values.items()}
    options |= {"given": sources, "faithfulness": faithfulness}
    module = _module(classifier, options)
    with torch.no_grad():
        for batch in _batches(shape, truth, batch_size):
            module.test_step(batch, 0)
    return module.test_results()


def _truth(shape: torch.Size, **given: Any) -> dict[str, Any]:
    """Check what is known of the images; name it as batches do."""
    found = {name: value for name, value in given.items() if value is not None}
    for name, value in found.items():
        if len(value) != shape[0]:
            raise ValueError(f"{name}: expected {shape[0]} as there are maps, got {len(value)}")
    truth: dict[str, Any] = {}
    if "boxes" in found:
        truth["boxes"] = [
            torch.as_tensor(each) if len(each) else torch.zeros(0, 4, dtype=torch.long)
            for each in found["boxes"]
        ]
    if "masks" in found:
        truth["mask"] = torch.as_tensor(found["masks"]).to(torch.uint8)
        if truth["mask"].shape != shape:
            raise ValueError(f"masks: expected the maps' shape {tuple(shape)}")
    if "labels" in found:
        truth["label"] = torch.as_tensor(found["labels"]).long()
    if "images" in found:
        truth["image"] = torch.as_tensor(found["images"])
    return truth


def _module(classifier: nn.Module | None, options: dict[str, Any]) -> SaliencyModule:
    if classifier is None:
        return MapsModule(**options)
    return PostHocModule(classifier=classifier, **options)


def _named(maps: Array | Mapping[str, Array]) -> dict[str, Tensor]:
    """Name and check the maps."""
    named = maps if isinstance(maps, Mapping) else {"maps": maps}
    values = {str(name): _checked(name, array) for name, array in named.items()}
    if len({len(array) for array in values.values()}) != 1:
        raise ValueError("maps: expected arrays of as many maps by at least one method")
    return values


def _rows(array: Tensor, batch: WSOLBatch) -> Tensor:
    return array[batch["index"]].to(batch["image"].device)


def _checked(name: object, array: Array) -> Tensor:
    maps = torch.as_tensor(array)
    if maps.ndim != 3 or not maps.numel():
        raise ValueError(f"maps of {name}: expected the shape (N, H, W), got {tuple(maps.shape)}")
    maps = maps.float()
    if not bool(((maps >= 0) & (maps <= 1)).all()):  # false for NaN
        raise ValueError(f"maps of {name}: expected values in [0, 1]")
    return maps


def _batches(shape: torch.Size, truth: Mapping[str, Any], batch_size: int) -> Iterator[WSOLBatch]:
    """Yield the batches of a data module that had this truth."""
    for start in range(0, shape[0], batch_size):
        index = torch.arange(start, min(start + batch_size, shape[0]))
        unknown = {
            "image": torch.zeros(1).expand(len(index), 3, *shape[1:]),
            "label": torch.full((len(index),), -1),
        }
        chosen = slice(start, start + batch_size)
        given = {name: value[chosen] for name, value in truth.items()}
        ids = {"image_id": [str(i) for i in index.tolist()], "index": index}
        yield {**unknown, **given, **ids}

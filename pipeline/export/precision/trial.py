"""Comparison of a file of fewer bits with the one in float32 that it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from learned_saliency.datamodules import Decoding, ImageSource, center_crop_of, read_resized
from learned_saliency.metrics import box_iou, boxes_from_saliency
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.export.formats import Runner
from learned_saliency.pipeline.export.images import Files
from learned_saliency.pipeline.export.source import ExportSource

_IOU = 0.5


def compare(
    exact: Runner, small: Runner, precision: str, source: ExportSource, files: Files
) -> dict[str, Any]:
    """Run both files on photographs, one at a time, and compare what they give.

    Where the class to explain is an input, it is the one that the file in float32 predicts.

    Args:
        exact: Runner of the file in float32.
        small: Runner of the file of fewer bits.
        precision: Its precision, for names and messages.
        source: The model, which says how images are prepared and where boxes are cut.
        files: The photographs.

    Returns:
        ``images`` and their ``source``; ``map_difference``: the largest and the mean absolute
        difference of all pixels; ``box``: mean overlap (IoU) of the boxes at ``threshold`` and the
        share of images where it is at least 0.5; ``top_1_agreement``: the share of images whose
        predicted class is the same; ``accuracy`` of both by name with the number of labeled
        ``images``, None without labels; ``seconds_per_image``: medians by name, and ``threads``.

    Raises:
        UserError: If a map has NaN or infinite values, or is constant where the other is not.
        DataError: If a photograph does not decode.
    """
    rows = [_row(exact, small, precision, source, path) for path in files.paths]
    both = ("float32", precision)
    threshold = float(source.module.box_threshold)
    predicted = torch.stack([row["predicted"] for row in rows])
    overlaps = torch.cat([_overlap(row["maps"], threshold) for row in rows])
    seconds = [
        [row["seconds"][i] for row in rows[1:] or rows] for i in (0, 1)
    ]  # the first warms up
    return {
        "images": len(rows),
        "source": files.source,
        "map_difference": {
            "largest": max(row["largest"] for row in rows),
            "mean": sum(row["mean"] for row in rows) / len(rows),
        },
        "box": {
            "threshold": threshold,
            "mean_iou": float(overlaps.mean()),
            "iou_at_least_0.5": float((overlaps >= _IOU).double().mean()),
        },
        "top_1_agreement": float((predicted[:, 0] == predicted[:, 1]).double().mean()),
        "accuracy": _accuracy(predicted, files, both),
        "seconds_per_image": dict(zip(both, map(median, seconds), strict=True))
        | {"threads": torch.get_num_threads()},
    }


def _row(
    exact: Runner, small: Runner, precision: str, source: ExportSource, path: ImageSource
) -> dict[str, Any]:
    data = source.data
    pixels = read_resized(path, data.crop_size, center_crop_of(data), Decoding.of(data))
    inputs: tuple[Tensor, ...] = (pixels[None] / 255,)
    if source.maps == "label":
        first = exact(*inputs, torch.zeros(1, dtype=torch.int64))
        inputs += (first["logits"].argmax(1),)
    found, seconds = [], []
    for run in (exact, small):
        start = perf_counter()
        found.append(run(*inputs))
        seconds.append(perf_counter() - start)
    maps = [f["saliency"] for f in found]
    if not bool(torch.isfinite(maps[1]).all() and torch.isfinite(found[1]["logits"]).all()):
        raise UserError(
            f"the {precision} file is not kept: it gives NaN or infinite values for {path}."
        )
    predicted = [f["logits"].argmax(1) for f in found]
    if source.maps == "all":
        maps = [m[:, predicted[0][0]] for m in maps]
    if _is_flat(maps[1]) and not _is_flat(maps[0]):
        raise UserError(f"the {precision} file is not kept: its map of {path} is constant.")
    difference = (maps[0] - maps[1]).abs()
    return {
        "maps": maps,
        "largest": float(difference.max()),
        "mean": float(difference.double().mean()),
        "predicted": torch.cat(predicted),
        "seconds": seconds,
    }


def _is_flat(map: Tensor) -> bool:
    return bool(map.amax() == map.amin())


def _overlap(maps: Sequence[Tensor], threshold: float) -> Tensor:
    boxes = [boxes_from_saliency(m.clamp(0, 1), threshold).numpy() for m in maps]
    return torch.from_numpy(box_iou(*boxes))


def _accuracy(predicted: Tensor, files: Files, names: Sequence[str]) -> dict[str, Any] | None:
    if files.labels is None or not (files.labels >= 0).any():
        return None
    labels = torch.from_numpy(files.labels)
    right = (predicted == labels[:, None])[labels >= 0].double().mean(0)
    return dict(zip(names, right.tolist(), strict=True)) | {"images": int((labels >= 0).sum())}

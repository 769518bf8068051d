"""Products of the dense CRF on the permutohedral lattice, in time linear in the pixels."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from learned_saliency.ops.backends.compiling import compiled_loops
from learned_saliency.ops.backends.threads import over_images
from learned_saliency.ops.permutohedral import (
    LATTICE_SCALE,
    lattice_boxes,
    lattice_coordinates,
    lattice_strides,
    permutohedral_filter,
)


def lattice_products(maps: Tensor, features: Tensor, max_elements: int) -> Tensor:
    """Compute W [1, S_1, ..., S_T], (B, 1 + T, N).

    Where the maps add up to 1, the last product is the rest of the first and is not filtered. On
    CPUs compiled loops stand in for `permutohedral_filter`. They take an image per thread, whatever
    ``max_elements`` is, and give the same numbers to the last bit where N is a multiple of 32;
    elsewhere torch sums a point's six vertices in another order at the ends of its vectors, so that
    its last bit depends on the number of threads, which theirs never does.
    """
    with torch.no_grad(), torch.autocast(maps.device.type, enabled=False):
        tolerance = 8 * torch.finfo(maps.dtype).eps
        complete = bool(((maps.sum(1) - 1).abs() <= tolerance).all())
        batch, channels, points = maps.shape
        products = maps.new_empty(batch, 1 + channels, points)
        filtered = products[:, : 1 + channels - complete]
        filtered[:, 0] = 1
        filtered[:, 1:] = maps[:, : channels - complete]
        loops = compiled_loops("lattice") if maps.device.type == "cpu" else None
        if loops is None or maps.dtype not in (torch.float32, torch.float64):
            filtered.copy_(permutohedral_filter(filtered, features, max_elements))
        else:
            _filter_in_place(loops, filtered, features)
        if complete:
            torch.sub(filtered[:, 0], filtered[:, 1:].sum(1), out=products[:, -1])
    return products


def _filter_in_place(loops: ModuleType, values: Tensor, features: Tensor) -> None:
    """Filter values (B, C, N) by `permutohedral_filter`, each thread an image at a time."""
    coordinates = lattice_coordinates(features)
    shift, boxes = (part.numpy() for part in lattice_boxes(coordinates))
    images, channels, points = values.shape
    sizes = [lattice_strides(box, channels) for box in boxes.tolist()]
    room = max(2 * cells + 8 * sum(strides) for cells, strides in sizes)
    values, coordinates = values.numpy(), coordinates.contiguous().numpy()
    scale = values.dtype.type(LATTICE_SCALE)

    def work(numbers: Iterator[int]) -> None:
        weights, vertices = np.empty((6, points), values.dtype), np.empty((6, points), np.int32)
        lattice = np.empty(room, values.dtype)
        for image in numbers:
            cells, strides = sizes[image]
            loops.filter_image(
                values[image],
                coordinates[image],
                shift[image],
                np.array(strides, np.int32),
                scale,
                weights,
                vertices,
                lattice[: 2 * cells + 8 * sum(strides)],
            )

    over_images(work, images)

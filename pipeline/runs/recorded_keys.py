"""Values that the keys of a recorded configuration may have, and the limits of their numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

MAX_CLASSES = 50_000  # which of them share parts takes CALM their square in bytes
MAX_CHANNELS = 1024  # in an image
MAX_SIDE = 8192  # pixels along one side
MAX_PIXELS = 2**29  # in a batch
MAX_WIDTH = 65_536  # channels in a layer, and any other number that describes a network
MAX_IMAGES = 1_000_000  # in a rendered split
MAX_LEARNED = 10**9  # boxes or masks that were learned from
MAX_RENDERED = 10**10  # pixels in a rendered data set
MAX_PROCESSES = 1024


class Kind(NamedTuple):
    """Values that a key of a recorded configuration may have, and how a message puts them."""

    test: Callable[[Any], bool]
    told: str


def count_up_to(most: int, least: int = 1) -> Kind:
    """Describe integers in a range, both ends included."""
    return Kind(
        lambda v: isinstance(v, int) and not isinstance(v, bool) and least <= v <= most,
        f"an integer from {least} to {most:,}",
    )


def _or_none(kind: Kind) -> Kind:
    return Kind(lambda v: v is None or kind.test(v), f"{kind.told}, or null")


def is_number(value: Any) -> bool:
    """Tell whether a value is a finite number."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)


_TEXT = Kind(lambda v: isinstance(v, str) and v not in ("", "???"), "a text")
_GROUP = Kind(lambda v: isinstance(v, dict), "a group of keys")
_CHANNELS = Kind(
    lambda v: isinstance(v, list) and 0 < len(v) <= MAX_CHANNELS and all(map(is_number, v)),
    "a number for each channel",
)
_SIDE = count_up_to(MAX_SIDE)
_SIZE = Kind(
    lambda v: _SIDE.test(v) or (isinstance(v, list) and len(v) == 2 and all(map(_SIDE.test, v))),
    f"{_SIDE.told}, or two of them, height and width",
)

NEEDED = {
    "model": _GROUP,
    "model.name": _TEXT,
    "model.network": _GROUP,
    "model.module": _GROUP,
    "backbone": _GROUP,
    "backbone.name": _TEXT,
    "recipe": _GROUP,
    "data": _GROUP,
    "data._target_": _TEXT,
    "data.name": _TEXT,
    "data.crop_size": _SIZE,
    "data.resize_size": _SIZE,
    "data.batch_size": count_up_to(MAX_PIXELS),
    "data.mean": _CHANNELS,
    "data.std": Kind(
        lambda v: _CHANNELS.test(v) and all(map((0.0).__lt__, map(float, v))),
        "a number above 0 for each channel",
    ),
    "data.center_crop": Kind(lambda v: isinstance(v, bool), "true or false"),
    "seed": count_up_to(2**32 - 1, 0),
}
OPTIONAL = {
    "data.eval_batch_size": _or_none(count_up_to(MAX_PIXELS)),
    "data.evaluation_resize": _or_none(_SIDE),
    "data.channels": count_up_to(MAX_CHANNELS),
    "data.shown_channels": _or_none(_CHANNELS),
    "data.num_workers": count_up_to(MAX_PROCESSES, 0),
    "data.num_classes": _or_none(count_up_to(MAX_CLASSES)),
    "data.reader": _or_none(_GROUP),
    "data.reader.image_size": _SIDE,
    "data.reader.num_classes": count_up_to(MAX_CLASSES),
    "data.reader.workers": _or_none(count_up_to(MAX_PROCESSES)),
    **{
        f"data.reader.{split}_images": count_up_to(MAX_IMAGES) for split in ("train", "val", "test")
    },
}

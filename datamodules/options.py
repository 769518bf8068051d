"""Checks of the options of a data module."""

from collections.abc import Mapping, Sequence
from typing import Any

from learned_saliency.datamodules.arrays import AXES
from learned_saliency.datamodules.batch import TASKS
from learned_saliency.datamodules.dataset import CACHES
from learned_saliency.datamodules.decoding import COLORS, Decoding
from learned_saliency.datamodules.sizes import Size


def check_options(options: Mapping[str, Any]) -> None:
    """Check that the numbers a data module is made with are in range.

    Args:
        options: Arguments of `WSOLDataModule` by name.

    Raises:
        ValueError: If a number is out of range.
    """
    if options["task"] not in TASKS:
        raise ValueError(f"expected a task of {', '.join(TASKS)}, got {options['task']!r}")
    for name in ("batch_size", "eval_batch_size"):
        if options[name] < 1:
            raise ValueError(f"expected {name} of 1 or more, got {options[name]}")
    _check_crop(options["resize_size"], options["crop_size"], options["evaluation_resize"])
    if options["limit"] is not None and options["limit"] < 1:
        raise ValueError(f"expected limit of 1 or more, got {options['limit']}")
    if options["num_workers"] < 0 or options["seed"] < 0 or not 0 < options["train_fraction"] <= 1:
        raise ValueError(
            "expected num_workers and seed of 0 or more and train_fraction in (0, 1], got"
            f" {options['num_workers']}, {options['seed']} and {options['train_fraction']}"
        )
    if options["permute_labels"] is not None and options["permute_labels"] < 0:
        raise ValueError(f"expected permute_labels of 0 or more, got {options['permute_labels']}")
    if options["cache"] not in CACHES:
        raise ValueError(f"expected a cache of {', '.join(CACHES)}, got {options['cache']!r}")
    if options["max_value"] is not None and not options["max_value"] > 0:
        raise ValueError(f"expected max_value above 0, got {options['max_value']}")
    check_channels(options["decoding"], options["mean"], options["std"], options["shown_channels"])
    if options["fast_decode"] and options["decoding"].channels != COLORS:
        raise ValueError(
            "fast_decode=true is for 3 channels of 8 bits, and others are always decoded exactly; "
            "leave it out"
        )


def check_channels(
    decoding: Decoding,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    shown: Sequence[int] | None = None,
) -> None:
    """Check that what is said about the channels of images fits together.

    Args:
        decoding: With their number.
        mean: Mean of each of them; None where it is not known yet.
        std: Standard deviation of each of them, likewise.
        shown: The three that are shown as red, green and blue; None for the first ones.

    Raises:
        ValueError: If it does not fit.
    """
    channels = decoding.channels
    if channels < 1 or decoding.array_axes not in AXES:
        raise ValueError(
            f"expected 1 or more channels and array_axes of {' or '.join(AXES)}, got {channels} "
            f"and {decoding.array_axes!r}"
        )
    if (mean is None) != (std is None):
        raise ValueError(f"expected mean and std or neither of them, got {mean} and {std}")
    if mean is not None and (len(mean) != channels or len(std) != channels or min(std) <= 0):
        raise ValueError(
            f"expected {channels} means and {channels} positive std for as many channels, got "
            f"{mean}, {std}"
        )
    if shown is not None and (len(shown) != COLORS or not all(0 <= i < channels for i in shown)):
        raise ValueError(
            f"expected shown_channels of three channels from 0 to {channels - 1}, got {list(shown)}"
        )


def _check_crop(resize: Size, crop: Size, shorter: int | None) -> None:
    """Check that a crop has pixels and fits into the images that it is cut out of.

    Raises:
        ValueError: If it does not.
    """
    for name, size in (("resize_size", resize), ("crop_size", crop)):
        if min(size) < 1:
            raise ValueError(f"expected {name} of 1 or more, got {size}")
    if crop.height > resize.height or crop.width > resize.width:
        raise ValueError(f"expected crop_size of at most resize_size, got {crop} > {resize}")
    if shorter is not None and shorter < max(crop):
        side = "crop_size" if crop.height == crop.width else "the longer side of crop_size"
        raise ValueError(f"expected evaluation_resize of at least {side}, got {shorter} < {crop}")

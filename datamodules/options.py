"""What the options of the data module have to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from datamodules.wsol import WSOLDataModule


class Reader(Protocol):
    """Makes a data set's metadata, and where needed its images, on first use."""

    def prepare(self, root: Path, metadata: Path) -> None:
        """Write what is missing below ``root`` and ``metadata``; do nothing if all is there."""


def check_options(data: WSOLDataModule) -> None:
    """Check that the numbers a data module was made with are in range.

    Raises:
        ValueError: If one is not.
    """
    for name in ("resize_size", "crop_size", "batch_size", "eval_batch_size"):
        if getattr(data, name) < 1:
            raise ValueError(f"expected {name} of 1 or more, got {getattr(data, name)}")
    if data.crop_size > data.resize_size:
        sides = f"{data.crop_size} > {data.resize_size}"
        raise ValueError(f"expected crop_size of at most resize_size, got {sides}")
    if data.num_workers < 0 or data.seed < 0 or not 0 < data.train_fraction <= 1:
        raise ValueError(
            "expected num_workers and seed of 0 or more and train_fraction in (0, 1], got"
            f" {data.num_workers}, {data.seed} and {data.train_fraction}"
        )
    if len(data.mean) != 3 or len(data.std) != 3 or min(data.std) <= 0:
        raise ValueError(f"expected 3 means and 3 positive std, got {data.mean}, {data.std}")

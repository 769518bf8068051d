"""Images that are set aside from the training images as `val`, where a data set has none."""

import numpy as np

from learned_saliency.datamodules.textfile import DataError


def check_draw(val_per_class: int, seed: int) -> None:
    """Check the options of `draw_val`.

    Raises:
        ValueError: If ``val_per_class`` is below 1 or ``seed`` below 0.
    """
    if val_per_class < 1:
        raise ValueError(f"expected val_per_class of 1 or more, got {val_per_class}")
    if seed < 0:
        raise ValueError(f"expected a seed of 0 or more, got {seed}")


def draw_val(labels: np.ndarray, rows: np.ndarray, per_class: int, seed: int) -> np.ndarray:
    """Draw as many images of each class at random, at least one of which is left over.

    Args:
        labels: Classes of all N images, integers of shape (N,).
        rows: Images to draw from, indices of shape (R,).
        per_class: Images to draw of each class, 1 or more.
        seed: Seed of the draw, 0 or more.

    Returns:
        The drawn images, indices in ascending order.

    Raises:
        DataError: If a class has no more than ``per_class`` images in ``rows``.
    """
    generator = np.random.default_rng(seed)
    by_class = rows[np.argsort(labels[rows], kind="stable")]
    found, starts = np.unique(labels[by_class], return_index=True)
    drawn = []
    for label, members in zip(found, np.split(by_class, starts[1:]), strict=True):
        if len(members) <= per_class:
            raise DataError(
                f"class {label} has {len(members)} training images, too few to set {per_class} of"
                " them aside; lower `val_per_class`."
            )
        drawn.append(generator.choice(members, per_class, replace=False))
    return np.sort(np.concatenate(drawn))

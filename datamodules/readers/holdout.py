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


def draw_val(
    labels: np.ndarray,
    rows: np.ndarray,
    per_class: int,
    seed: int,
    *,
    what: str = "training images",
    left_over: int = 1,
) -> np.ndarray:
    """Draw as many images of each class at random.

    Args:
        labels: Classes of all N images, integers of shape (N,).
        rows: Images to draw from, indices of shape (R,).
        per_class: Images to draw of each class, 1 or more.
        seed: Seed of the draw, 0 or more.
        what: Noun phrase for what is drawn from, in the message.
        left_over: Images of each class in ``rows`` that must be left over.

    Returns:
        The drawn images, indices in ascending order.

    Raises:
        DataError: If a class of any image has too few in ``rows``.
    """
    generator = np.random.default_rng(seed)
    order = np.argsort(labels[rows], kind="stable")
    classes = np.unique(labels)
    bounds = np.searchsorted(labels[rows][order], classes)
    drawn = [np.empty(0, np.int64)]
    for label, members in zip(classes, np.split(rows[order], bounds[1:]), strict=True):
        if len(members) < per_class + left_over:
            raise DataError(
                f"class {label} has {len(members)} {what}, too few to set {per_class} of them"
                " aside; lower `val_per_class`."
            )
        drawn.append(generator.choice(members, per_class, replace=False))
    return np.sort(np.concatenate(drawn))

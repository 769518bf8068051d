"""Scores that are explained: functions of the logits and the class."""

from collections.abc import Callable

from torch import Tensor

#: Function of logits (R, C) and classes (R,) to scores (R,).
Score = Callable[[Tensor, Tensor], Tensor]


def _logit(logits: Tensor, targets: Tensor) -> Tensor:
    return logits.gather(1, targets[:, None])[:, 0]


def _probability(logits: Tensor, targets: Tensor) -> Tensor:
    return _logit(_of_several(logits, "probability").softmax(dim=1), targets)


def _log_probability(logits: Tensor, targets: Tensor) -> Tensor:
    return _logit(_of_several(logits, "log_probability").log_softmax(dim=1), targets)


def _margin(logits: Tensor, targets: Tensor) -> Tensor:
    others = _of_several(logits, "margin").scatter(1, targets[:, None], float("-inf"))
    return _logit(logits, targets) - others.amax(dim=1)


def centered_logit(logits: Tensor, targets: Tensor) -> Tensor:
    """Compute y_c minus the mean of all classes' logits, of logits (R, C) and classes (R,).

    It is free of whatever all classes' weights have in common.

    Raises:
        ValueError: If there is one class, whose score would be 0.
    """
    if logits.shape[1] < 2:
        raise ValueError("center=True compares classes, of which there is one: leave it out")
    return _logit(logits, targets) - logits.mean(dim=1)


def _of_several(logits: Tensor, target: str) -> Tensor:
    """Check that there are classes to compare; of a single one the score would be constant."""
    if logits.shape[1] < 2:
        raise ValueError(
            f"target={target!r} compares classes, of which there is one: explain its logit"
        )
    return logits


#: Scores to explain, by their words: logits (R, C) and classes (R,) to scores (R,); g_c of paper
#: 000, Sec. 3.2.
TARGETS: dict[str, Score] = {
    "logit": _logit,
    "probability": _probability,
    "log_probability": _log_probability,
    "margin": _margin,
}

"""Scores that are explained: functions of the logits and the class."""

from collections.abc import Callable

from torch import Tensor

from learned_saliency.ops import Activation

#: Function of logits (R, C) and classes (R,) to scores (R,).
Score = Callable[[Tensor, Tensor], Tensor]

_SOFTMAX, _SIGMOID = Activation.SOFTMAX, Activation.SIGMOID


def _logit(logits: Tensor, targets: Tensor, activation: Activation = _SOFTMAX) -> Tensor:
    return logits.gather(1, targets[:, None])[:, 0]


def _probability(logits: Tensor, targets: Tensor, activation: Activation = _SOFTMAX) -> Tensor:
    found = activation.probabilities(_of_several(logits, "probability", activation))
    return _logit(found, targets)


def _log_probability(logits: Tensor, targets: Tensor, activation: Activation = _SOFTMAX) -> Tensor:
    found = activation.log_probabilities(_of_several(logits, "log_probability", activation))
    return _logit(found, targets)


def _margin(logits: Tensor, targets: Tensor, activation: Activation = _SOFTMAX) -> Tensor:
    if activation is _SIGMOID:
        return _logit(logits, targets)
    if activation is Activation.IDENTITY:
        raise ValueError(
            "target='margin' compares classes, and the network tells values: explain the value "
            "itself, target='logit'"
        )
    others = _of_several(logits, "margin", activation).scatter(1, targets[:, None], float("-inf"))
    return _logit(logits, targets) - others.amax(dim=1)


def centered_logit(logits: Tensor, targets: Tensor) -> Tensor:
    """Compute y_c minus the mean of all classes' logits, of logits (R, C) and classes (R,).

    It is free of whatever all classes' weights have in common.
    """
    return _logit(logits, targets) - logits.mean(dim=1)


def check_centered(logits: Tensor, activation: Activation) -> None:
    """Check that `centered_logit` means something for logits (R, C) of a classifier.

    Raises:
        ValueError: If there is one class, whose score would be 0, or classes do not exclude each
            other: the training of each of their weights is its own; or there are values instead.
    """
    if logits.shape[1] < 2:
        raise ValueError("center=True compares classes, of which there is one: leave it out")
    if activation is not _SOFTMAX:
        others = "those of a sigmoid do not" if activation is _SIGMOID else "values do not"
        raise ValueError(
            f"center=True compares classes that exclude each other, which {others}: leave it out"
        )


def _of_several(logits: Tensor, target: str, activation: Activation) -> Tensor:
    """Check that there are classes to compare; of a single one the score would be constant."""
    if logits.shape[1] < 2 and activation is _SOFTMAX:
        raise ValueError(
            f"target={target!r} compares classes, of which there is one: explain its logit"
        )
    return logits


#: Scores to explain, by their words: logits (R, C) and classes (R,), and the `Activation` of the
#: classifier, softmax by default, to scores (R,); g_c of paper 000, Sec. 3.2. Of a sigmoid the
#: margin is y_c, the distance from the decision that the class is there.
TARGETS: dict[str, Callable[..., Tensor]] = {
    "logit": _logit,
    "probability": _probability,
    "log_probability": _log_probability,
    "margin": _margin,
}

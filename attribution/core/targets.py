"""Scores that are explained: functions of the logits and the class."""

from collections.abc import Callable

from torch import Tensor


def _logit(logits: Tensor, targets: Tensor) -> Tensor:
    return logits.gather(1, targets[:, None])[:, 0]


def _probability(logits: Tensor, targets: Tensor) -> Tensor:
    return _logit(logits.softmax(dim=1), targets)


def _log_probability(logits: Tensor, targets: Tensor) -> Tensor:
    return _logit(logits.log_softmax(dim=1), targets)


def _margin(logits: Tensor, targets: Tensor) -> Tensor:
    if logits.shape[1] < 2:
        raise ValueError("the margin to the best other class needs at least two classes")
    others = logits.scatter(1, targets[:, None], float("-inf"))
    return _logit(logits, targets) - others.amax(dim=1)


#: Scores to explain, by their words: logits (R, C) and classes (R,) to scores (R,); g_c of paper
#: 000, Sec. 3.2.
TARGETS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "logit": _logit,
    "probability": _probability,
    "log_probability": _log_probability,
    "margin": _margin,
}

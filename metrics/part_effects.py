"""Effects that the parts of an object have on a classifier, measured by removing them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_RELEVANT = 0.05  # smallest drop that counts, as a fraction of the logit (Hesse et al. 2023)


class PartEffects(NamedTuple):
    """Logits of images with parts removed, from which all effects follow.

    Attributes:
        logits: Logits (B, 2^P, C) without each set of the P parts: in number m the part p, from 0,
            is missing where bit p of m is set. Number 0 is the image itself.
        distractors: Logits (B, D, C) without each distractor of the background; NaN where an image
            has fewer than D of them.
        plain: Logits (B, C) before a plain background.
        labels: True classes, int64 (B,).
    """

    logits: Tensor
    distractors: Tensor
    plain: Tensor
    labels: Tensor

    @property
    def parts(self) -> int:
        """Number of parts P."""
        return self.logits.shape[1].bit_length() - 1

    @property
    def predicted(self) -> Tensor:
        """Predicted class of each image, int64 (B,): the class that is explained."""
        return self.logits[:, 0].argmax(1)

    def drops(self) -> Tensor:
        """Compute what the predicted class's logit loses without each part, float64 (B, P)."""
        return self._lost(self.logits[:, [2**p for p in range(self.parts)]])

    def distractor_drops(self) -> Tensor:
        """Compute the same without each distractor, float64 (B, D); NaN where there is none."""
        return self._lost(self.distractors)

    def relevant(self, drops: Tensor) -> Tensor:
        """Find the drops of at least 5 % of the logit's size, bool like ``drops`` (B, R).

        What lets the logit rise, however much, is not relevant; NaN is not.
        """
        whole = self._of_predicted(self.logits[:, :1])
        return (drops >= _RELEVANT * whole.abs()) & (drops > 0)

    def _lost(self, logits: Tensor) -> Tensor:
        return self._of_predicted(self.logits[:, :1]) - self._of_predicted(logits)

    def _of_predicted(self, logits: Tensor) -> Tensor:
        """Select the predicted class's logits, float64 (B, R), of (B, R, C)."""
        classes = self.predicted[:, None, None].expand(-1, logits.shape[1], 1)
        return logits.double().gather(2, classes)[..., 0]


class Contrast(NamedTuple):
    """Two classes per image, each of which shares other parts with it.

    Attributes:
        classes: The two classes, int64 (B, 2).
        parts: Parts that the image shares with each of them, bool (B, 2, P); the two sets have no
            part in common.
        valid: Whether the classifier bears out that there is a contrast, bool (B,).
    """

    classes: Tensor
    parts: Tensor
    valid: Tensor


def find_contrasts(effects: PartEffects, shared: Tensor) -> Contrast:
    """Find for each image two classes whose evidence lies in different parts of it.

    The classes a and b share with the image's class non-empty sets of parts, A and B, as many in
    each and none in both. The classifier bears the contrast out where removing A lowers a's logit
    more than removing B does, and the other way round for b (Hesse et al. 2023, Sec. 4.3); by how
    much is the smaller of the two differences. Among all pairs the one with the largest is taken,
    where they take the first and leave out images whose pair is not borne out.

    Args:
        effects: Logits with parts removed.
        shared: Whether two classes share a part, bool (C, C, P).

    Returns:
        One pair per image. Where no pair is borne out, it is not valid.
    """
    device, parts, count = effects.logits.device, effects.parts, len(effects.labels)
    shared = shared.to(device)
    numbers = (shared * 2 ** torch.arange(parts, device=device)).sum(2)  # (C, C), of sets of parts
    classes = torch.zeros(count, 2, dtype=torch.int64, device=device)
    valid = torch.zeros(count, dtype=torch.bool, device=device)
    for row, label in enumerate(effects.labels.tolist()):
        pairs = _pairs(shared[label], label)
        if not len(pairs):
            continue
        (first, second), logits = pairs.unbind(1), effects.logits[row].double()
        a, b = numbers[label, first], numbers[label, second]
        of_first = logits[b, first] - logits[a, first]
        of_second = logits[a, second] - logits[b, second]
        margins = torch.minimum(of_first, of_second)
        best = margins.argmax()
        classes[row], valid[row] = pairs[best], margins[best] > 0
    sets = shared[effects.labels.to(device)[:, None], classes]
    return Contrast(classes, sets, valid)


def _pairs(shared: Tensor, label: int) -> Tensor:
    """List the pairs of other classes that share separate sets of parts, as many each, (K, 2)."""
    counts = shared.sum(1)
    counts[label] = 0
    common = shared.double() @ shared.double().T  # (C, C), number of parts that both share
    fits = (common == 0) & (counts[:, None] == counts) & (counts > 0)
    return torch.nonzero(fits.triu(1))

"""Levels of a given classifier in the form of a backbone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from learned_saliency.attribution.core.split import SplitClassifier


class LevelBackbone(nn.Module):
    """The levels of a `LeveledClassifier` as a backbone; it has no parameters of its own.

    Args:
        classifier: The classifier, with its ``description`` and ``extract``.
        channels: Channels K_i of each level, from fine to coarse.
        reductions: Pixels of the image per cell of each level, along one side, rounded.

    Attributes:
        frozen: True: no parameter needs a gradient, and the mode is that of evaluation.
    """

    frozen = True

    def __init__(
        self, classifier: SplitClassifier, channels: Sequence[int], reductions: Sequence[int]
    ) -> None:
        super().__init__()
        self.training = False
        object.__setattr__(self, "_classifier", classifier)  # no part of this module
        self.channels = list(channels)
        self.reductions = list(reductions)

    def named_parameters(self, *args: Any, **options: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """List the network's parameters, which tell whether it is frozen and the same as before.

        There are none where the head reads more than the levels: they cannot be kept then.
        """
        return self._parts("named_parameters", *args, **options)

    def named_buffers(self, *args: Any, **options: Any) -> Iterator[tuple[str, Tensor]]:
        """List the network's buffers, see `named_parameters`."""
        return self._parts("named_buffers", *args, **options)

    def _parts(self, kind: str, *args: Any, **options: Any) -> Iterator[Any]:
        given = self._classifier
        kept = given.pure and given.layout.name != "tokens"
        return getattr(given.model, kind)(*args, **options) if kept else iter(())

    def extra_repr(self) -> str:
        """Describe the network and its levels."""
        return f"{self._classifier.description}, {self._classifier.model!r}"

    def forward(self, images: Tensor) -> list[Tensor]:
        """Extract levels (B, K_i, h_i, w_i) of images (B, 3, H, W) in one pass."""
        return self._classifier.extract(images)

"""Compilation of the training steps of a module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch import nn

from learned_saliency.trainers.base import SaliencyModule


class CompiledTraining(L.Callback):
    """Callback that compiles what a module declares as its `SaliencyModule.compiled_parts`.

    The ``forward`` of each part is compiled by ``torch.compile`` when it is first called in a
    training batch, once for each size of the batch, and later for any. In validation, for pictures
    and after the training the parts run as they are: maps, gradients and hooks of post-hoc methods
    meet no compiled code. Weights keep their names, and losses and optimizers are not compiled.

    The end of the training empties torch's caches of compiled code, all of this process: they are
    kept for each function, not for each network, and are full after some networks.

    Args:
        mode: Mode of ``torch.compile``.
        backend: Backend of ``torch.compile``; ``"aot_eager"`` needs no C++ compiler.
    """

    def __init__(self, mode: str = "default", backend: str = "inductor") -> None:
        self.mode = mode
        self.backend = backend
        self._compiled: list[tuple[nn.Module, Callable[..., Any]]] = []

    def on_train_start(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        """Wrap the parts."""
        self._compiled = [
            (part, torch.compile(part.forward, mode=self.mode, backend=self.backend))
            for part in module.compiled_parts
        ]
        self._put_in()

    def on_validation_start(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        """Leave the parts as they are."""
        self._take_out()

    def on_validation_end(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        """Go on with compiled parts."""
        self._put_in()

    def on_train_end(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        """Leave the parts as they were."""
        self._end()

    def on_exception(
        self, trainer: L.Trainer, module: SaliencyModule, exception: BaseException
    ) -> None:
        """Leave the parts as they were."""
        self._end()

    def _put_in(self) -> None:
        for part, forward in self._compiled:
            part.forward = forward

    def _take_out(self) -> None:
        for part, _ in self._compiled:
            vars(part).pop("forward", None)

    def _end(self) -> None:
        if self._compiled:
            self._take_out()
            self._compiled = []
            torch.compiler.reset()

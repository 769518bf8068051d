"""Keeper of pictures of tested images, for a page to look at."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from functools import partial
from typing import Any

import lightning as L
import numpy as np

from learned_saliency.datamodules import WSOLBatch
from learned_saliency.trainers.base import SaliencyModule
from learned_saliency.trainers.callbacks.contact_sheet import count_tested
from learned_saliency.trainers.callbacks.gallery_images import (
    GalleryImage,
    badness,
    draw_image,
    plain,
    restored,
)
from learned_saliency.trainers.callbacks.journal import Kept
from learned_saliency.trainers.outputs import TestOutput
from learned_saliency.trainers.strategies.processes import gathered


class Gallery(Kept, L.Callback):
    """Keeper of pictures of some tested images with the maps of all methods.

    Of a split of more than ``count`` images one half is spread evenly over it; the other half are
    the images that the first method failed most on, by the IoU of its box, else by the probability
    of the true class. Beside methods of an earlier test, whose pictures are kept, the images are
    those which these pictures show.

    Args:
        count: Number of images; 0 for none.

    Attributes:
        asked: Places of the images to show, where an earlier test has chosen them.
        images: The images after the test, in the order of the split; in the first process alone.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.asked: frozenset[int] = frozenset()
        self.images: list[GalleryImage] = []
        self._taken: dict[str, dict[int, GalleryImage]] = {}
        self._chosen: frozenset[int] = frozenset()
        self._most = 0  # number of images that are shown because they are bad
        self._worst: list[tuple[float, int]] = []  # a heap: the least bad first
        self._drawn: dict[int, GalleryImage] = {}

    def on_test_start(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        """Choose the images that are shown anyway."""
        images = count_tested(trainer)
        self._most = self.count // 2 if images > self.count and not self.asked else 0
        number = min(images, self.count - self._most)
        spread = np.linspace(0, images - 1, number).round().astype(int).tolist()
        self._chosen = self.asked or frozenset(spread)
        self._drawn, self._worst, self.images = {}, [], []

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        module: SaliencyModule,
        outputs: TestOutput,
        batch: WSOLBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw the chosen images of a batch, and those that are worse than others so far.

        The network goes on meanwhile.
        """
        if outputs.maps and self.count:
            module.aside.run(partial(self._draw, module, outputs, batch))

    def _draw(self, module: SaliencyModule, outputs: TestOutput, batch: WSOLBatch) -> None:
        for i, place in enumerate(batch["index"].tolist()):
            if place in self._chosen or self._is_among_the_worst(
                place, badness(module, outputs, batch, i) if self._most else 0.0
            ):
                self._drawn[place] = draw_image(module, outputs, batch, i)

    def _is_among_the_worst(self, place: int, bad: float) -> bool:
        """Tell whether an image is among the worst so far; another one makes room for it."""
        entry = (bad, -place)
        if not self._most:
            return False
        if len(self._worst) >= self._most:
            if entry <= self._worst[0]:
                return False
            del self._drawn[-heapq.heappop(self._worst)[1]]
        heapq.heappush(self._worst, entry)
        return True

    def on_test_end(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        """Bring the images of all processes and methods together."""
        shares = gathered((self._drawn, self._worst))
        worst = heapq.nlargest(self._most, (entry for _, share in shares for entry in share))
        shown = self._chosen | {-place for _, place in worst}
        drawn = {k: image for share, _ in shares for k, image in share.items() if k in shown}
        if not trainer.is_global_zero:
            return
        parts = [drawn, *self._taken.values()]
        for place in sorted({place for part in parts for place in part}):
            of_place = [part[place] for part in parts if place in part]
            maps = {name: found for image in of_place for name, found in image.maps.items()}
            ordered = {name: maps[name] for name in module.map_names if name in maps}
            self.images.append(of_place[0]._replace(maps=ordered))

    def kept(self) -> dict[str, Any]:
        """Return what was drawn so far, in tensors and plain values."""
        images = {str(place): plain(image) for place, image in self._drawn.items()}
        return {"images": images, "worst": list(self._worst)}

    def take(self, kept: dict[str, Any]) -> None:
        """Add what was drawn before."""
        self._drawn |= {int(place): restored(image) for place, image in kept["images"].items()}
        self._worst = [*self._worst, *map(tuple, kept["worst"])]
        heapq.heapify(self._worst)

    def take_method(self, name: str, images: Mapping[str, Any]) -> None:
        """Add what an earlier test has drawn of a method, see `of_method`."""
        self._taken[name] = {int(place): restored(image) for place, image in images.items()}

    def of_method(self, name: str) -> dict[str, Any]:
        """Return what the last test has drawn of a method by place, in tensors and plain values."""
        return {
            str(image.place): plain(image._replace(maps={name: image.maps[name]}))
            for image in self.images
            if name in image.maps
        }

"""The network on tiles: what it gives for each, and how far a tile's border reaches into it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from learned_saliency.attribution import (
    Classifier,
    MeanActivations,
    PostHocMethod,
    SharedFeatures,
    encode,
)
from learned_saliency.datamodules import standardize
from learned_saliency.ops import widen
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.prediction.predictor import SaliencyPredictor
from learned_saliency.trainers import NATIVE

_POOLED = 1e-3  # largest difference of logits of a head that reads means alone
_MORE = 256  # pixels by which an image grows to see how many cells that adds
_LEAST, _MOST, _WIDE = 128, 256, 1024  # height and width of the strip of noise in pixels
_TOLERANCE = 1e-4  # share of a map's range that counts as no difference


class Seen(NamedTuple):
    """Output of the network for a batch of tiles.

    Attributes:
        images: The tiles, (B, 3, H, W).
        classifier: The classifier with the activations of the tiles.
        features: The activations (B, K, h, w), at least float32.
        logits: Class scores of each tile, (B, C), at least float32.
        native: Native maps (B, H, W) in [0, 1]; None where these are not joined. Where they depend
            on the class, those of each tile's own predicted class.
    """

    images: Tensor
    classifier: Classifier
    features: Tensor
    logits: Tensor
    native: Tensor | None


class Whole(NamedTuple):
    """Facts about a whole image.

    Attributes:
        means: Mean activations (1, K).
        logits: Class scores (1, C).
        seen: Some tiles, of which the head is taken.
    """

    means: Tensor
    logits: Tensor
    seen: Seen


class JoinedMap(NamedTuple):
    """A map that is joined from those of the tiles.

    Attributes:
        method: Name of the method.
        target: Class that the map explains; None where the map is the same for every class.
        of: Function of tiles to their raw maps (B, h, w).
        source: The method, which resizes and normalizes; None for a map of probabilities, which
            stays as it is.
    """

    method: str
    target: int | None
    of: Callable[[Seen], Tensor]
    source: PostHocMethod | None


class TileNetwork:
    """A predictor's network and methods on tiles.

    Args:
        model: The predictor.

    Raises:
        UserError: If a method cannot explain an image part by part.
    """

    def __init__(self, model: SaliencyPredictor) -> None:
        self.model = model
        self.module = model.module
        self.classifier = model.module.classifier
        native = self.module.native
        self._joins_native = NATIVE in model.methods and native.in_parts
        self._sources = {
            name: native.class_wise if name == NATIVE else self.module.methods[name]
            for name in model.methods
            if not (name == NATIVE and native.in_parts)
        }
        for name, source in self._sources.items():
            reason = "its map is scaled or compared over the whole image"
            if source is not None:
                reason = source.part_obstacle(self.classifier)
            if reason is not None:
                raise UserError(f"tile: {name} cannot explain an image in tiles: {reason}.")

    @property
    def per_class(self) -> bool:
        """True if a map depends on the class."""
        return bool(self._sources) or self.module.native.per_class

    @property
    def has_pixel_maps(self) -> bool:
        """True if a raw map may have a value for each pixel."""
        return self._joins_native

    @property
    def reads_means(self) -> bool:
        """True if a map needs the mean activations of the whole image before it."""
        return any(source.reads_means(self.classifier) for source in self._sources.values())

    @torch.no_grad()
    def look(self, images: Tensor) -> Seen:
        """Run the network on a batch of tiles, normalized and on its device, (B, 3, H, W)."""
        native = None
        if self._joins_native:
            found = self.module.explain(images, None)
            shared = SharedFeatures(self.classifier, images, found.features)
            native, logits = widen(found.saliency), found.logits
        else:
            shared = SharedFeatures(self.classifier, images)
            logits = shared(images)
        return Seen(images, shared, widen(shared.features(images)), widen(logits), native)

    @torch.no_grad()
    def head(self, seen: Seen, means: Tensor) -> Tensor | None:
        """Classify mean activations (1, K): logits (1, C); None if the head reads more."""
        head = encode(seen.classifier, seen.images)[1]
        rows = torch.zeros(1, dtype=torch.int64, device=means.device)
        try:
            own = head(seen.features[:1].mean((2, 3), keepdim=True), rows)
            logits = widen(head(means[:, :, None, None], rows))
        except (RuntimeError, ValueError, IndexError, AssertionError):  # a head of fixed size
            return None
        difference = (widen(own) - seen.logits[:1]).abs().max()
        return logits if difference <= _POOLED * (1 + seen.logits[:1].abs().max()) else None

    def plan(self, whole: Whole | None, targets: Sequence[int]) -> list[JoinedMap]:
        """Prepare the maps of an image.

        Args:
            whole: What is known of the image; None where `reads_means` is False.
            targets: The classes to explain.

        Raises:
            UserError: If a method needs a head that reads mean activations alone.
        """
        plans = []
        for name in self.model.methods:
            if name not in self._sources:
                plans += self._native(targets)
                continue
            source = self._sources[name]
            plans += [
                JoinedMap(name, k, self._maps(name, source, whole, k), source) for k in targets
            ]
        return plans

    def _native(self, targets: Sequence[int]) -> list[JoinedMap]:
        """Prepare the native map: one for all classes, or that of each."""
        if not self.module.native.per_class:
            return [JoinedMap(NATIVE, None, lambda seen: seen.native, None)]
        return [JoinedMap(NATIVE, k, partial(self._native_of, k), None) for k in targets]

    def _native_of(self, target: int, seen: Seen) -> Tensor:
        """Compute the native maps (B, H, W) of a class, from the pass that was made."""
        features = seen.classifier.features(seen.images)
        targets = torch.full((len(seen.images),), target, device=features.device)
        return widen(self.module.native_maps(features, seen.images, targets))

    def _maps(
        self, name: str, source: PostHocMethod, whole: Whole | None, target: int
    ) -> Callable[[Seen], Tensor]:
        """Make the function of tiles to a method's raw maps of a class."""
        targets = torch.tensor([target], device=self.module.device)
        stand_in = MeanActivations(self.classifier, torch.zeros(1, 1), torch.zeros(1, 3, 1, 1))
        if source.reads_means(self.classifier):
            if self.head(whole.seen, whole.means) is None:
                raise UserError(
                    f"tile: {name} needs a network that pools its last activations by their mean "
                    "before it classifies; CAM of a network with class maps of its own, or the "
                    "native map, need none."
                )
            head = encode(whole.seen.classifier, whole.seen.images)[1]
            images = whole.seen.images[:1]
            stand_in = MeanActivations(self.classifier, whole.means, images, head)
        maps = source.of_parts(stand_in, targets)
        return lambda seen: widen(maps(seen.classifier, seen.images))

    def step(self) -> tuple[int, bool]:
        """Find the pixels from cell to cell, and whether the network takes one size alone.

        Raises:
            UserError: If its cells do not divide the image evenly.
        """
        size = self.model.size
        cells = self.look(self._blank(size)).features.shape[-1]
        try:
            more = self.look(self._blank(size + _MORE)).features.shape[-1] - cells
        except (RuntimeError, ValueError, AssertionError):  # made for one size
            more = 0
        if more > 0 and _MORE % more == 0:
            return _MORE // more, False
        if size % cells == 0:
            return size // cells, True
        raise UserError(
            f"tile: the network makes {cells} cells of {size} pixels, on which no tiles can lie."
        )

    @torch.no_grad()
    def reach(self, step: int) -> int | None:
        """Find how far from a tile's border a map differs from that of a larger image.

        A strip of seeded noise of many scales is explained, and its middle half alone.

        Args:
            step: Pixels from cell to cell.

        Returns:
            Pixels, a multiple of ``step``; None where even the middle differs, because the network
            looks at the image as a whole.
        """
        height = -(-min(max(self.model.size, _LEAST), _MOST) // step) * step
        width = -(-_WIDE // (4 * step)) * 4 * step
        image = self._noise(height, width)
        seen = self.look(image)
        whole = Whole(seen.features.mean((2, 3)), seen.logits, seen)
        begin, count = width // 4, width // 2
        part = self.look(image[..., begin : begin + count].contiguous())
        reaches = [
            _reach(plan.of(seen)[0], plan.of(part)[0], begin, count, step)
            for plan in self.plan(whole, [int(seen.logits.argmax())])
        ]
        return None if None in reaches else max(reaches)

    def _blank(self, size: int) -> Tensor:
        return torch.zeros(1, 3, size, size, device=self.module.device)

    def _noise(self, height: int, width: int) -> Tensor:
        """Draw smooth noise with details of all sizes, normalized as an image, (1, 3, H, W)."""
        generator = torch.Generator().manual_seed(0)
        total = torch.zeros(1, 3, height, width)
        cell = width // 4
        while cell >= 1:
            drawn = torch.randn(1, 3, height // cell + 2, width // cell + 2, generator=generator)
            finer = F.interpolate(drawn, scale_factor=float(cell), mode="bilinear")
            total += finer[..., :height, :width]
            cell //= 2
        levels = (128 + 64 * total / total.std()).clamp(0, 255).to(torch.uint8)
        return standardize(levels, self.model.mean, self.model.std).to(self.module.device)


def _reach(whole: Tensor, part: Tensor, begin: int, pixels: int, step: int) -> int | None:
    """Compare the raw map (h, w) of a strip with that of a part of so many columns of pixels."""
    count = part.shape[1]
    cell = 1 if count == pixels else step
    first = begin // cell
    wrong = (part - whole[:, first : first + count]).abs().amax(0)
    wrong = wrong > _TOLERANCE * (whole.max() - whole.min())
    if not bool(wrong.any()):
        return 0
    columns = torch.arange(count, device=part.device)
    depths = torch.minimum(columns, count - 1 - columns)
    found = (int(depths[wrong].max()) + 1) * cell
    found = -(-found // step) * step
    return found if found < pixels // 2 else None

"""Function of images made of a trained model, or of any classifier."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import move_data_to_device
from numpy.typing import NDArray
from torch import Tensor

from learned_saliency.datamodules import (
    COLORS,
    Decoding,
    Pixels,
    Size,
    resize_pixels,
    standardize,
)
from learned_saliency.metrics import boxes_from_saliency
from learned_saliency.ops import Activation
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.prediction.images import AS_SEEN, pixels_of, separated
from learned_saliency.pipeline.prediction.outcomes import (
    ClassScore,
    ImageSaliency,
    PlacedMap,
    Request,
    SmallMaps,
    gathered,
)
from learned_saliency.pipeline.prediction.placing import to_original
from learned_saliency.pipeline.prediction.regions import place_region
from learned_saliency.pipeline.runs import (
    Coverage,
    Explaining,
    MapEffect,
    class_number,
    try_methods,
)
from learned_saliency.trainers import (
    NATIVE,
    Prediction,
    PredictionBatch,
    SaliencyModule,
    is_flat,
)

PREDICTED = "predicted"
_REPORTED = 5  # predicted classes
_PLAIN = Explaining({})
_MOST_PROBABLE = Request()

Refinement = Callable[[Pixels, NDArray[np.float32]], NDArray[np.float32]]


class SaliencyPredictor:
    """Maps, classes and boxes of images, by a module's ``predict_step``; see `load`.

    An image is resized to the network's input as in evaluation, and its maps are brought back to
    the image's size: bilinearly if they grow, averaging if they shrink. With ``center_crop`` or
    ``evaluation_resize`` in the run's data the network sees the middle, and maps are 0 outside
    of it. Boxes come from the maps of full size.

    Args:
        module: A trained module; it is moved to ``device`` and set to evaluation mode.
        size: Side of the network's input in pixels, or height and width.
        mean: Mean of each color channel, in [0, 1].
        std: Standard deviation of each color channel, above 0.
        center_crop: Whether the middle is taken; an integer R: of the image whose shorter
            edge is resized to R pixels, as by ``data.evaluation_resize``.
        class_names: Names of the classes; None for their numbers.
        methods: Methods whose maps are given, ``native`` and names of the module's methods; None
            for all.
        refine: Function that sharpens maps, called with image (H, W, 3) and map (H, W).
        device: Device that the network runs on.
        batch_size: Images per pass, at least 1.
        decoding: How files and PIL images are read.
        coverage: Promise of regions around the objects; None for none.
        explaining: How the network computes; it takes effect in `compare`.
        class_threshold: Probability, in [0, 1], from which a class of a network whose classes do
            not exclude each other counts as present.

    Attributes:
        size: Side of the network's input in pixels; of one that is no square ``[height, width]``.
        effect: Effect of ``explaining`` on the first images; None before them, or without options.
        box_threshold: The module's: fraction of a map's maximum above which a pixel belongs to the
            object, in [0, 1).
    """

    def __init__(
        self,
        module: SaliencyModule,
        *,
        size: int | Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
        center_crop: bool | int = False,
        class_names: Sequence[str] | None = None,
        methods: Sequence[str] | None = None,
        refine: Refinement | None = None,
        device: str | torch.device = "cpu",
        batch_size: int = 16,
        decoding: Decoding = AS_SEEN,
        coverage: Coverage | None = None,
        explaining: Explaining = _PLAIN,
        class_threshold: float = 0.5,
    ) -> None:
        self.decoding = decoding
        self.coverage = coverage
        self.explaining = explaining
        self.class_threshold = class_threshold
        self.effect: MapEffect | None = None
        self.box_threshold = float(module.box_threshold)
        self.device = torch.device(device)
        self.module = module.to(self.device).eval()
        self.size = Size.of(size).plain
        self.mean = torch.tensor(list(mean), dtype=torch.float32)
        self.std = torch.tensor(list(std), dtype=torch.float32)
        self.center_crop = center_crop
        self.methods = list(methods or module.map_names)
        self.refine = refine
        self.batch_size = batch_size
        self.num_classes = self._try_on_noise()
        self.class_names = list(class_names or map(str, range(self.num_classes)))
        if len(self.class_names) != self.num_classes:
            raise UserError(
                f"there are {len(self.class_names)} class names, but the classifier knows "
                f"{self.num_classes} classes."
            )

    def __repr__(self) -> str:
        height, width = Size.of(self.size)
        return (
            f"SaliencyPredictor(methods={self.methods}, {self.num_classes} classes, "
            f"input {height} x {width}, box_threshold={self.box_threshold:g}, "
            f"device={self.device})"
        )

    @property
    def input(self) -> dict[str, Any]:
        """Size and colors of the network's input, as ``input`` in configs/predict.yaml."""
        values = {"mean": self.mean, "std": self.std}
        colors = {name: [round(float(v), 6) for v in value] for name, value in values.items()}
        channels = {} if len(self.mean) == COLORS else {"channels": len(self.mean)}
        return {"size": self.size, **channels, **colors, "center_crop": self.center_crop}

    def __call__(
        self,
        images: Any,
        classes: str | int | Sequence[str | int] = PREDICTED,
        top_k: int | None = None,
    ) -> list[ImageSaliency]:
        """Explain images.

        Args:
            images: One image or several of any sizes, each a path, a PIL image, an array (H, W),
                (H, W, 3) or (H, W, 4) or a tensor (3, H, W); or an array (B, H, W, 3) or a tensor
                (B, 3, H, W). Values are 8-bit integers or floats in [0, 1], not normalized; see
                `pipeline.prediction.images.pixels_of`, also for other numbers of channels.
            classes: Classes to explain, by name or number; ``"predicted"`` for each image's own.
            top_k: Number of most probable classes that are explained as ``"predicted"``; None for
                one or, where classes do not exclude each other, for all that count as present, at
                least the most probable; of a regression for all values.

        Returns:
            Maps, boxes and classes per image.

        Raises:
            TypeError: If an object is no image.
            ValueError: If an image has a wrong shape or wrong values, is damaged or too large, or a
                class does not exist.
        """
        return list(self.stream(separated(images), classes, top_k))

    def stream(
        self,
        images: Iterable[Any],
        classes: str | int | Sequence[str | int] = PREDICTED,
        top_k: int | None = None,
    ) -> Iterator[ImageSaliency]:
        """Explain any number of images, a batch at a time; see `__call__`."""
        request = self.request(classes, top_k)
        images = iter(images)
        while taken := [
            pixels_of(image, self.decoding) for image in islice(images, self.batch_size)
        ]:
            prepared = [self.prepare(pixels) for pixels in taken]
            if self.explaining.words and self.effect is None:
                self.compare(prepared)
            batch = self.batch(prepared, list(map(str, range(len(taken)))), request)
            with self.explaining.autocast(self.device):
                found = self.module.predict_step(move_data_to_device(batch, self.device), 0)
            for pixels, small in zip(taken, self.separate(found), strict=True):
                yield gathered(small, self.placed(self.shown(pixels), small))

    @property
    def multilabel(self) -> bool:
        """True if the network's classes do not exclude each other."""
        return self.module.has_classes and self.module.activation is Activation.SIGMOID

    def targets(
        self, classes: str | int | Sequence[str | int] = PREDICTED, top_k: int | None = None
    ) -> list[int] | None:
        """Look up classes given by name or number; return None for the predicted classes.

        Raises:
            UserError: If a class does not exist, ``top_k`` is not in [1, C], both are given, or
                classes are given although a coverage is promised for maps of predicted classes.
        """
        if top_k is not None and not 1 <= top_k <= self.num_classes:
            raise UserError(f"top_k={top_k}: there are {self.num_classes} classes.")
        if isinstance(classes, str) and classes == PREDICTED:
            return None
        if self.coverage is not None and self.module.native.per_class:
            raise UserError(
                "coverage: is promised for the maps of predicted classes; leave out classes=..."
            )
        if top_k not in (None, 1):
            raise UserError("top_k is of predicted classes: leave it out where classes are given.")
        wanted = [classes] if isinstance(classes, str | int) else list(classes)
        if not wanted:
            raise UserError("classes: name at least one class.")
        return list(dict.fromkeys(class_number(word, self.class_names) for word in wanted))

    def request(
        self, classes: str | int | Sequence[str | int] = PREDICTED, top_k: int | None = None
    ) -> Request:
        """Settle which classes are explained; see `__call__` for the arguments.

        Raises:
            UserError: See `targets`.
        """
        targets = self.targets(classes, top_k)
        if targets is None and top_k is None and self.multilabel:
            return Request(present=self.class_threshold)
        if targets is None and top_k is None and self.module.activation is Activation.IDENTITY:
            return Request(list(range(self.num_classes)))
        return Request(targets, top_k or 1)

    def prepare(self, pixels: NDArray[Any]) -> Tensor:
        """Resize an image (h, w, C) to the network's input as in evaluation, (C, H, W)."""
        return resize_pixels(pixels, self.size, self.center_crop)

    def shown(self, pixels: NDArray[Any]) -> Pixels:
        """Make the picture (H, W, 3) of an image (H, W, C) that is drawn on and refined by."""
        planes = self.module.shown_channels
        if planes != list(range(pixels.shape[-1])):
            pixels = np.ascontiguousarray(pixels[..., planes])
        if pixels.dtype == np.uint8:
            return pixels
        return np.rint(pixels.clip(0, 255)).astype(np.uint8)

    def batch(
        self,
        prepared: Sequence[Tensor],
        names: Sequence[str],
        request: Request = _MOST_PROBABLE,
    ) -> PredictionBatch:
        """Make a batch for the module's ``predict_step``, on the CPU.

        Args:
            prepared: B images from `prepare`.
            names: Names of the B images.
            request: The classes to explain.
        """
        images = standardize(torch.stack(list(prepared)), self.mean, self.std)
        batch = PredictionBatch(image=images, image_id=list(names))
        if request.targets is not None:
            batch["targets"] = torch.tensor(request.targets).repeat(len(images), 1)
        elif request.present is not None:
            batch["present"] = request.present
        else:
            batch["top_k"] = request.top_k
        return batch

    def compare(self, prepared: Sequence[Tensor]) -> MapEffect | None:
        """Apply the options of explaining, and find how they change the maps of the first images.

        Args:
            prepared: Images from `prepare`, at least one.

        Raises:
            UserError: If BatchNorm cannot be folded, or numbers are not finite any more.
        """
        images = standardize(torch.stack(list(prepared)), self.mean, self.std).to(self.device)
        names = [name for name in self.methods if name != NATIVE]
        self.effect, _ = self.explaining.compare(self.module, images, None, names)
        return self.effect

    def separate(self, found: Prediction) -> list[SmallMaps]:
        """Split the result of ``predict_step`` for a batch into results per image."""
        maps = {name: found.maps[name].float().cpu().numpy() for name in self.methods}
        result = []
        for i, logits in enumerate(found.logits[:, None]):
            classes = self.scores(logits, found.targets[i].tolist())
            absent = False
            if found.present is not None:
                kept = [score for score in classes if score.probability >= found.present]
                classes, absent = kept or classes[:1], not kept
            of_image = {name: values[i][: len(classes)] for name, values in maps.items()}
            result.append(SmallMaps(of_image, classes, self.scores(logits), absent))
        return result

    def scores(self, logits: Tensor, classes: Sequence[int] | None = None) -> list[ClassScore]:
        """Score classes of an image with logits (1, C); None for those that are reported.

        These are the most probable classes and, where classes do not exclude each other, all that
        count as present.
        """
        values = logits[0].float()
        values = self.module.activation.probabilities(values) if self.module.has_classes else values
        if classes is None:
            present = int((values >= self.class_threshold).sum()) if self.multilabel else 0
            count = min(max(_REPORTED, present), self.num_classes)
            classes = values.topk(count).indices.tolist()
        return [self._score(index, float(values[index])) for index in classes]

    def placed(self, pixels: Pixels, small: SmallMaps) -> Iterator[PlacedMap]:
        """Bring the maps of an image (H, W, 3) to its size, refine them and find their boxes.

        A flat map is not refined.
        """
        height, width = pixels.shape[:2]
        for method, maps in small.maps.items():
            shared = method == NATIVE and not self.module.native.per_class
            for position, saliency in enumerate(maps):
                full = to_original(saliency, width, height, self.center_crop)
                flat, box = is_flat(saliency), np.zeros(4, np.int64)
                if self.refine is not None and not flat:
                    full = self.refine(pixels, full)
                if not flat:
                    found = torch.from_numpy(full)[None]
                    box = boxes_from_saliency(found, self.box_threshold)[0].numpy()
                explained = None if shared else small.classes[position]
                region = None
                if self.coverage and method == NATIVE and explained in (None, small.predicted[0]):
                    region = place_region(saliency, self.coverage, width, height)
                yield PlacedMap(method, explained, full, box, flat, region)

    def _score(self, index: int, value: float) -> ClassScore:
        values = (value,) if self.module.has_classes else (None, value)
        return ClassScore(index, self.class_names[index], *values)

    def _try_on_noise(self) -> int:
        """Run every method on noise; return the number of classes. See `try_methods`."""
        generator = torch.Generator().manual_seed(0)
        shape = (1, len(self.mean), *Size.of(self.size))
        noise = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
        image = standardize(noise, self.mean, self.std).to(self.device)
        classes = try_methods(self.module, image, self.methods)
        self.explaining.check(self.module, image)
        return classes

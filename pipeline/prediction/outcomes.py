"""Results of a `SaliencyPredictor`: classes, maps, boxes and regions of an image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from learned_saliency.pipeline.prediction.regions import PlacedRegion


class ClassScore(NamedTuple):
    """A class and its probability by the classifier, or a score that is no class.

    Attributes:
        index: Number of the class, or index of the score.
        name: Name of the class; the number where there are no names.
        probability: Probability of the class, in [0, 1]; None for a score.
        score: Value of the score; None for a class.
    """

    index: int
    name: str
    probability: float | None
    score: float | None = None

    @property
    def is_score(self) -> bool:
        """True if this is a score that is no class."""
        return self.score is not None

    def __str__(self) -> str:
        if self.is_score:
            return f"score {self.name}: {self.score:.4g}"
        return f"{self.name} {self.probability:.1%}"

    def __repr__(self) -> str:
        value = f"{self.score:.4g}" if self.is_score else f"{self.probability:.1%}"
        return f"ClassScore({self.index}, {self.name!r}, {value})"


class Request(NamedTuple):
    """Request for the classes to explain.

    Attributes:
        targets: Numbers of the classes; None for predicted classes.
        top_k: Number of predicted classes to explain.
        present: Instead of ``top_k``, the smallest probability, in [0, 1], of a class that counts
            as present: all present classes are explained, or the most probable where there is none.
    """

    targets: Sequence[int] | None = None
    top_k: int = 1
    present: float | None = None

    @property
    def several(self) -> bool:
        """True if an image may have maps of several classes."""
        if self.targets is not None:
            return len(self.targets) > 1
        return self.top_k > 1 or self.present is not None


class SmallMaps(NamedTuple):
    """Maps and classes that the network gives for one image.

    Attributes:
        maps: Maps at input resolution by method, float32 (T, S, S) in [0, 1]; T = 1 for a native
            map that is the same for every class.
        classes: The T explained classes.
        predicted: The most probable classes, five where there are as many; where classes do not
            exclude each other, all that count as present.
        absent: Whether the classes are explained although none of them counts as present.
    """

    maps: dict[str, NDArray[np.float32]]
    classes: list[ClassScore]
    predicted: list[ClassScore]
    absent: bool = False


class PlacedMap(NamedTuple):
    """A map as large as its image.

    Attributes:
        method: Name of the method that made the map.
        explained: The class that the map explains; None where the map is the same for every class.
        saliency: float32 (H, W) in [0, 1].
        box: Box x0 y0 x1 y1 of the largest contour at the model's threshold, int64 (4,), pixels of
            the image, x1 and y1 inside the box; 0 0 0 0 for a flat map or one of zeros.
        flat: Whether the network's map is constant, so that nothing stands out in it.
        region: Region that contains the object with the promised probability; None without a
            promise, and for maps that it is not made for.
    """

    method: str
    explained: ClassScore | None
    saliency: NDArray[np.float32]
    box: NDArray[np.int64]
    flat: bool
    region: PlacedRegion | None = None


class ImageSaliency(NamedTuple):
    """Maps, boxes and classes that a `SaliencyPredictor` finds in an image of H x W pixels.

    Attributes:
        maps: Maps by method, float32 (T, H, W) in [0, 1], one per class in ``classes``; T = 1 for a
            native map that is the same for every class.
        boxes: Boxes by method, int64 (T, 4), see `PlacedMap`.
        classes: The T explained classes.
        predicted: The most probable classes, five where there are as many.
        region: Region that contains the object with the promised probability, bool (H, W); None
            without a promise.
    """

    maps: dict[str, NDArray[np.float32]]
    boxes: dict[str, NDArray[np.int64]]
    classes: list[ClassScore]
    predicted: list[ClassScore]
    region: NDArray[np.bool_] | None = None

    def __repr__(self) -> str:
        maps = ", ".join(f"{name}: {values.shape}" for name, values in self.maps.items())
        return f"ImageSaliency(maps={{{maps}}}, classes={self.classes}, best={self.predicted[:1]})"

    @property
    def map(self) -> NDArray[np.float32]:
        """The first method's map of the first class, (H, W)."""
        return next(iter(self.maps.values()))[0]

    @property
    def box(self) -> NDArray[np.int64]:
        """The box of ``map``, (4,)."""
        return next(iter(self.boxes.values()))[0]


def gathered(small: SmallMaps, placed: Iterable[PlacedMap]) -> ImageSaliency:
    """Collect the maps of an image by their methods."""
    maps: dict[str, list[NDArray[np.float32]]] = {}
    boxes: dict[str, list[NDArray[np.int64]]] = {}
    region = None
    for found in placed:
        region = region if found.region is None else found.region.mask
        maps.setdefault(found.method, []).append(found.saliency)
        boxes.setdefault(found.method, []).append(found.box)
    return ImageSaliency(
        {name: np.stack(values) for name, values in maps.items()},
        {name: np.stack(values) for name, values in boxes.items()},
        small.classes,
        small.predicted,
        region,
    )

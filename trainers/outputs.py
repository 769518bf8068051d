"""What the steps of the modules take and give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from learned_saliency.attribution import PostHocMethod
from learned_saliency.metrics import boxes_from_saliency

NATIVE = "native"  # name of a module's own map among the methods


class NativeMap(NamedTuple):
    """What the native map of a module is.

    Attributes:
        per_class: Whether it depends on the class; else one map serves all classes of an image.
        probabilities: Whether its values, before any scaling of a map to [0, 1], are probabilities
            instead of scores: CALM's p(y, z|x), F-CAM's foreground.
        class_wise: The method that gives the raw map of each class alone, from the module's
            classifier; None where the module knows no such map.
    """

    per_class: bool
    probabilities: bool
    class_wise: PostHocMethod | None = None


class Explanation(NamedTuple):
    """What one pass of a network gives for a batch.

    Attributes:
        saliency: Maps of shape (B, H, W) in [0, 1] at input resolution.
        logits: Class scores of shape (B, C).
        features: Activations of the classifier's last layer, shape (B, K, h, w): post-hoc methods
            read them instead of running the backbone again.
    """

    saliency: Tensor
    logits: Tensor
    features: Tensor


class ClassMaps(NamedTuple):
    """Maps of one or several classes of each image.

    Attributes:
        logits: Class scores of shape (B, C).
        targets: Classes that the maps explain, int64 (B, T).
        maps: Maps (B, T, H, W) in [0, 1] by method; (B, 1, H, W) of a native map that is the same
            for every class.
    """

    logits: Tensor
    targets: Tensor
    maps: dict[str, Tensor]


class PredictionBatch(TypedDict):
    """What ``predict_step`` takes: the batch of any data module, or images of one's own.

    Attributes:
        image: Normalized images of shape (B, 3, H, W).
        image_id: Names of the images, B strings.
        targets: Classes to explain, int64 (B, T); without them the most probable are.
        top_k: Without ``targets``, how many of the most probable, T in [1, C]; 1 where left out.
    """

    image: Tensor
    image_id: list[str]
    targets: NotRequired[Tensor]
    top_k: NotRequired[int]


class Prediction(NamedTuple):
    """What ``predict_step`` gives for a batch.

    Attributes:
        image_ids: Names of the images, B strings.
        logits: Class scores of shape (B, C), at least float32.
        targets: Classes that the maps explain, int64 (B, T).
        maps: Maps (B, T, H, W) in [0, 1] by method, at least float32, the native one first;
            (B, 1, H, W) of a native map that is the same for every class.
        box_threshold: Fraction of a map's maximum above which a pixel belongs to the object, in
            [0, 1), shape ().
    """

    image_ids: list[str]
    logits: Tensor
    targets: Tensor
    maps: dict[str, Tensor]
    box_threshold: Tensor

    @property
    def boxes(self) -> Tensor:
        """Boxes of the first method's maps of the first class, found when they are read.

        Shape (B, 4), x0 y0 x1 y1 in pixels of the input, x1 and y1 inside the image.
        """
        maps = next(iter(self.maps.values()))[:, 0]
        return boxes_from_saliency(maps, float(self.box_threshold))


class TestOutput(NamedTuple):
    """What ``test_step`` gives for a batch, for callbacks that write it down.

    Attributes:
        maps: Maps (B, H, W) in [0, 1] by method.
        logits: Class scores of shape (B, C).
        targets: Classes that the maps explain, shape (B,).
        terms: Each image's term of the faithfulness figures, float64 (B,), by method and figure.
    """

    maps: dict[str, Tensor]
    logits: Tensor
    targets: Tensor
    terms: dict[str, dict[str, Tensor]]


class Example(NamedTuple):
    """A tested image, drawn.

    Attributes:
        image_id: Its name.
        label: Its true class.
        predicted: The class that the classifier gives it.
        target: The class that the maps explain.
        image: The image with its true boxes, colors in 0..255, shape (H, W, 3), red first.
        overlays: The image under the map of each method with the true boxes and the map's own, by
            method, likewise.
        predicted_probability: Probability of ``predicted``, in [0, 1].
        target_probability: Probability of ``target``, in [0, 1].
        flat: Methods whose map is constant, which have no box.
    """

    image_id: str
    label: int
    predicted: int
    target: int
    image: NDArray[np.uint8]
    overlays: dict[str, NDArray[np.uint8]]
    predicted_probability: float
    target_probability: float
    flat: frozenset[str]


def class_name(names: Sequence[str], label: int) -> str:
    """The name of a class; its number where there is none."""
    return names[label] if label < len(names) else str(label)


def is_flat(saliency: NDArray[np.floating]) -> bool:
    """Whether a map (H, W) in [0, 1] is constant, up to the rounding of float32."""
    return float(np.ptp(saliency)) <= 1e-6

"""Input and output types of the modules' steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, NotRequired, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learned_saliency.attribution import PostHocMethod
from learned_saliency.datamodules import WSOLBatch
from learned_saliency.metrics import boxes_from_saliency
from learned_saliency.ops import Activation

NATIVE = "native"  # name of a module's own map among the methods
EVERY_CLASS = (
    "same map for every class"  # caption of a native map that does not depend on the class
)


#: Source of finished maps, of any tool: a function of a batch to its maps (B, H, W) in [0, 1] at
#: the size of the batch's images.
GivenMaps = Callable[[WSOLBatch], Tensor]


class LearnedShare(NamedTuple):
    """Declaration of a training that learns from boxes or masks of ``val``.

    Attributes:
        share: Part of the images of ``val`` that is learned from, in (0, 1); the others choose.
        seed: Seed by which they are drawn, 0 or more.
    """

    share: float
    seed: int


class NativeMap(NamedTuple):
    """Declaration of a module's native map.

    Attributes:
        per_class: Whether the map depends on the class; else one map serves all classes of an
            image.
        probabilities: Whether the map's values, before any scaling to [0, 1], are probabilities
            instead of scores: CALM's p(y, z|x), F-CAM's foreground.
        class_wise: The method that gives the raw map of each class alone, from the module's
            classifier; None where the module has no such map.
        in_parts: Whether the maps of parts of an image, joined, are the image's map, except where
            the network does not see beyond a part: nothing in it is scaled or compared over the
            image as a whole.
    """

    per_class: bool
    probabilities: bool
    class_wise: PostHocMethod | None = None
    in_parts: bool = False


class Explanation(NamedTuple):
    """Maps, logits and features of one pass of a network over a batch.

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
        maps: Maps (B, T, H, W) in [0, 1] by method; (B, 1, H, W) if a native map is the same for
            every class.
    """

    logits: Tensor
    targets: Tensor
    maps: dict[str, Tensor]


class PredictionBatch(TypedDict):
    """Input of ``predict_step``: the batch of any data module, or images of one's own.

    Attributes:
        image: Normalized images of shape (B, 3, H, W).
        image_id: Names of the images, B strings.
        targets: Classes to explain, int64 (B, T); without them the most probable are explained.
        top_k: Without ``targets``, the number T of most probable classes to explain, in [1, C]; 1
            where left out.
        present: Instead of ``top_k``, the smallest probability of a class that counts as present:
            all present classes of an image are explained, or the most probable where there is none.
    """

    image: Tensor
    image_id: list[str]
    targets: NotRequired[Tensor]
    top_k: NotRequired[int]
    present: NotRequired[float]


class Prediction(NamedTuple):
    """Output of ``predict_step`` for a batch.

    Attributes:
        image_ids: Names of the images, B strings.
        logits: Class scores of shape (B, C), at least float32.
        targets: Classes that the maps explain, int64 (B, T).
        maps: Maps (B, T, H, W) in [0, 1] by method, at least float32, the native map first;
            (B, 1, H, W) if a native map is the same for every class.
        box_threshold: Fraction of a map's maximum above which a pixel belongs to the object, in
            [0, 1), shape ().
        present: Smallest probability of a class that counts as present, if such classes were asked
            for: of an image's maps those of its other classes, behind the first, stand for nothing.
    """

    image_ids: list[str]
    logits: Tensor
    targets: Tensor
    maps: dict[str, Tensor]
    box_threshold: Tensor
    present: float | None = None

    @property
    def boxes(self) -> Tensor:
        """Boxes of the first method's maps of the first class, computed when they are read.

        Shape (B, 4), x0 y0 x1 y1 in pixels of the input, x1 and y1 inside the image.
        """
        maps = next(iter(self.maps.values()))[:, 0]
        return boxes_from_saliency(maps, float(self.box_threshold))


class TestOutput(NamedTuple):
    """Output of ``test_step`` for a batch, for callbacks that write it down.

    Attributes:
        maps: Maps (B, H, W) in [0, 1] by method.
        logits: Class scores of shape (B, C).
        targets: Classes that the maps explain, shape (B,).
        terms: Each image's terms of the metrics that are means over images, float64 (B,), by method
            and metric; NaN where an image does not count.
        states: Each image's states of the metrics that are no means over images, by method and
            state; see `SplitScores.image_states`.
    """

    maps: dict[str, Tensor]
    logits: Tensor
    targets: Tensor
    terms: dict[str, dict[str, Tensor]]
    states: dict[str, dict[str, Tensor]]


class Example(NamedTuple):
    """A tested image, drawn.

    Attributes:
        image_id: Name of the image.
        label: True class of the image; -1 where it is unknown.
        predicted: The class that the classifier predicts; -1 where there is none, or it decides on
            each class by itself.
        target: The class that the maps explain.
        image: The image with its true boxes, colors in 0..255, shape (H, W, 3), red first.
        overlays: The image under the map of each method with the true boxes and the map's own, by
            method, likewise.
        predicted_probability: Probability of ``predicted``, in [0, 1]; void without a classifier.
        target_probability: Probability of ``target``, likewise.
        flat: Methods whose map is constant, which have no box.
        score: Score of ``target`` where scores that are no classes are explained; else None.
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
    score: float | None = None


def known_targets(labels: Tensor | None, logits: Tensor) -> Tensor:
    """Take the labels as the classes to explain, and predicted classes where they are unknown.

    Args:
        labels: Classes, int64 (B,), -1 where unknown; None where all are.
        logits: Class scores (B, C).

    Returns:
        Classes in [0, C), int64 (B,).
    """
    predicted = logits.argmax(1)
    return predicted if labels is None else torch.where(labels < 0, predicted, labels)


def choose_classes(
    logits: Tensor, top_k: int, present: float | None, activation: Activation
) -> Tensor:
    """Choose the classes of each image that are explained where nobody names them.

    Args:
        logits: Class scores (B, C).
        top_k: Number T of the most probable classes, in [1, C], where ``present`` is None.
        present: Smallest probability, in [0, 1], of a class that counts as present; T is then the
            most of them in an image, at least 1.
        activation: Function of the logits to probabilities.

    Returns:
        Classes, the most probable first, int64 (B, T).
    """
    if present is not None:
        counts = (activation.probabilities(logits) >= present).sum(dim=1)
        top_k = max(1, int(counts.max()))
    return logits.topk(top_k).indices


def class_name(names: Sequence[str], label: int) -> str:
    """The name of a class; its number where there is none; "unknown" for -1."""
    if label < 0:
        return "unknown"
    return names[label] if label < len(names) else str(label)


def score_line(index: int, score: float) -> str:
    """Name a score that is no class by its index, with its value."""
    return f"score {index}: {score:.4g}"


def is_flat(saliency: NDArray[np.floating]) -> bool:
    """Tell whether a map (H, W) in [0, 1] is constant, up to the rounding of float32."""
    return float(np.ptp(saliency)) <= 1e-6

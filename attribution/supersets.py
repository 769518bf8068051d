"""Supersets of classes that share their parts, and maps summed over them."""

import csv
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from learned_saliency.attribution.core.classifier import SharedFeatures
from learned_saliency.attribution.core.maps import normalize
from learned_saliency.attribution.core.method import PostHocMethod, Query

SUPERSETS = ("all", "class", "wordnet")

_TABLE = Path(__file__).with_name("wordnet_supersets.csv")
_WORDNET_ID = re.compile(r"n\d{8}")


def superset_members(
    superset: str, num_classes: int, class_ids: Sequence[str] | None = None
) -> Tensor:
    """Compute which classes share their parts with which (paper 001, Sec. 5.4 and App. F).

    Args:
        superset: ``"all"``, every class (CUB, the creatures); ``"class"``, the class alone
            (OpenImages); or ``"wordnet"``, for ImageNet classes: the nodes of WordNet that Tab. 4
            lists, singletons elsewhere.
        num_classes: Number of classes C, at least 1.
        class_ids: For ``"wordnet"``, C texts that begin with the classes' WordNet ids, such as
            ``n02085620`` or ``n02085620 Chihuahua``; default: ILSVRC's 1000 in their usual order.

    Returns:
        bool (C, C); row y is the superset of class y, y itself included.

    Raises:
        ValueError: If ``superset`` is unknown, or WordNet ids are needed and missing.

    Note:
        For a class below several nodes of the table (ox: ungulate and bovid) the most specific node
        counts, and the class's superset is everything below that node, as WordNet 3.0 has it. The
        paper counted on a tree in which each class has one place, and gives smaller numbers for 11
        of its 118 nodes (canine 116, here 130); it lists 2 nodes twice. So 702 classes are in a
        node of several classes, where the paper has 670.
    """
    if superset not in SUPERSETS:
        raise ValueError(f"superset must be one of {SUPERSETS}, got {superset!r}")
    if superset == "all":
        return torch.ones(num_classes, num_classes, dtype=torch.bool)
    if superset == "class":
        return torch.eye(num_classes, dtype=torch.bool)
    return _wordnet_members(num_classes, None if class_ids is None else tuple(class_ids)).clone()


@cache
def _wordnet_members(num_classes: int, class_ids: tuple[str, ...] | None) -> Tensor:
    below = _nodes()
    ids = _wordnet_ids(num_classes, class_ids, sorted(set().union(*below.values())))
    smallest: dict[str, frozenset[str]] = {}
    for classes in sorted(below.values(), key=len, reverse=True):
        smallest |= dict.fromkeys(classes, classes)
    rows = [[other in smallest.get(own, {own}) for other in ids] for own in ids]
    return torch.tensor(rows, dtype=torch.bool)


@cache
def _nodes() -> dict[str, frozenset[str]]:
    """Collect the classes of ILSVRC below each node of the table; together all 1000."""
    with _TABLE.open(encoding="utf-8", newline="") as file:
        return {row["superset"]: frozenset(row["classes"].split()) for row in csv.DictReader(file)}


def _wordnet_ids(
    num_classes: int, class_ids: Sequence[str] | None, imagenet: list[str]
) -> list[str]:
    if class_ids is None:
        if num_classes == len(imagenet):
            return imagenet
        raise ValueError(
            f"superset='wordnet' needs the WordNet ids of the {num_classes} classes: give them as "
            "data.class_names=[n02085620,...]"
        )
    found = [_WORDNET_ID.match(str(text)) for text in class_ids]
    if len(found) != num_classes or not all(found):
        wrong = next((str(t) for t, m in zip(class_ids, found, strict=True) if not m), None)
        what = f"{len(found)} texts" if wrong is None else f"{wrong!r}"
        raise ValueError(
            f"superset='wordnet' needs {num_classes} class names that begin with a WordNet id "
            f"(n and eight digits), got {what}"
        )
    return [match.group() for match in found]


class SupersetAggregation(PostHocMethod):
    """Sum of another method's maps of all classes in the target's superset (paper 001, Tab. 3).

    Each class's map is min-max normalized before the sum, at the map's own resolution, as the
    released code does for CAM + superset. With all classes this costs one map per class.

    Args:
        method: Method that gives the classes' maps.
        superset: See `superset_members`.
        class_ids: See `superset_members`.
        **options: See `PostHocMethod`.

    Raises:
        ValueError: If ``superset`` is unknown.
    """

    def __init__(
        self,
        method: PostHocMethod,
        superset: str = "all",
        class_ids: Sequence[str] | None = None,
        **options: str,
    ) -> None:
        super().__init__(**options)
        if superset not in SUPERSETS:
            raise ValueError(f"superset must be one of {SUPERSETS}, got {superset!r}")
        self.method = method
        self.superset = superset
        self.class_ids = None if class_ids is None else [str(text) for text in class_ids]
        self.needs_gradients = method.needs_gradients

    def _cams(self, query: Query) -> Tensor:
        images = query.given_images
        query.classifier = SharedFeatures(query.classifier, images)  # one backbone pass for all
        members = superset_members(self.superset, query.logits.shape[1], self.class_ids)
        wanted = members.to(images.device)[query.targets]  # (B, C)
        total = 0.0
        for index in wanted.any(0).nonzero()[:, 0]:
            targets = index.expand(len(images))
            maps = normalize(self.method.raw_maps(query.classifier, images, targets))
            total = total + maps * wanted[:, index, None, None]
        return total

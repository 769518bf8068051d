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

# Nodes of Tab. 4 with their numbers of classes there.
_TABLE = Path(__file__).with_name("wordnet_supersets.csv")
# ILSVRC's 1000 classes and all that lies above them in WordNet 3.0, each synset with its hypernyms
# in WordNet's order; taken from WordNet's file data.noun, see WORDNET_LICENSE.
_HIERARCHY = Path(__file__).with_name("wordnet_hypernyms.csv")
_WORDNET_ID = re.compile(r"n\d{8}")
_DEPTH = re.compile(r"wordnet:(\d{1,2})")


def check_superset(superset: str | Sequence[str]) -> None:
    """Check that supersets are known ones, or a list of groups.

    Raises:
        ValueError: If they are not.
    """
    if isinstance(superset, str) and superset not in SUPERSETS and not _DEPTH.fullmatch(superset):
        raise ValueError(
            f"superset must be one of {SUPERSETS}, wordnet:DEPTH or a list of groups, got "
            f"{superset!r}"
        )


def superset_members(
    superset: str | Sequence[str], num_classes: int, class_ids: Sequence[str] | None = None
) -> Tensor:
    """Compute which classes share their parts with which (paper 001, Sec. 5.4 and App. F).

    Args:
        superset: ``"all"``, every class (CUB, the creatures); ``"class"``, the class alone
            (OpenImages); for ImageNet classes ``"wordnet"``, the nodes of WordNet that Tab. 4
            lists, singletons elsewhere, or ``"wordnet:5"``, the nodes at depth 5 below WordNet's
            root, at depth 0; or names of C groups, in the order of the classes: those of one group
            share their parts.
        num_classes: Number of classes C, at least 1.
        class_ids: For WordNet, C texts that begin with the classes' WordNet ids, such as
            ``n02085620`` or ``n02085620 Chihuahua``; default: ILSVRC's 1000 in their usual order.

    Returns:
        bool (C, C); row y is the superset of class y, y itself included.

    Raises:
        ValueError: If ``superset`` is unknown, there are not C groups, or WordNet ids are needed
            and missing or, for a depth, none of ILSVRC's.

    Note:
        For a class below several nodes of the table (ox: ungulate and bovid) the most specific node
        counts, and the class's superset is everything below that node, as WordNet 3.0 has it. The
        paper counted on a tree in which each class has one place, and gives smaller numbers for 11
        of its 118 nodes (canine 116, here 130); it lists 2 nodes twice. So 702 classes are in a
        node of several classes, where the paper has 670.

        At a depth each class has one place: a synset with several hypernyms (ox: bovid and domestic
        animal) lies below the one that WordNet names first. Classes that lie higher than the depth
        are alone.
    """
    check_superset(superset)
    if not isinstance(superset, str):
        return _members_of_groups(superset, num_classes)
    if superset == "all":
        return torch.ones(num_classes, num_classes, dtype=torch.bool)
    if superset == "class":
        return torch.eye(num_classes, dtype=torch.bool)
    ids = None if class_ids is None else tuple(class_ids)
    if depth := _DEPTH.fullmatch(superset):
        return _depth_members(int(depth[1]), num_classes, ids).clone()
    return _wordnet_members(num_classes, ids).clone()


def _members_of_groups(groups: Sequence[str], num_classes: int) -> Tensor:
    if len(groups) != num_classes:
        raise ValueError(f"superset: there are {len(groups)} groups for {num_classes} classes")
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    own = torch.tensor([numbers[group] for group in groups])
    return own[:, None] == own


@cache
def _wordnet_members(num_classes: int, class_ids: tuple[str, ...] | None) -> Tensor:
    ids = _wordnet_ids(num_classes, class_ids, _imagenet())
    smallest: dict[str, frozenset[str]] = {}
    for classes in sorted(_listed_nodes().values(), key=len, reverse=True):
        smallest |= dict.fromkeys(classes, classes)
    rows = [[other in smallest.get(own, {own}) for other in ids] for own in ids]
    return torch.tensor(rows, dtype=torch.bool)


@cache
def _depth_members(depth: int, num_classes: int, class_ids: tuple[str, ...] | None) -> Tensor:
    ids = _wordnet_ids(num_classes, class_ids, _imagenet())
    unknown = [own for own in ids if own not in _hypernyms()]
    if unknown:
        raise ValueError(
            f"superset=wordnet:{depth}: {unknown[0]} is none of ILSVRC's classes, whose part of "
            "WordNet is known here"
        )
    paths = [_path(own) for own in ids]
    return _members_of_groups([p[min(depth, len(p) - 1)] for p in paths], num_classes)


@cache
def _hypernyms() -> dict[str, tuple[str, ...]]:
    """Read the hypernyms of each synset."""
    with _HIERARCHY.open(encoding="utf-8", newline="") as file:
        return {row["synset"]: tuple(row["hypernyms"].split()) for row in csv.DictReader(file)}


def _imagenet() -> list[str]:
    """List ILSVRC's 1000 classes in their usual order, that of their ids: those above no other."""
    inner = {above for hypernyms in _hypernyms().values() for above in hypernyms}
    return sorted(_hypernyms().keys() - inner)


def _path(synset: str) -> list[str]:
    """List the synsets from the root to one, by the hypernyms that WordNet names first."""
    path = [synset]
    while above := _hypernyms()[path[-1]]:
        path.append(above[0])
    return path[::-1]


@cache
def _above(synset: str) -> frozenset[str]:
    """Collect a synset and all that lie above it, by all hypernyms."""
    return frozenset({synset}).union(*(_above(one) for one in _hypernyms()[synset]))


@cache
def _listed_nodes() -> dict[str, frozenset[str]]:
    """Collect the classes of ILSVRC below each node of Tab. 4."""
    with _TABLE.open(encoding="utf-8", newline="") as file:
        nodes = [row["superset"] for row in csv.DictReader(file)]
    return {node: frozenset(own for own in _imagenet() if node in _above(own)) for node in nodes}


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
        target: Score that ``method`` explains; None for whatever it does.
        **options: See `PostHocMethod`.

    Raises:
        ValueError: If ``superset`` is unknown, or ``target`` is not that of ``method``.
    """

    def __init__(
        self,
        method: PostHocMethod,
        superset: str | Sequence[str] = "all",
        class_ids: Sequence[str] | None = None,
        target: str | None = None,
        **options: str,
    ) -> None:
        if target not in (None, method.target):
            raise ValueError(
                f"the maps that are summed explain the {method.target}, not the {target}: give "
                f"{type(method).__name__} the target"
            )
        super().__init__(target=method.target, **options)
        check_superset(superset)
        self.method = method
        self.superset = superset if isinstance(superset, str) else list(superset)
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

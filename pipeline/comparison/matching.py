"""Images and trainings that all sides of a comparison have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.comparison.sides import Member, Side
from learned_saliency.pipeline.reports import ImageScores, SavedEvaluation, with_accuracy

_OBJECT = "pixels/object_scores"  # whose sum over scores counts the pixels of a mask
_CHOICES = ("monitor", "threshold_by", "split")  # keys of ``selection`` that a note tells
_NOTED = {  # keys of results.json that two networks should share, and how a note puts them
    "explained": "the explained class",
    "target": "the explained score",
    "mask_color": "the color of masked pixels",
    "maps_scale": "the scale of given maps",
    "maps_resize": "the resizing of given maps",
}
_SHOWN = 3


class Matched(NamedTuple):
    """Sides with what they have in common.

    Attributes:
        sides: The sides; of sweeps those with seeds that all sweeps have, where these are several.
        image_ids: Images that all of them tested, in the order of the first.
        left_out: Number of images of each side that another one lacks, by its name.
        notes: What differs between the sides and does not make their metrics incomparable.
        one_size: Whether the inputs of all networks have the same size, as far as it is known.
    """

    sides: list[Side]
    image_ids: list[str]
    left_out: dict[str, int]
    notes: list[str]
    one_size: bool


def match(sides: Sequence[Side]) -> Matched:
    """Find the images that all sides tested, and check that their truth is the same.

    Raises:
        UserError: If the sides tested different splits, no image in common, or different truth.
    """
    sides, notes = _with_common_seeds(sides)
    members = [(side.name, member) for side in sides for member in side.members]
    _check_splits(members)
    tested = [set(member.saved.scores.image_ids) for _, member in members]
    shared = set.intersection(*tested)
    first = members[0][1].saved
    if not shared:
        others = next((n for n, t in zip(members, tested, strict=True) if not t & tested[0]), None)
        name = members[-1][0] if others is None else others[0]
        raise UserError(
            f"{name}: tested no image that {members[0][0]} tested; compare evaluations of one data "
            "set."
        )
    image_ids = [image for image in first.scores.image_ids if image in shared]
    left_out = {side.name: _left_out(side, shared) for side in sides}
    truths = [_Truth.of(member.saved, shared) for _, member in members]
    for (name, _), truth in zip(members[1:], truths[1:], strict=True):
        _check_truth(members[0][0], truths[0], name, truth)
    notes += _named_images(left_out, len(image_ids))
    notes += _differences(members)
    one_size = len({truth.size for truth in truths if truth.size is not None}) < 2
    return Matched(list(sides), image_ids, left_out, notes, one_size)


def scores_of(saved: SavedEvaluation, image_ids: Sequence[str], method: str) -> ImageScores:
    """Take the scores of a method on some images, with the accuracy of its classifier."""
    of_images = saved.scores.of(image_ids)
    chosen = [k for k, (name, _) in enumerate(of_images.columns) if name == method]
    columns = [of_images.columns[k] for k in chosen]
    states = {name: found for name, found in of_images.states.items() if name == method}
    scores = of_images._replace(columns=columns, terms=of_images.terms[:, chosen], states=states)
    return with_accuracy(scores, [row for row in saved.rows if row["method"] == method])


def _with_common_seeds(sides: Sequence[Side]) -> tuple[list[Side], list[str]]:
    """Leave out trainings whose seed another sweep lacks, if two or more are left."""
    swept = [side for side in sides if len(side.members) > 1]
    common = set.intersection(*(set(side.seeds) for side in swept)) if swept else set()
    if len(common) < 2:
        told = "the sweeps share fewer than two seeds: their trainings are not paired"
        return list(sides), [told] if len(swept) > 1 else []
    found, notes = [], []
    for side in sides:
        left = [seed for seed in side.seeds if seed not in common]
        kept = [m for m in side.members if m.seed in common or len(side.members) == 1]
        found.append(side._replace(members=kept))
        if left:
            notes.append(
                f"{found[-1].name}: left out, as another sweep lacks the seed: "
                f"{', '.join(map(str, left))}"
            )
    return found, notes


def _check_splits(members: Sequence[tuple[str, Member]]) -> None:
    (name, first), *others = members
    for other, member in others:
        if member.saved.split != first.saved.split:
            raise UserError(
                f"{other}: is of the split {member.saved.split}, {name} of {first.saved.split}; "
                "compare evaluations of one split."
            )


def _left_out(side: Side, shared: set[str]) -> int:
    tested = {image for member in side.members for image in member.saved.scores.image_ids}
    return len(tested - shared)


def _named_images(left_out: Mapping[str, int], shared: int) -> Iterator[str]:
    for name, count in left_out.items():
        if count:
            yield f"{name}: {count} of its images left out, as others lack them; {shared} compared"


class _Truth(NamedTuple):
    """True classes, boxes and sizes of masks of an evaluation's images, as far as it tells them."""

    size: tuple[int, int] | None
    labels: dict[str, str]
    boxes: dict[str, list[list[int]]]
    pixels: dict[str, int]

    @classmethod
    def of(cls, saved: SavedEvaluation, shared: set[str]) -> _Truth:
        """Read it."""
        labels = {r["image_id"]: r.get("label", "") for r in saved.rows if r["image_id"] in shared}
        pixels = _object_pixels(saved.scores)
        if saved.bundle is not None:  # which has the boxes of all images
            true = {image.image_id: image.boxes.tolist() for image in saved.bundle.images}
            return cls(saved.bundle.facts.input_size, labels, true, pixels)
        pictures = saved.gallery().images
        size = pictures[0].size if pictures else None
        boxes = {image.image_id: image.boxes for image in pictures if image.image_id in shared}
        return cls(size, labels, boxes, pixels)


def _object_pixels(scores: ImageScores) -> dict[str, int]:
    """Count the pixels of each image's true mask; empty without masks."""
    states: Mapping[str, NDArray[Any]] = next(iter(scores.states.values()), {})
    if _OBJECT not in states:
        return {}
    counts = states[_OBJECT].astype(np.int64).sum(1).tolist()
    return dict(zip(scores.image_ids, counts, strict=True))


def _check_truth(name: str, truth: _Truth, other: str, others: _Truth) -> None:
    kinds: list[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = [
        ("true classes", truth.labels, others.labels)
    ]
    if truth.size == others.size:  # else boxes and masks were brought to different sizes
        kinds += [
            ("true boxes", truth.boxes, others.boxes),
            ("true masks", truth.pixels, others.pixels),
        ]
    for kind, ours, theirs in kinds:
        if apart := [image for image in ours if image in theirs and ours[image] != theirs[image]]:
            more = f" and {len(apart) - 1} more" if len(apart) > 1 else ""
            raise UserError(
                f"{other}: has other {kind} than {name}, of {apart[0]}{more}; evaluate both on the "
                "same data set."
            )


def _differences(members: Sequence[tuple[str, Member]]) -> Iterator[str]:
    """Tell what the records of the evaluations have that differs between the sides."""
    records = [(name, member.saved.record) for name, member in members]
    for key, told in _NOTED.items():
        yield from _note(told, [(name, str(r[key])) for name, r in records if key in r])
    chosen = [(name, choice) for name, record in records if (choice := _choice(record))]
    yield from _note("what chose the checkpoint", chosen)
    thresholds = [(name, threshold) for name, r in records if (threshold := _threshold(r))]
    yield from _note("the threshold of single boxes", thresholds)


def _selection(record: Mapping[str, Any]) -> Mapping[str, Any]:
    found = record.get("selection")
    return found if isinstance(found, dict) else {}


def _choice(record: Mapping[str, Any]) -> str:
    return " ".join(str(v) for k, v in _selection(record).items() if k in _CHOICES)


def _threshold(record: Mapping[str, Any]) -> str:
    found = record.get("box_threshold", _selection(record).get("threshold"))
    return f"{found:.3f}" if isinstance(found, int | float) else ""


def _note(told: str, found: Sequence[tuple[str, str]]) -> Iterator[str]:
    by_side: dict[str, list[str]] = {}
    for name, value in found:
        known = by_side.setdefault(name, [])
        if value not in known:
            known.append(value)
    if len({tuple(v) for v in by_side.values()}) > 1:
        shown = (f"{name}: {', '.join(v[:_SHOWN])}" for name, v in by_side.items())
        more = (", ..." if len(v) > _SHOWN else "" for v in by_side.values())
        yield f"{told} differs: {'; '.join(map(''.join, zip(shown, more, strict=True)))}"

"""Description of a bundle: what its maps are of, and the digests of its members."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from learned_saliency.datamodules import SPLITS
from learned_saliency.ops import Activation
from learned_saliency.pipeline.runs.recorded_keys import MAX_CLASSES, MAX_IMAGES, MAX_SIDE
from learned_saliency.trainers import EXPLAINED

FORMAT = "learned-saliency bundle"
VERSION = 1
FACTS = "bundle.json"
CONFIG, RESULTS, TABLE = "config.yaml", "results.json", "images.csv"
STATES, GALLERY = "image_states.npz", "gallery.zip"
IMAGES, BOXES, LOGITS = "truth/images.csv", "truth/boxes.csv", "logits.npy"
MOST_FACTS = 2**28  # bytes
_MOST_PARTS = 200_000  # values of the description beside its members: names of classes
_LEAST_PART = 20  # bytes that each further value takes on average, at least
_MOST_METHODS = 1000
_MOST_PIXELS = 2**26  # in the maps of an image by all methods, which are scored at once
_MAP = re.compile(r"maps/0/(0|[1-9][0-9]{0,8})\.png")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Digest(NamedTuple):
    """Content of a member as the description knows it.

    Attributes:
        size: Number of bytes.
        sha256: Their SHA-256, hexadecimal.
    """

    size: int
    sha256: str


class Facts(NamedTuple):
    """Description of a bundle.

    Attributes:
        split: Name of the tested split.
        methods: Names of the methods, in the order of their numbers.
        class_names: Names of the labels.
        input_size: Height and width of the maps, those of the network's input, in pixels.
        logits: Number C of logits of an image.
        boxes: Whether there are true boxes.
        masks: Whether there are true masks.
        seen: Whether it is known which images are of a class that was trained on.
        box_threshold: Threshold of the predicted boxes of single images, in [0, 1).
        explained: Class that the maps explain, "label" or "predicted".
        has_classes: Whether the logits are of classes, instead of scores of any kind.
        has_scores: Whether there was a network, instead of maps alone.
        batch_size: Number of images that were scored at once.
        versions: Versions of the software.
        members: All other members, in the order of the archive.
        activation: Function of logits of classes to probabilities, see `ops.Activation`.
        multilabel: Whether all classes of each image are known, where it may have several.
        values: Whether the C values of each image are known, which the network tells.
        samples: Whether a tested image is a sample, one of several that may show the same image.
    """

    split: str
    methods: list[str]
    class_names: list[str]
    input_size: tuple[int, int]
    logits: int
    boxes: bool
    masks: bool
    seen: bool
    box_threshold: float
    explained: str
    has_classes: bool
    has_scores: bool
    batch_size: int
    versions: Mapping[str, str]
    members: Mapping[str, Digest]
    activation: str = Activation.SOFTMAX.value
    multilabel: bool = False
    values: bool = False
    samples: bool = False

    def places(self) -> list[int]:
        """List the places of the images in the split, by the names of the first method's maps."""
        found = (_MAP.fullmatch(name) for name in self.members)
        return [int(match[1]) for match in found if match]


def map_name(number: int, place: int) -> str:
    """Name the member with the map of a method's number and an image's place."""
    return f"maps/{number}/{place}.png"


def mask_name(place: int) -> str:
    """Name the member with the true mask of an image."""
    return f"truth/masks/{place}.png"


def image_columns(facts: Facts) -> tuple[str, ...]:
    """Name the columns of ``truth/images.csv``."""
    columns = ("place", "image_id", "label", "seen")
    further = {"labels": facts.multilabel, "values": facts.values, "image": facts.samples}
    return (*columns, *(name for name, there in further.items() if there))


def member_names(facts: Facts, places: Sequence[int], gallery: bool) -> list[str]:
    """List the members that a bundle of these images has to have, in the order of the archive."""
    names = [CONFIG, RESULTS, TABLE, STATES, *([GALLERY] if gallery else []), IMAGES]
    names += [BOXES] if facts.boxes else []
    names += [mask_name(place) for place in places] if facts.masks else []
    numbers = range(len(facts.methods))
    return [*names, LOGITS, *(map_name(number, place) for number in numbers for place in places)]


def write_facts(facts: Facts) -> bytes:
    """Write a description as JSON, a line for each value and member."""
    told = {"format": FORMAT, "version": VERSION, **facts._asdict()}
    told = {key: v for key, v in told.items() if _LATER.get(key) != v}  # as earlier programs wrote
    del told["members"]
    lines = [f" {json.dumps(key)}: {json.dumps(value)},\n" for key, value in told.items()]
    members = [f"  {json.dumps(k)}: {json.dumps(list(v))}" for k, v in facts.members.items()]
    end = ' "members": {\n' + ",\n".join(members) + "\n }\n"
    return "".join(["{\n", *lines, end, "}\n"]).encode()


# Values of what earlier programs did not write.
_LATER = Facts._field_defaults


class NoBundleError(ValueError):
    """Error of a description of something else; the message ends a sentence about the file."""


def read_facts(content: bytes) -> Facts:
    """Read a description, which may be anyone's.

    Raises:
        NoBundleError: If it is none, or of a later version, or its members are not those of a
            bundle.
    """
    parts = sum(content.count(sign) for sign in (b",", b"[", b"{"))
    if parts > _MOST_PARTS + len(content) // _LEAST_PART:  # each may take many times its bytes
        raise NoBundleError(f"is no bundle: its {FACTS} has too many parts")
    try:
        told = json.loads(content)
    except (ValueError, RecursionError):
        raise NoBundleError(f"is no bundle: its {FACTS} is no JSON that can be read") from None
    if not isinstance(told, dict) or told.pop("format", None) != FORMAT:
        raise NoBundleError(f"is no bundle: its {FACTS} does not say so")
    if (version := told.pop("version", None)) != VERSION:
        raise NoBundleError(
            f"is a bundle of version {version!r:.20}, and this program reads version {VERSION}"
        )
    told = {**_LATER, **told}
    for key, fits in _FIELDS.items():
        if key not in told or not fits(told[key]):
            raise NoBundleError(f"is no bundle as evaluate.py writes it: {key} in its {FACTS}")
    chosen = {key: told[key] for key in Facts._fields}
    chosen["input_size"] = tuple(told["input_size"])
    chosen["members"] = {name: Digest(*values) for name, values in told["members"].items()}
    facts = Facts(**chosen)
    if math.prod(facts.input_size) * len(facts.methods) > _MOST_PIXELS:
        raise NoBundleError("has more pixels in the maps of an image than are read at once")
    _check_members(facts)
    return facts


def _check_members(facts: Facts) -> None:
    """Check that no member is missing, extra or out of order."""
    places, names = facts.places(), list(facts.members)
    if places != sorted(set(places)) or not 0 < len(places) <= MAX_IMAGES:
        raise NoBundleError(f"is no bundle: its {FACTS} does not list its maps in order")
    wanted = member_names(facts, places, GALLERY in facts.members)
    if missing := next((name for name in wanted if name not in facts.members), None):
        raise NoBundleError(f"is no bundle as evaluate.py writes it: {missing} is missing")
    if names != wanted:
        known = set(wanted)
        strange = next((name for name in names if name not in known), "the order")
        raise NoBundleError(f"is no bundle as evaluate.py writes it: {strange!r:.200} in {FACTS}")


def _is_count(most: int, least: int = 1) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and least <= value <= most


def _is_list(fits: Callable[[Any], bool], most: int, least: int = 0) -> Callable[[Any], bool]:
    return lambda v: isinstance(v, list) and least <= len(v) <= most and all(map(fits, v))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_switch(value: Any) -> bool:
    return isinstance(value, bool)


def _is_digest(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 2:
        return False
    size, sha256 = value
    return _is_count(2**48, 0)(size) and _is_text(sha256) and bool(_DIGEST.fullmatch(sha256))


_FIELDS: dict[str, Callable[[Any], bool]] = {
    "split": lambda v: _is_text(v) and v in SPLITS,
    "methods": lambda v: _is_list(_is_text, _MOST_METHODS, 1)(v) and len(set(v)) == len(v),
    "class_names": _is_list(_is_text, MAX_CLASSES),
    "input_size": _is_list(_is_count(MAX_SIDE), 2, 2),
    "logits": _is_count(2 * MAX_CLASSES),
    **dict.fromkeys(("boxes", "masks", "seen", "has_classes", "has_scores"), _is_switch),
    "box_threshold": lambda v: type(v) in (int, float) and math.isfinite(v) and 0 <= v < 1,
    "explained": lambda v: _is_text(v) and v in EXPLAINED,
    "batch_size": _is_count(100_000),
    "activation": lambda v: _is_text(v) and v in list(Activation),
    **dict.fromkeys(("multilabel", "values", "samples"), _is_switch),
    "versions": lambda v: isinstance(v, dict) and all(map(_is_text, v.values())),
    "members": lambda v: isinstance(v, dict) and all(map(_is_digest, v.values())),
}

"""Samples of a shard: members that follow each other and share their name up to its first dot."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from learned_saliency.datamodules.shards.tars import Member, read_members
from learned_saliency.datamodules.textfile import DataError

#: Endings of members that are images.
IMAGE_ENDINGS = ("jpg", "jpeg", "png", "webp", "tif", "tiff", "bmp", "gif", "jp2", "ppm", "pgm")
_NAME = re.compile(r"((?:.*/)?[^./\n,][^./\n,]*)\.([^/\n,]+)")


class Sample(NamedTuple):
    """Image with what is known of it, as members of a shard.

    Attributes:
        key: The members' common name.
        members: The members by the rest of their names, in small letters: "jpg", "mask.png".
    """

    key: str
    members: Mapping[str, Member]


def read_samples(path: Path) -> Iterator[Sample]:
    """Go through the samples of a shard, in their order.

    Members whose names have no ending, or begin with a dot, belong to no sample.

    Args:
        path: The shard.

    Raises:
        DataError: If the shard is not readable (see `read_members`), a sample has two members with
            one ending, or two samples have one key.
    """
    key, members, seen = None, {}, set()
    for member in read_members(path):
        found = _NAME.fullmatch(member.name)
        if found is None:
            _refuse_odd(path, member.name)
            continue
        own, ending = found[1], found[2].lower()
        if own != key:
            if members:
                yield Sample(key, members)
            key, members = own, {}
            if key in seen:
                raise DataError(
                    f"{path}: member {member.name}: the key {key} has been used by other samples "
                    "before; members of one sample follow each other, and each has its own key."
                )
            seen.add(key)
        if ending in members:
            raise DataError(
                f"{path}: member {member.name}: the sample has two members of this name; remove "
                "one."
            )
        members[ending] = member
    if members:
        yield Sample(key, members)


def sample_key(name: str) -> str:
    """Return the key of the sample that a member belongs to, by its name; empty for none."""
    found = _NAME.fullmatch(name)
    return "" if found is None else found[1]


def image_of(
    path: Path, sample: Sample, ending: str | None = None, option: str = "data.reader.image"
) -> Member | None:
    """Find the image of a sample; None where it has none.

    Args:
        path: The shard, for a message.
        sample: The sample.
        ending: The ending of its name; None for the only one that images have.
        option: The key that chooses, for a message.

    Raises:
        DataError: If there are several.
    """
    if ending is not None:
        return sample.members.get(ending.lower())
    found = [sample.members[name] for name in sample.members if name in IMAGE_ENDINGS]
    if len(found) > 1:
        raise DataError(
            f"{path}: member {found[1].name}: the sample has several images, {found[0].name} among "
            f"them; choose by {option}=ENDING."
        )
    return found[0] if found else None


def note_of(path: Path, sample: Sample, read: Callable[[Member], Any]) -> dict[str, Any]:
    """Read the JSON member of a sample; empty where it has none.

    Args:
        path: The shard, for a message.
        sample: The sample.
        read: Parses the content of a member; raises ``ValueError``.

    Raises:
        DataError: If it is no JSON object.
    """
    member = sample.members.get("json")
    if member is None:
        return {}
    try:
        found = read(member)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise DataError(f"{path}: member {member.name}: is no JSON object; replace it.")
    return found


def _refuse_odd(path: Path, name: str) -> None:
    """Refuse names with a comma or line break, which lists of images cannot hold."""
    if "," in name or "\n" in name:
        raise DataError(
            f"{path}: member {name!r}: names with a comma or a line break are not read; write the "
            "shard with others."
        )

"""Methods that are compared with each other."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from learned_saliency.pipeline.cli import UserError, listed
from learned_saliency.pipeline.comparison.sides import Side


class Contender(NamedTuple):
    """A method of a side.

    Attributes:
        side: Place of the side.
        method: Name of the method.
        name: What tells the contender from the others of its group.
    """

    side: int
    method: str
    name: str


class Group(NamedTuple):
    """Methods that are compared; the first of them is the one that the others are compared to.

    Attributes:
        title: Name of the method, where all have one.
        contenders: The methods, at least two.
    """

    title: str
    contenders: list[Contender]


def pair_methods(sides: Sequence[Side], asked: Sequence[str] = ()) -> list[Group]:
    """Decide which methods are compared with each other.

    Of one side all methods are compared with the first. Of several sides the methods of one name
    are; a side that shares no name with the first one takes part where both have one method.

    Args:
        sides: The sides.
        asked: Names of methods; empty for all.

    Raises:
        UserError: If there is no such method, or nothing to compare.
    """
    methods = [_chosen(side, asked) for side in sides]
    known = dict.fromkeys(name for side in sides for name in side.methods)
    for name in asked:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            nearest = f"; the nearest: {near[0]}" if near else ""
            raise UserError(
                f"methods={name}: no run has it{nearest}; there are {listed([*known])}."
            )
    if len(sides) == 1:
        if len(methods[0]) < 2:
            raise UserError(
                f"{sides[0].name}: has {listed(methods[0])} alone; name another run to compare it "
                "with, or evaluate more methods."
            )
        return [Group("", [Contender(0, name, name) for name in methods[0]])]
    groups = [_of_name(name, sides, methods) for name in methods[0]]
    groups += _single(sides, methods)
    groups = [group for group in groups if len(group.contenders) > 1]
    if not groups:
        raise UserError(
            f"{sides[0].name} has {listed(methods[0]) or 'no such method'} and {sides[1].name} "
            f"{listed(methods[1]) or 'none'}: no name is in both; choose one of each folder by "
            "methods=[A,B]."
        )
    return groups


def left_out_methods(
    sides: Sequence[Side], groups: Sequence[Group], asked: Sequence[str] = ()
) -> Iterator[str]:
    """Tell which methods are not compared, or without some sides, as these lack them.

    Args:
        sides: The sides.
        groups: What is compared, of `pair_methods`.
        asked: Names of methods; empty for all.
    """
    for side in sides:
        for name in side.incomplete:
            if name in (asked or [name]):
                yield f"the method {name} of {side.name} is left out: not all of its runs have it"
    used = {(c.side, c.method) for group in groups for c in group.contenders}
    titles = {group.title for group in groups}
    for name in asked or dict.fromkeys(name for side in sides for name in side.methods):
        lacking = [side.name for side in sides if name not in side.methods]
        told = f"{listed(lacking)} {'lack' if len(lacking) > 1 else 'lacks'} it"
        having = [i for i, side in enumerate(sides) if name in side.methods]
        if unused := [sides[i].name for i in having if (i, name) not in used]:
            yield f"the method {name} of {listed(unused)} is left out: {told}"
        elif lacking and name in titles:
            yield f"the method {name} is compared without some runs: {told}"


def _chosen(side: Side, asked: Sequence[str]) -> list[str]:
    return [name for name in asked or side.methods if name in side.methods]


def _of_name(name: str, sides: Sequence[Side], methods: Sequence[Sequence[str]]) -> Group:
    having = [i for i, names in enumerate(methods) if name in names]
    return Group(name, [Contender(i, name, sides[i].name) for i in having])


def _single(sides: Sequence[Side], methods: Sequence[Sequence[str]]) -> list[Group]:
    """Pair the only method of the first side with the only ones of other names."""
    if len(methods[0]) != 1:
        return []
    first = methods[0][0]
    others = [i for i, names in enumerate(methods) if len(names) == 1 and names[0] != first]
    if not others:
        return []
    found = [(i, methods[i][0]) for i in (0, *others)]
    contenders = [Contender(i, name, f"{sides[i].name}, {name}") for i, name in found]
    return [Group("", contenders)]

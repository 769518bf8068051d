"""Classes of the creatures: the attributes of each, and thereby where its evidence lies."""

import math

from learned_saliency.datamodules.creatures.anatomy import (
    FORMS,
    NEUTRAL,
    PARTS,
    RINGED,
    TINTS,
    Attributes,
)

EVIDENCE = ("combined", "redundant", "ringed", "vivid")

MAX_CLASSES = {"combined": 64, "redundant": 32, "ringed": 32, "vivid": len(TINTS)}

_FAINT = ("white", "black", "mark")
"""Colors that do not catch the eye; the last is close to the body's color."""

_SIBLINGS = (
    *(("head",), ("wing", "tail"), ("head", "wing", "tail")),
    *(("wing",), ("head", "body"), ("wing", "tail", "body")),
    *(("tail",), ("wing", "body"), ("head", "wing", "body")),
    *(("body",), ("head", "wing"), ("head", "tail", "body")),
)
"""Parts in which the classes 2i and 2i + 1 differ, for i = 0, 1, ...; then from the start again."""


def class_attributes(num_classes: int, evidence: str = "combined") -> list[Attributes]:
    """List the attributes of the classes.

    ``"combined"``: no part tells a class, head and wing together do. Class k has head k mod 4 and
    wing (k div 4) mod 4. The tail follows from those two and from the block of 16 classes that the
    class is in; the body is neutral. Pairs of classes with exactly one, two and three differing
    parts all exist (from 5 classes up).

    ``"redundant"``: each part tells a class, or a class and its sibling, as birds can be told from
    several of their parts. The classes 2i and 2i + 1 are siblings, which differ in one, two or
    three parts in turn; all other pairs differ in all four parts. A part is told by form and color.

    ``"ringed"``: as redundant, but a part has its color on the rim only and the complement inside,
    which together are gray. A strong blur leaves next to nothing that tells a class.

    ``"vivid"``: each part tells a class, but only the head does so at a glance, by a color. Wing,
    tail and body tell the class by form, in white, black or much the body's color. A classifier can
    do without these three parts, and overlooks parts that it does not need. All classes differ in
    all four parts.

    Args:
        num_classes: Number of classes, at least 2 and at most ``MAX_CLASSES``.
        evidence: One of ``EVIDENCE``.

    Returns:
        Attribute values of head, wing, tail and body of each class, all different.

    Raises:
        ValueError: If an argument is out of range.
    """
    if evidence not in EVIDENCE:
        raise ValueError(f"evidence must be one of {EVIDENCE}, got {evidence!r}")
    most = MAX_CLASSES[evidence]
    if not 2 <= num_classes <= most:
        raise ValueError(f"num_classes must be 2 to {most}, got {num_classes}")
    make = {
        "combined": _combined,
        "redundant": _redundant,
        "ringed": _ringed,
        "vivid": _vivid,
    }[evidence]
    return make(num_classes)


def class_name(attributes: Attributes) -> str:
    """Name a class by the values that are not neutral."""
    return "-".join(value.replace(" ", "_") for value in attributes if value != NEUTRAL)


def _combined(num_classes: int) -> list[Attributes]:
    heads, wings, tails = (FORMS[part] for part in PARTS[:3])
    classes = []
    for k in range(num_classes):
        head, wing, block = k % 4, k // 4 % 4, k // 16
        tail = ((head // 2 + wing // 2) % 2 + block) % 4
        classes.append((heads[head], wings[wing], tails[tail], NEUTRAL))
    return classes


def _redundant(num_classes: int) -> list[Attributes]:
    unused = {part: iter(_values(part)) for part in PARTS}
    classes: list[Attributes] = []
    for k in range(num_classes):
        differing = PARTS if k % 2 == 0 else _SIBLINGS[k // 2 % len(_SIBLINGS)]
        sibling = dict(zip(PARTS, classes[-1], strict=True)) if k % 2 else {}
        head, wing, tail, body = (
            next(unused[part]) if part in differing else sibling[part] for part in PARTS
        )
        classes.append((head, wing, tail, body))
    return classes


def _ringed(num_classes: int) -> list[Attributes]:
    return [
        (f"{RINGED} {head}", f"{RINGED} {wing}", f"{RINGED} {tail}", f"{RINGED} {body}")
        for head, wing, tail, body in _redundant(num_classes)
    ]


def _vivid(num_classes: int) -> list[Attributes]:
    heads = [f"{tint} {FORMS['head'][0]}" for tint in TINTS]
    others = ([f"{color} {form}" for color in _FAINT for form in FORMS[p]] for p in PARTS[1:])
    return list(zip(heads, *others, strict=False))[:num_classes]


def _values(part: str) -> list[str]:
    """List the values "COLOR FORM" of a part, neighbors unlike in both; parts share no color."""
    forms, colors = FORMS[part], len(TINTS)
    period, start = math.lcm(colors, len(forms)), 3 * PARTS.index(part)
    return [
        f"{TINTS[(k + k // period + start) % colors]} {forms[k % len(forms)]}"
        for k in range(colors * len(forms))
    ]

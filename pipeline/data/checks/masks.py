"""Checks of masks and ignore masks: whether they fit their images and mark something."""

from __future__ import annotations

from collections import defaultdict

from learned_saliency.datamodules import ImageFacts
from learned_saliency.pipeline.data.checks.images import LOOKS
from learned_saliency.pipeline.data.content import Content, SplitContent
from learned_saliency.pipeline.data.findings import Findings
from learned_saliency.pipeline.data.reading import MISSING
from learned_saliency.pipeline.data.tables import MaskRow

_Object = tuple[int, int | None]  # an image, and of several classes the one that masks are of
_ROUNDING = 0.02  # by which the ratio of sides may differ, besides a pixel


def check_masks(content: Content, split: SplitContent, findings: Findings) -> None:
    """Check the masks of a split."""
    if split.table.masks is None:
        return
    marked: defaultdict[_Object, float] = defaultdict(float)
    smaller, seen = 0, set()
    for row in split.table.masks:
        files = [(row.mask, content.masks[row.mask])] if row.mask else []
        files += [(row.ignore, content.ignores[row.ignore])] if row.ignore else []
        for name, facts in files:
            if (name, row.image) not in seen:  # instances may share an ignore mask
                smaller += _check_mask(content, split, row, name, facts, findings)
                seen.add((name, row.image))
        if row.mask:
            key = row.image, row.label
            marked[key] = max(marked[key], content.masks[row.mask].marked)
    _check_ignored(content, split, findings)
    _check_marked(content, split, marked, findings)
    if smaller:
        message = (
            f"{smaller} masks have other sizes than their images, of the same shape; both are "
            "resized to the same square."
        )
        findings.add("mask-size", split.table.mask_file, message)


def _check_mask(
    content: Content,
    split: SplitContent,
    row: MaskRow,
    name: str,
    facts: ImageFacts,
    findings: Findings,
) -> bool:
    """Check the file of a mask; tell whether it has another size than its image."""
    place = content.locate_mask(name)
    if facts.problem == MISSING:
        where = f"{split.table.mask_file.parent.name}/{split.table.mask_file.name}, line {row.line}"
        message = f"{MISSING}, but {where}, lists it; restore it or correct the path."
        findings.add("mask-missing", place, message)
        return False
    if facts.problem:
        findings.add("mask-damaged", place, f"{facts.problem}; replace it.")
        return False
    size, found = split.size(row.image, content.turned), facts.size(content.turned)
    if size is None or found == size:
        return False
    if _has_shape(found, size):
        return True
    message = "is {}x{} pixels large, but its image {} {}x{}".format(
        *found, split.table.ids[row.image], *size
    )
    image = split.facts[row.image]
    if not image.problem and _has_shape(found, image.size(not content.turned)):
        message += f"; it fits the image {LOOKS[not content.turned]}: " + (
            f"set data.exif_orientation={str(not content.turned).lower()}, or turn it."
        )
        findings.add("turned-size", place, message)
    else:
        findings.add("mask-shape", place, f"{message}; replace it.")
    return False


def _has_shape(found: tuple[int, int], size: tuple[int, int]) -> bool:
    """Tell whether a mask becomes as large as an image when its sides are scaled alike."""
    scale = size[0] / found[0]
    return abs(found[1] * scale - size[1]) <= max(scale, 1.0) + _ROUNDING * size[1]


def _check_ignored(content: Content, split: SplitContent, findings: Findings) -> None:
    """Find files that say of a whole image that it counts for nothing."""
    whole = {}
    for row in split.table.masks:
        if row.ignore and content.ignores[row.ignore].marked == 1:
            whole[row.ignore] = row.image
        if row.mask and content.masks[row.mask].ignored == 1:
            whole[row.mask] = row.image
    for name, image in whole.items():
        message = (
            f"covers the image {split.table.ids[image]} wholly, so that nothing but its object "
            "counts; see whether it is meant so."
        )
        findings.add("ignored", content.locate_mask(name), message)


def _check_marked(
    content: Content, split: SplitContent, marked: dict[_Object, float], findings: Findings
) -> None:
    """Find images in whose masks, all of which can be read, nothing is marked."""
    names = defaultdict(list)
    for row in split.table.masks:
        names[row.image, row.label] += [row.mask] * bool(row.mask)
    empty = [
        key
        for key, share in marked.items()
        if share == 0 and not any(_is_broken(content.masks[name]) for name in names[key])
    ]
    if empty and len(empty) == len(marked):
        message = "no pixel of its masks is marked; see docs/own-data.md for which pixels count."
        findings.add("masks-empty", split.table.mask_file, message)
        return
    for key in empty:
        place = content.locate_mask(names[key][0])
        more = f" (and {len(names[key]) - 1} more)" if len(names[key]) > 1 else ""
        message = f"marks no pixel{more}; draw the object, or leave the image out."
        findings.add("mask-empty", place, message)


def _is_broken(facts: ImageFacts) -> bool:
    return bool(facts.problem)

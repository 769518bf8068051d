"""Checks of images: whether they are there, can be read, and are as large as it is said."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from learned_saliency.datamodules import COLORS
from learned_saliency.pipeline.data.content import Content, SplitContent
from learned_saliency.pipeline.data.findings import Findings
from learned_saliency.pipeline.data.reading import MISSING
from learned_saliency.pipeline.data.tables import Numbers

LOOKS = {False: "as stored", True: "as its EXIF data turn it"}


def check_images(content: Content, split: SplitContent, findings: Findings) -> None:
    """Check the images of a split."""
    table = split.table
    refers = not table.is_trained_on and (table.boxes is not None or table.masks is not None)
    for image, facts in enumerate(split.facts):
        if facts.problem == MISSING:
            where = f"{table.folder.name}/image_ids.txt, line {table.lines[image]}"
            message = f"{MISSING}, but {where}, lists it; restore it or correct the path."
            findings.add("image-missing", _place(content, split, image), message)
        elif facts.problem:
            message = f"{facts.problem}; replace it."
            findings.add("image-damaged", _place(content, split, image), message)
        else:
            with findings.at_most(table.most):
                _check_size(content, split, image, findings)
            if refers and facts.orientation > 1 and not content.turned:
                message = (
                    f"has EXIF orientation {facts.orientation}; see whether boxes and masks fit "
                    "the image as stored or as its EXIF data turn it (data.exif_orientation=true)."
                )
                findings.add("turned", _place(content, split, image), message)


def check_forms(content: Content, root: Path, channels: int, findings: Findings) -> None:
    """Check that images have the channels that are wanted, and tell channels and depth.

    Of images that are brought to colors of 8 bits nothing is wrong; it is told where some of them
    have more to give.

    Args:
        content: The data set.
        root: Folder of its images.
        channels: Number of channels that they are to have; 3 are colors.
        findings: Gets what is found.
    """
    forms: Counter[str] = Counter()
    for split in content.splits:
        for image, facts in enumerate(split.facts):
            forms[facts.form] += bool(facts.form)
            if facts.problem or channels in (COLORS, facts.channels):
                continue
            found = facts.form.partition(",")[0]
            message = (
                f"has {found}, not {channels}; convert it, leave it out, or choose data.channels=3,"
                " which takes all kinds."
            )
            findings.add("channels", _place(content, split, image), message)
    told = "; ".join(f"{count} of {form}" for form, count in forms.most_common() if form)
    if channels != COLORS and told:
        findings.add("form", root, f"{told}.")
    elif any(form and _is_cut(form) for form in forms):
        message = (
            f"{told}; more than 8 bits are cut, unless data.channels=1 (or 4, ...) keeps them."
        )
        findings.add("form", root, message)


def _is_cut(form: str) -> bool:
    """Tell whether 8-bit colors lose some of a form."""
    return form.rpartition(", ")[2] not in ("8-bit", "1-bit")


def _place(content: Content, split: SplitContent, image: int) -> str:
    return str(content.locate(split.table.ids[image]))


def _check_size(content: Content, split: SplitContent, image: int, findings: Findings) -> None:
    """Compare an image's size with that in the metadata."""
    said: Numbers | None = (split.table.sizes or {}).get(image)
    facts, turned = split.facts[image], content.turned
    if said is None or said.values == facts.size(turned):
        return
    path, name = split.table.folder / "image_sizes.txt", split.table.ids[image]
    found = "{}x{}".format(*facts.size(turned))
    if said.values == facts.size(not turned):
        other = str(not turned).lower()
        message = (
            f"{name} is {found} pixels large {LOOKS[turned]}, and its size here is that "
            f"{LOOKS[not turned]}; set data.exif_orientation={other}, or turn the image's boxes."
        )
        findings.add("turned-size", path, message, said.line)
        return
    message = "{} is {} pixels large, not {}x{}; correct the line or the image.".format(
        name, found, *said.values
    )
    findings.add("size", path, message, said.line)

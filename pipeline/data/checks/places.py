"""Checks of what lies where: parts of the download, paths of the metadata, files left over."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from learned_saliency.datamodules import Source, leaves
from learned_saliency.pipeline.data.content import Content
from learned_saliency.pipeline.data.findings import Findings

_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".jp2", ".ppm")
_SHOWN = 3


def check_download(root: Path, sources: Sequence[Source], findings: Findings) -> None:
    """Check which parts of a download are there, and say where the others are obtained."""
    for source in sources:
        if source.find(root) is None:
            need = "is missing" if source.required else "is not there, which is optional"
            message = f"{need}: {source.what}; to be had from {source.where}."
            kind = "download" if source.required else "option"
            findings.add(kind, root / source.path, message)


def check_inside(
    content: Content, root: Path, mask_root: Path, further: Sequence[Path], findings: Findings
) -> None:
    """Check that images and masks lie below their roots, as trainings demand."""
    for split in content.splits:
        table = split.table
        ids = zip(table.ids, table.lines, strict=True)
        for name, line in ids:
            if leaves(name, root, *further):
                _tell(name, root, table.folder / "image_ids.txt", line, findings)
        for row in table.masks or ():
            for name in filter(None, (row.mask, row.ignore)):
                if leaves(name, mask_root, *further):
                    _tell(name, mask_root, table.mask_file, row.line, findings)


def _tell(name: str, root: Path, source: Path, line: int, findings: Findings) -> None:
    message = (
        f"{name!r} lies outside of {root}; correct it, or allow such paths by "
        "data.allow_outside_root=true."
    )
    findings.add("outside", source, message, line)


def check_unlisted(content: Content, root: Path, files: Sequence[str], findings: Findings) -> None:
    """Count the images below the root that no split lists, neither as image nor as mask.

    Args:
        content: The data set.
        root: Folder of the images.
        files: The image files below it, as `image_files` gives them.
        findings: Gets a note about them.
    """
    masks = [*content.masks, *content.ignores]
    listed = {os.path.normpath(content.locate_mask(name)) for name in masks}
    for split in content.splits:
        listed |= {os.path.normpath(os.path.join(root, name)) for name in split.table.ids}
    others = [file for file in files if file not in listed]
    if others:
        first = ", ".join(os.path.relpath(file, root) for file in others[:_SHOWN])
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        message = f"{len(others)} of {len(files)} images here are in no split: {first}{more}."
        findings.add("unlisted", root, message)


def image_files(root: Path, without: Sequence[Path], arrays: bool = False) -> Iterator[str]:
    """Go through the image files below a folder, as their names end, in alphabetical order.

    Args:
        root: The folder.
        without: Folders that are left out, and what lies in them.
        arrays: Whether .npy files are images, too.
    """
    suffixes = (*_SUFFIXES, ".npy") if arrays else _SUFFIXES
    left_out = {os.path.normpath(folder) for folder in without}
    for folder, folders, files in os.walk(os.path.normpath(root)):
        folders[:] = sorted(
            name
            for name in folders
            if name[0] != "." and os.path.join(folder, name) not in left_out
        )
        for name in sorted(files):
            if name[0] != "." and name.lower().endswith(suffixes):
                yield os.path.join(folder, name)

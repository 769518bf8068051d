"""Miniature downloads by the names of their data sets: the root, and words for their readers."""

from tests.support import layouts


def cub(folder):
    root = layouts.cub(folder)
    metadata = layouts.cubv2(folder / "benchmark", root / "images")
    return root, [f"data.reader.cubv2_metadata={metadata}"]


def imagenet(folder):
    return layouts.imagenet(folder), ["data.reader.val_per_class=1"]


def openimages(folder):
    return layouts.openimages(folder), []


def pets(folder):
    return layouts.pets(folder), ["data.reader.val_per_class=1"]

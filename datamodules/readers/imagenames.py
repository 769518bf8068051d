"""Images of a folder, found by the names that files of boxes and tables have for them."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

from learned_saliency.datamodules.readers.boxtables import NotedBox
from learned_saliency.datamodules.textfile import DataError

_NOTE_FOLDERS = frozenset(("annotations", "annotation", "xmls", "xml", "boxes", "labels"))


class ImageNames:
    """Images of a folder, found by the names that other files have for them.

    Args:
        names: Names of the images, relative to the root, with ``/``.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._by_last: dict[str, list[str]] = defaultdict(list)
        for name in names:
            self._by_last[PurePosixPath(name).name].append(name)
            self._by_last[PurePosixPath(name).stem].append(name)

    def find(self, given: str, folder: str) -> list[str]:
        """Find the images that a name may mean.

        The longest end of the name counts that is the end of an image's path, with its extension or
        without. Of several images those below ``folder`` come first, then those nearest to it.

        Args:
            given: The name: a path relative to anything, with ``/`` or a backslash.
            folder: Folder of the file that has the name, relative to the root.

        Returns:
            The images, one where the name is clear, none where there is no such image.
        """
        parts = [part for part in given.replace("\\", "/").split("/") if part not in ("", ".")]
        if not parts:
            return []
        same = self._by_last.get(parts[-1], [])
        for start in range(len(parts)):
            end = parts[start:]
            found = [name for name in same if _ends_with(name, end)]
            if found:
                return _nearest(found, folder)
        return []


def _ends_with(name: str, end: list[str]) -> bool:
    path = name.split("/")
    own = path[-len(end) :]
    return own[:-1] == end[:-1] and len(path) >= len(end)


def _nearest(names: list[str], folder: str) -> list[str]:
    """Keep those of the names that share most folders with ``folder``, from the root down."""
    if len(names) == 1:
        return names
    place = [part for part in folder.split("/") if part.lower() not in _NOTE_FOLDERS]

    def shared(name: str) -> int:
        own = name.split("/")[:-1]
        differing = (i for i, (a, b) in enumerate(zip(place, own, strict=False)) if a != b)
        return next(differing, min(len(place), len(own)))

    most = max(map(shared, names))
    return [name for name in names if shared(name) == most]


def image_of(box: NotedBox, names: ImageNames, folder: str) -> str:
    """Find the image of a box, by the name that its file has for it; see `ImageNames.find`.

    Raises:
        DataError: If there is no such image, or the name is that of several.
    """
    found = names.find(box.image, folder)
    if len(found) == 1:
        return found[0]
    if not found:
        raise DataError(
            f"{box.where}: there is no image {box.image!r}; restore it or remove its boxes."
        )
    raise DataError(
        f"{box.where}: {box.image!r} may be {found[0]} or {found[1]}; write its folder, too."
    )

"""Files of which `LabelsReader` reads the classes, boxes and splits of images."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from learned_saliency.datamodules.readers.boxtables import NotedBox, read_coco, read_table
from learned_saliency.datamodules.readers.imagenames import ImageNames, image_of
from learned_saliency.datamodules.readers.labeltable import LabelRow
from learned_saliency.datamodules.readers.splitlists import SplitLists
from learned_saliency.datamodules.textfile import DataError


class LabelSource(NamedTuple):
    """Files that are read.

    Attributes:
        root: The folder.
        table: Table of the classes.
        boxes: File of boxes; None for none.
        names: Images below the root, by the names that files may have for them.
        lists: Lists of splits; None for none.
        remarks: Sentences about what is passed over.
    """

    root: Path
    table: Path
    boxes: Path | None
    names: ImageNames
    lists: SplitLists | None
    remarks: Sequence[str]

    def listed(self, rows: Sequence[LabelRow]) -> dict[str, LabelRow]:
        """Find the images of rows; return the rows by the images' names, in the order of these."""
        found: dict[str, LabelRow] = {}
        for row in rows:
            images = self.names.find(row.image, self._folder(self.table))
            if len(images) != 1:
                fault = "there is no image {!r}; restore it or remove the line"
                if images:
                    fault = "{!r} may be {} or {}; write its folder, too"
                raise DataError(f"{row.where}: {fault.format(row.image, *images[:2])}.")
            (name,) = images
            if name in found:
                raise DataError(
                    f"{row.where}: {name} is in {found[name].where}, too; remove one of the lines."
                )
            found[name] = row
        return dict(sorted(found.items()))

    def noted_boxes(self, names: set[str]) -> dict[str, list[NotedBox]]:
        """Read the boxes of some images."""
        if self.boxes is None:
            return {}
        read = read_coco if self.boxes.suffix.lower() == ".json" else read_table
        boxes = read(self.boxes)
        if boxes is None:
            raise DataError(
                f"{self.boxes}: has no boxes that are known: a CSV table has a header such as"
                " image,x0,y0,x1,y1,class, and COCO's JSON has images and annotations."
            )
        found: dict[str, list[NotedBox]] = {}
        for box in boxes:
            name = image_of(box, self.names, self._folder(self.boxes))
            if name in names:
                found.setdefault(name, []).append(box)
        return found

    def _folder(self, path: Path) -> str:
        """Name the folder of a file relative to the root; empty for one elsewhere."""
        inside = path.parent.is_relative_to(self.root)
        return path.parent.relative_to(self.root).as_posix() if inside else ""

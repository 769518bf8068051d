"""Table with a row per image and method of a test."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import lightning as L
import torch

from learned_saliency.datamodules import WSOLBatch
from learned_saliency.metrics import box_iou, boxes_from_saliency
from learned_saliency.storage import write_csv
from learned_saliency.trainers.base import SaliencyModule
from learned_saliency.trainers.callbacks.image_states import (
    STATES_FILE,
    pack_states,
    write_image_states,
)
from learned_saliency.trainers.callbacks.part_files import PartFiles
from learned_saliency.trainers.measurements import FIGURES
from learned_saliency.trainers.outputs import TestOutput

_PLACE, _STATES = "place", "states"  # columns of the parts that the table does not have


class ImageTable(PartFiles, L.Callback):
    """Writer of a CSV with one row per image and method while a module is tested.

    Columns: ``image_id, method, label, predicted, target`` (the class explained; or of scores that
    are no classes the index, with ``score`` behind it in place of ``predicted``, and so of samples
    of multi-label tasks, with the logit of the class); ``image``, where a row is a sample, the
    image that it shows; the box of the map's largest contour at the module's ``box_threshold``
    ``x0, y0, x1, y1``, in pixels of the input; ``iou`` with the best true box, where there are
    boxes; and the terms of the metrics that are means over images, named as these means, empty
    where an image does not count. Images are in the order of the split. What the other metrics
    count of each image is written beside the table, as ``STATES_FILE``.

    Each process writes a part of its own. The first process joins the parts when the test ends, or
    when it is interrupted: then the table has the rows of the batches that were finished. It never
    holds half a row, and an earlier table is replaced only by a whole one.

    Args:
        path: File to write.
        parts: Folder of the parts.

    Attributes:
        taken: Rows of methods that an earlier test has computed, which the first process adds.
        rows: All rows when the parts are joined, in the order of the table.
    """

    def __init__(self, path: Path, parts: Path) -> None:
        self.path = path
        super().__init__(parts, "rows-*.csv")
        self._writer: Any = None
        self.taken: list[dict[str, str]] = []
        self.rows: list[dict[str, str]] = []
        self._order: dict[str, int] = {}
        self._asked: list[str] = []

    def setup(self, trainer: L.Trainer, module: SaliencyModule, stage: str) -> None:
        """Agree on the places of the first process."""
        self.path, self.parts = trainer.strategy.broadcast((self.path, self.parts))

    def on_test_start(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        """Note the order of methods and metrics."""
        self.rows, names = [], module.map_names
        self._order = {name: i for i, name in enumerate(names)}
        self._asked = list(module.faithfulness.metrics[names[0]])

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        module: SaliencyModule,
        outputs: TestOutput,
        batch: WSOLBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add the rows of a batch, beside the network."""
        module.aside.run(partial(self._add, module, outputs, batch))

    def _add(self, module: SaliencyModule, outputs: TestOutput, batch: WSOLBatch) -> None:
        for row in image_rows(outputs, batch, module):
            if self._file is None:
                self._open(list(row))
            self._writer.writerow(row)
        if self._file is not None:
            self._file.flush()
            self._length = self._file.tell()

    def on_test_end(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        """Join the parts of all processes."""
        self._close()
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            self._join()

    def on_exception(
        self, trainer: L.Trainer, module: SaliencyModule, exception: BaseException
    ) -> None:
        """Join what the processes have written so far."""
        module.aside.settle()
        with suppress(OSError):  # a full disk is told already
            self._close()
            self.take(self.kept())
            if trainer.is_global_zero:
                self._join()

    def _open(self, columns: list[str]) -> None:
        self.parts.mkdir(parents=True, exist_ok=True)
        self._file = self._part.open("a", newline="", encoding="utf-8")
        self._writer = csv.DictWriter(self._file, columns)
        if not self._file.tell():
            self._writer.writeheader()

    def _join(self) -> None:
        """Write the table of all whole rows, if there are any."""
        found = [*self.taken]
        for part in self._parts():
            text = part.read_text(encoding="utf-8")
            found += csv.DictReader(StringIO(text[: text.rfind("\n") + 1]))
        if found:
            found.sort(key=lambda row: (int(row[_PLACE]), self._order.get(row["method"], 0)))
            columns = self._columns(found)
            write_csv(self.path, columns, ({k: row.get(k) for k in columns} for row in found))
            self._write_states(found)
        self.rows = found

    def _write_states(self, found: list[dict[str, str]]) -> None:
        cells: dict[str, dict[str, str]] = {}
        for row in found:
            cells.setdefault(row["method"], {})[row["image_id"]] = row[_STATES]
        write_image_states(self.path.with_name(STATES_FILE), cells)

    def _columns(self, found: list[dict[str, str]]) -> list[str]:
        """Name the columns: rows that were taken over may have further metrics, or other orders."""
        first = found[: max(1, len(self._order))]  # those of an image
        names = dict.fromkeys(k for row in first for k in row if k not in (_PLACE, _STATES))
        if not self._order:  # the test ended before it began
            return list(names)
        asked = [name for name in self._asked if name in names]
        return [name for name in names if name not in FIGURES] + asked


def image_rows(
    tested: TestOutput, batch: WSOLBatch, module: SaliencyModule
) -> Iterator[dict[str, object]]:
    """Build the rows of a batch, image by image; see `ImageTable` for the columns.

    The first columns are not the table's: the image's place in the split, and its states.
    """
    classes = [batch["label"], tested.logits.argmax(1), tested.targets]
    label, predicted, target = (values.tolist() for values in classes)
    scores = tested.logits.gather(1, tested.targets[:, None])[:, 0].tolist()
    threshold = float(module.box_threshold)
    boxes = {name: boxes_from_saliency(maps, threshold) for name, maps in tested.maps.items()}
    terms = {
        name: {figure: values.tolist() for figure, values in figures.items()}
        for name, figures in tested.terms.items()
    }
    for i, image_id in enumerate(batch["image_id"]):
        for name in tested.maps:
            box = boxes[name][i].tolist()
            row = {_PLACE: int(batch["index"][i]), _STATES: pack_states(tested.states[name], i)}
            row |= {"image_id": image_id, "method": name, "label": label[i]}
            if module.has_classes and "labels" not in batch:
                row |= {"predicted": predicted[i], "target": target[i]}
            elif module.has_scores:
                row |= {"target": target[i], "score": f"{scores[i]:.6g}"}
            if "source" in batch:
                row["image"] = batch["source"][i]
            row |= dict(zip(("x0", "y0", "x1", "y1"), box, strict=True))
            if "boxes" in batch:
                true = batch["boxes"][i].cpu().numpy()
                overlap = box_iou(torch.tensor(box).numpy(), true).max() if len(true) else None
                row["iou"] = "" if overlap is None else f"{overlap:.4f}"
            yield row | {figure: _cell(values[i]) for figure, values in terms[name].items()}


def _cell(term: float) -> str:
    """Write the term of an image; nothing where it has none."""
    return "" if math.isnan(term) else f"{term:.6g}"

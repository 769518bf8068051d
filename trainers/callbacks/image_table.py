"""Table with a row per image and method of a test."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import lightning as L
import torch

from learned_saliency.datamodules import WSOLBatch
from learned_saliency.metrics import box_iou, boxes_from_saliency
from learned_saliency.storage import replacing
from learned_saliency.trainers.base import SaliencyModule
from learned_saliency.trainers.outputs import TestOutput


class ImageTable(L.Callback):
    """Writer of a CSV with one row per image and method while a module is tested.

    Columns: ``image_id, method, label, predicted, target`` (the class explained); the box of the
    map's largest contour at the module's ``box_threshold`` ``x0, y0, x1, y1``, in pixels of the
    input; ``iou`` with the best true box, where there are boxes; and the terms of the faithfulness
    metrics, named as their averages.

    Each process writes a file of its own; the first process joins the files when the test ends, so
    that the table is whole or not there.

    Args:
        path: File to write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO | None = None
        self._writer: Any = None

    def on_test_start(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        """Open this process's part."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._part(trainer.global_rank).open("w", newline="")
        self._writer = None

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        module: SaliencyModule,
        outputs: TestOutput,
        batch: WSOLBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add the rows of a batch."""
        for row in rows(outputs, batch, float(module.box_threshold)):
            if self._writer is None:
                self._writer = csv.DictWriter(self._file, list(row))
                if trainer.is_global_zero:
                    self._writer.writeheader()
            self._writer.writerow(row)

    def on_test_end(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        """Join the parts of all processes."""
        self._file.close()
        trainer.strategy.barrier()
        if not trainer.is_global_zero:
            return
        parts = [self._part(rank) for rank in range(trainer.world_size)]
        with replacing(self.path) as temporary, temporary.open("w", newline="") as whole:
            for part in parts:
                whole.write(part.read_text())
                part.unlink()

    def on_exception(
        self, trainer: L.Trainer, module: SaliencyModule, exception: BaseException
    ) -> None:
        """Remove this process's part."""
        if self._file is not None:
            self._file.close()
            self._part(trainer.global_rank).unlink(missing_ok=True)

    def _part(self, rank: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{rank}.tmp")


def rows(tested: TestOutput, batch: WSOLBatch, box_threshold: float) -> Iterator[dict[str, object]]:
    """Build the rows of a batch, image by image; see `ImageTable` for the columns."""
    classes = [batch["label"], tested.logits.argmax(1), tested.targets]
    label, predicted, target = (values.tolist() for values in classes)
    boxes = {name: boxes_from_saliency(maps, box_threshold) for name, maps in tested.maps.items()}
    terms = {
        name: {figure: values.tolist() for figure, values in figures.items()}
        for name, figures in tested.terms.items()
    }
    for i, image_id in enumerate(batch["image_id"]):
        for name in tested.maps:
            box = boxes[name][i].tolist()
            row = {"image_id": image_id, "method": name}
            row |= {"label": label[i], "predicted": predicted[i], "target": target[i]}
            row |= dict(zip(("x0", "y0", "x1", "y1"), box, strict=True))
            if "boxes" in batch:
                true = batch["boxes"][i].cpu().numpy()
                row["iou"] = f"{box_iou(torch.tensor(box).numpy(), true).max():.4f}"
            yield row | {figure: f"{v[i]:.6g}" for figure, v in terms[name].items()}

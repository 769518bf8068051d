"""The same validation images after every epoch, with what the model sees in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from learned_saliency.metrics import boxes_from_saliency
from learned_saliency.storage import write_bytes
from learned_saliency.trainers.base import NATIVE, SaliencyModule
from learned_saliency.trainers.callbacks.contact_sheet import CELL, box_legend, class_lines
from learned_saliency.trainers.loggers.dashboard import Dashboard
from learned_saliency.trainers.outputs import is_flat, known_targets
from learned_saliency.visualization import (
    DEFAULT_COLORMAP,
    FOUND_BOX,
    TRUE_BOX,
    Picture,
    encode_png,
    grid,
    overlay,
    with_boxes,
)


class Pictures(L.Callback):
    """Draws a grid of validation images after each validation, as PNG and on the dashboards.

    A row holds the image with its true boxes, below it the true class and the predicted one with
    its probability; the map of each given post-hoc method for the true class; the native map; and
    the image with the box predicted from the native map beside the true ones. A constant map is
    called flat and has no box. Images are spread evenly over the split and stay the same.

    Args:
        folder: Where ``epoch_000.png`` and so on go.
        count: Number of images; 0 for no pictures.
        methods: Names of the module's post-hoc methods to draw; those it lacks are left out.
        class_names: Names of the classes; numbers stand for those that have none.
    """

    def __init__(
        self,
        folder: Path,
        count: int = 8,
        methods: Sequence[str] = (),
        class_names: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.count = count
        self.methods = list(methods)
        self.class_names = class_names
        self._batch: dict[str, Any] | None = None

    def on_validation_end(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        """Draw and log the grid, with the box threshold just chosen; in the first process only."""
        if not self.count or not trainer.is_global_zero or trainer.sanity_checking:
            return
        if self._batch is None:
            self._batch = spread(trainer.datamodule.dataloader("val"), self.count)
        batch = module.transfer_batch_to_device(self._batch, module.device, 0)
        names = [name for name in self.methods if name in module.methods]
        with trainer.precision_plugin.forward_context():
            maps, logits = module.maps(batch["image"], batch["label"], names)
        sheet = draw(module, batch, maps, logits, self.class_names)
        path = self.folder / f"epoch_{trainer.current_epoch:03d}.png"
        write_bytes(path, encode_png(sheet))
        step = trainer.fit_loop.epoch_loop._batches_that_stepped  # as other curves do
        for logger in trainer.loggers:
            if isinstance(logger, Dashboard):
                logger.log_picture("pictures/validation", path, trainer.current_epoch, step)


def draw(
    module: SaliencyModule,
    batch: dict[str, Any],
    maps: dict[str, Tensor],
    logits: Tensor,
    class_names: Sequence[str] = (),
) -> Picture:
    """Draw a batch with its maps; see `Pictures` for the columns.

    Args:
        module: Gives the normalization and the box threshold.
        batch: A `WSOLBatch` of B images.
        maps: Maps (B, H, W) in [0, 1] by method, ``native`` among them.
        logits: Class scores (B, C).
        class_names: Names of the classes.

    Returns:
        The grid, B rows.
    """
    images = module.colors(batch["image"]).permute(0, 2, 3, 1).round().byte().cpu().numpy()
    found = boxes_from_saliency(maps[NATIVE].float(), float(module.box_threshold)).cpu().numpy()
    probs = module.activation.probabilities(logits.float())
    best, predicted = (values.tolist() for values in probs.max(1))
    labels, targets = batch["label"].tolist(), known_targets(batch["label"], logits)
    order = [*(name for name in maps if name != NATIVE), NATIVE]
    drawn = {name: maps[name].float().cpu().numpy() for name in order}
    rows, captions = [], []
    for i, image in enumerate(images):
        true = batch["boxes"][i].tolist() if "boxes" in batch else []
        marked = with_boxes(image, true, TRUE_BOX)
        flat = {name: is_flat(drawn[name][i]) for name in order}
        boxes = [] if flat[NATIVE] else [found[i]]
        row = [marked, *(overlay(image, drawn[name][i]) for name in order)]
        rows.append([*row, with_boxes(marked, boxes, FOUND_BOX)])
        below = [["flat map"] if flat[name] else [] for name in order]
        classes = class_lines(class_names, labels[i], predicted[i], best[i])
        if "labels" in batch:  # the classifier decides on each class by itself
            classes = [classes[0], f"probability: {float(probs[i, targets[i]]):.1%}"]
        captions.append([classes, *below, []])
    titles = ["image", *order, "predicted box"]
    looks = {"colormap": DEFAULT_COLORMAP, "legend": box_legend(module)}
    return grid(rows, titles, CELL, captions=captions, **looks)


def spread(loader: DataLoader, count: int) -> dict[str, Any]:
    """One batch of images spread evenly over the whole split of a loader."""
    dataset = loader.dataset
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(int))
    subset = Subset(dataset, chosen.tolist())
    return next(iter(DataLoader(subset, len(chosen), collate_fn=loader.collate_fn)))

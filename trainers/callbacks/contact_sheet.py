"""A few tested images with the maps of all methods, in one picture."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import numpy as np

from learned_saliency.datamodules import WSOLBatch
from learned_saliency.storage import write_bytes
from learned_saliency.trainers.base import SaliencyModule
from learned_saliency.trainers.outputs import Example, TestOutput
from learned_saliency.visualization import TRUE_BOX, encode_png, grid, overlay, with_boxes


class ContactSheet(L.Callback):
    """Draws images spread evenly over the tested split, a column for each method.

    The maps are those of the test, so that nothing is computed twice; of several processes the
    first one draws its own images.

    Args:
        path: PNG to write when the test ends.
        count: Number of images; 0 for no picture.

    Attributes:
        examples: What is drawn, of the last test.
    """

    def __init__(self, path: Path, count: int = 8) -> None:
        self.path = path
        self.count = count
        self._chosen: set[int] = set()
        self._seen = 0
        self.examples: list[Example] = []

    def on_test_start(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        """Choose the images."""
        images = len(trainer.test_dataloaders.sampler)
        limit = trainer.num_test_batches[0] * trainer.test_dataloaders.batch_size
        images = int(min(images, limit))
        spread = np.linspace(0, images - 1, min(self.count, images)).round().astype(int)
        self._chosen = set(spread.tolist()) if trainer.is_global_zero else set()
        self._seen, self.examples = 0, []

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        module: SaliencyModule,
        outputs: TestOutput,
        batch: WSOLBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw the rows of the chosen images of a batch."""
        for i in range(len(batch["image_id"])):
            if self._seen + i in self._chosen:
                self.examples.append(_example(module, outputs, batch, i))
        self._seen += len(batch["image_id"])

    def on_test_end(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        """Write the picture."""
        if self.examples:
            rows = [[e.image, *e.overlays.values()] for e in self.examples]
            write_bytes(self.path, encode_png(grid(rows, ["image", *module.map_names])))


def _example(module: SaliencyModule, tested: TestOutput, batch: WSOLBatch, i: int) -> Example:
    colors = module.colors(batch["image"][i]).permute(1, 2, 0)
    image = colors.round().byte().cpu().numpy()
    true = batch["boxes"][i].tolist() if "boxes" in batch else []
    return Example(
        image_id=batch["image_id"][i],
        label=int(batch["label"][i]),
        predicted=int(tested.logits[i].argmax()),
        target=int(tested.targets[i]),
        image=with_boxes(image, true, TRUE_BOX),
        overlays={
            name: overlay(image, maps[i].float().cpu().numpy())
            for name, maps in tested.maps.items()
        },
    )

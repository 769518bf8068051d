"""Test that goes on where an earlier one was ended."""

from __future__ import annotations

from collections.abc import Callable, Set
from pathlib import Path
from typing import Any

import lightning as L

from learned_saliency.trainers.base import SaliencyModule
from learned_saliency.trainers.callbacks.contact_sheet import ContactSheet
from learned_saliency.trainers.callbacks.image_table import ImageTable
from learned_saliency.trainers.callbacks.journal import Journal, Sums


class JournaledTest(L.Callback):
    """Keeps a journal of a test: metrics, rows and pictures after each batch.

    It has to stand behind the callbacks whose state it keeps.

    Args:
        folder: Folder of the test's files in the first process, which all processes use.
        leave_out: Called before the test with the places of the images that are done.
        table: Table of the test's images, whose parts lie in ``folder``.
        sheet: Contact sheet of the test.

    Attributes:
        done: Number of images that were done before this test.
    """

    def __init__(
        self,
        folder: Path,
        leave_out: Callable[[Set[int]], None],
        table: ImageTable,
        sheet: ContactSheet,
    ) -> None:
        self.journal = Journal(folder)
        self.done = 0
        self._leave_out = leave_out
        self._table = table
        self._sheet = sheet

    def setup(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        """Agree on the folder; read what is done, so that the loader leaves it out."""
        folder, path = trainer.strategy.broadcast((self.journal.folder, self._table.path))
        self.journal.folder = self._table.parts = folder
        self._table.path = path
        if trainer.limit_test_batches not in (0, 1.0):  # the first batches, counted anew
            self.journal.forget()
        done = self.journal.read()
        self.done = len(done)
        if trainer.is_global_zero:
            self._table.forget(self.journal.earlier("rows"))
        self._leave_out(done)

    def on_test_epoch_start(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        """Begin with the metrics of the earlier test; the module has reset its own."""
        scores = {"scores": module.test_scores, "faithfulness": module.faithfulness}
        parts = {"sums": Sums(scores), "rows": self._table, "pictures": self._sheet}
        self.journal.restore(parts)

    def on_test_batch_end(
        self, trainer: L.Trainer, module: SaliencyModule, outputs: Any, batch: Any, *args: Any
    ) -> None:
        """Count the batch as done."""
        self.journal.done(batch["index"])

    def on_test_end(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        """Write what studies that are ended would lose."""
        self.journal.save()

    def on_exception(
        self, trainer: L.Trainer, module: SaliencyModule, exception: BaseException
    ) -> None:
        """Write the state after the last whole batch."""
        self.journal.save()

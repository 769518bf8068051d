"""Test that goes on where an earlier one was ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L

from learned_saliency.trainers.base import SaliencyModule
from learned_saliency.trainers.callbacks.contact_sheet import ContactSheet
from learned_saliency.trainers.callbacks.gallery import Gallery
from learned_saliency.trainers.callbacks.image_table import ImageTable
from learned_saliency.trainers.callbacks.journal import Journal, Kept, Sums
from learned_saliency.trainers.callbacks.kept_methods import (
    KeptMethod,
    computed_metrics,
    kept_methods,
    take_methods,
)
from learned_saliency.trainers.callbacks.map_parts import MapParts


class JournaledTest(L.Callback):
    """Keeps a journal of a test: metrics, rows and pictures after each batch.

    It has to stand behind the callbacks whose state it keeps.

    Args:
        folder: Folder of the test's files in the first process, which all processes use.
        leave_out: Called before the test with the places of the images that are done.
        table: Table of the test's images, whose parts lie in ``folder``.
        sheet: Contact sheet of the test.
        gallery: Gallery of the test.
        taken: What an earlier test has computed, by method; the first process says so to all.
        everything: Places of all images, which are left out where all methods are taken.
        maps: Files of all maps, where they are written.

    Attributes:
        kept: What this test has computed of each method, in the first process after the test.
        done: Number of images that were done before this test.
    """

    def __init__(
        self,
        folder: Path,
        leave_out: Callable[[Set[int]], None],
        table: ImageTable,
        sheet: ContactSheet,
        gallery: Gallery,
        taken: Mapping[str, KeptMethod] | None = None,
        everything: Set[int] = frozenset(),
        maps: MapParts | None = None,
    ) -> None:
        self.kept: dict[str, KeptMethod] = {}
        self._taken, self._everything = dict(taken or {}), everything
        self.journal = Journal(folder)
        self.done = 0
        self._leave_out = leave_out
        self._table = table
        self._sheet = sheet
        self._gallery = gallery
        self._parts: dict[str, Kept] = {"rows": table, "pictures": sheet, "gallery": gallery}
        self._parts |= {} if maps is None else {"maps": maps}

    def setup(self, trainer: L.Trainer, module: SaliencyModule, stage: str) -> None:
        """Agree on the folder; read what is done, so that the loader leaves it out."""
        self.journal.folder = trainer.strategy.broadcast(self.journal.folder)
        if trainer.limit_test_batches not in (0, 1.0):  # the first batches, counted anew
            self.journal.forget()
        shown = (int(place) for method in self._taken.values() for place in method["gallery"])
        module.known, self._gallery.asked = trainer.strategy.broadcast(
            (frozenset(self._taken), frozenset(shown))
        )
        done = self.journal.read()
        self.done = len(done)
        if trainer.is_global_zero:
            for key, part in self._parts.items():
                part.forget(self.journal.earlier(key))
        self._leave_out(self._everything if set(module.map_names) <= module.known else done)

    def on_test_epoch_start(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        """Begin with the metrics of the earlier test; the module has reset its own."""
        sums = Sums(computed_metrics(module))
        self.journal.restore({"sums": sums, **self._parts})
        if trainer.is_global_zero:
            take_methods(module, self._taken, self._table, self._sheet, self._gallery)

    def on_test_batch_end(
        self, trainer: L.Trainer, module: SaliencyModule, outputs: Any, batch: Any, *args: Any
    ) -> None:
        """Count the batch as done, when the metrics and the callbacks before have counted it."""
        module.aside.run(partial(self.journal.done, batch["index"]))

    def on_test_end(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        """Write what studies that are ended would lose; gather what is kept of the methods."""
        self.journal.save()
        self.kept = kept_methods(module, self._table, self._sheet, self._gallery)

    def on_exception(
        self, trainer: L.Trainer, module: SaliencyModule, exception: BaseException
    ) -> None:
        """Write the state after the last whole batch."""
        module.aside.settle()
        self.journal.save()

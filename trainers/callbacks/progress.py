"""Progress: a bar where there is a terminal, plain lines where there is none."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from datetime import timedelta

import lightning as L
from lightning.pytorch.callbacks import ProgressBar, TQDMProgressBar

from learned_saliency.trainers.base import SaliencyModule
from learned_saliency.trainers.outputs import NATIVE
from learned_saliency.trainers.scores import MONITORS


def progress_bar(title: str, interval: float = 60.0) -> ProgressBar:
    """A bar with losses and time left on a terminal; plain lines elsewhere, as in cluster logs.

    Args:
        title: What is trained or tested.
        interval: Seconds between lines within an epoch or a test.
    """
    if sys.stderr.isatty():
        return TitledBar(title)
    return PlainLines(title, interval)


def listen(module: SaliencyModule, hear: Callable[[str], None] | None) -> None:
    """Hear of a module what it computes, down to the steps of long methods.

    Args:
        module: The module.
        hear: Called with a method's name, ``"opticam"``, and with its steps, ``"opticam 40/100"``;
            None to stop listening.
    """
    module.note = hear or (lambda what: None)
    for name, method in module.methods.items():
        if hasattr(method, "progress"):
            method.progress = None if hear is None else functools.partial(_tell_step, hear, name)


def _tell_step(hear: Callable[[str], None], name: str, step: int, steps: int) -> None:
    hear(f"{name} {step}/{steps}")


class _Listener(ProgressBar):
    """Hears of a module what it computes in test, down to the steps of a long method."""

    def on_test_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Listen to the module and its methods."""
        super().on_test_start(trainer, module)
        listen(module, self.note)

    def on_test_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Stop listening."""
        super().on_test_end(trainer, module)
        listen(module, None)

    def note(self, what: str) -> None:
        """Hear what is being computed."""
        raise NotImplementedError


class TitledBar(_Listener, TQDMProgressBar):
    """Lightning's bar, headed by what is trained."""

    def __init__(self, title: str) -> None:
        super().__init__(leave=False)
        self.title = title

    def note(self, what: str) -> None:
        """Show beside the bar what is being computed."""
        self.test_progress_bar.set_postfix_str(what)

    @property
    def train_description(self) -> str:
        """Head of the training bar."""
        return f"{self.title} epoch"


class PlainLines(_Listener):
    """One line an epoch, and one every ``interval`` seconds in long epochs and tests.

    Args:
        title: What is trained.
        interval: Seconds between lines within an epoch.
    """

    def __init__(self, title: str, interval: float = 60.0) -> None:
        super().__init__()
        self.title = title
        self.interval = interval
        self._began = self._last = self._finished = 0.0
        self._first_epoch = 0
        self._tested = self._batches = 0
        self._enabled = True

    def enable(self) -> None:
        """Write lines again."""
        self._enabled = True

    def disable(self) -> None:
        """Write no lines; Lightning does this in all processes but the first."""
        self._enabled = False

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Start the clock."""
        self._began = self._last = time.monotonic()
        self._first_epoch = trainer.current_epoch

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        module: SaliencyModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Say where a long epoch is."""
        if time.monotonic() - self._last >= self.interval:
            done = (batch_idx + 1) / trainer.num_training_batches
            self._say(trainer, module, f"{done:4.0%}", done)

    def on_train_epoch_end(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        """Say how the epoch went; validation is over by now."""
        self._say(trainer, module, "done", 1.0)

    def on_test_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Start the clock."""
        super().on_test_start(trainer, module)
        self._began = self._last = time.monotonic()
        self._tested, self._batches = 0, int(sum(trainer.num_test_batches))

    def on_test_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, *args: object
    ) -> None:
        """Count a batch."""
        self._tested += 1
        self._finished = time.monotonic()

    def note(self, what: str) -> None:
        """Say where a long test is."""
        if time.monotonic() - self._last < self.interval:
            return
        self._last = time.monotonic()
        spent = self._last - self._began
        left = ""
        if self._tested:
            pace = (self._finished - self._began) / self._tested
            until = self._finished + pace * (self._batches - self._tested)
            left = f", about {_clock(until - self._last)} left"
        self._write(
            f"{self.title}: test batch {self._tested + 1}/{self._batches}, {what}  "
            f"{_clock(spent)} spent{left}"
        )

    def on_test_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Say that the test is over."""
        super().on_test_end(trainer, module)
        self._write(f"{self.title}: tested")

    def _say(self, trainer: L.Trainer, module: SaliencyModule, what: str, fraction: float) -> None:
        self._last = time.monotonic()
        spent = self._last - self._began
        epochs = trainer.current_epoch - self._first_epoch + fraction
        left = spent / epochs * (trainer.max_epochs - self._first_epoch - epochs)
        means = module.means.compute()
        figures = {
            name.removesuffix("_epoch"): float(value)
            for name, value in sorted(means.items())
            if name.startswith("train/loss")
        }
        logged = {name: f"val/{NATIVE}/{name}" for name, f in MONITORS.items() if f.progress}
        scores = trainer.callback_metrics
        figures |= {name: float(scores[key]) for name, key in logged.items() if key in scores}
        told = "  ".join(
            f"{name.removeprefix('train/')} {value:.4g}" for name, value in figures.items()
        )
        self._write(
            f"{self.title}: epoch {trainer.current_epoch + 1}/{trainer.max_epochs} {what}  {told}  "
            f"{_clock(spent)} spent, {_clock(left)} left"
        )

    def _write(self, line: str) -> None:
        if self._enabled:
            print(line, file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(max(seconds, 0))))

"""Checkpoint of a stage to go on from, also within an epoch."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint

from learned_saliency.errors import MendableError, Stopped
from learned_saliency.pipeline.cli import ENDING, UserError, await_killing
from learned_saliency.pipeline.runs import Checkpoint as Checkpointed
from learned_saliency.pipeline.training import slurm
from learned_saliency.trainers import (
    METRICS_FILE,
    MetricsFile,
    SaliencyModule,
    check_weights,
    gathered,
)

POSITION = "position"  # key of a `Position` in a checkpoint
EPOCH, BATCH, VALIDATION = "epoch", "batch", "validation"


class Position(NamedTuple):
    """Place of a checkpoint in its training, beside what Lightning knows of it.

    Attributes:
        within: After what it was taken: ``"epoch"``; ``"batch"``, another than the last of an
            epoch; or the last batch, before the ``"validation"``.
        rows: Number of rows of ``metrics.csv``; None without the file.
        random: `SaliencyModule.random_state` of each process.
        means: State of `SaliencyModule.means` of each process.
    """

    within: str
    rows: int | None
    random: list[dict[str, torch.Tensor]]
    means: list[dict[str, torch.Tensor]]


def read_position(checkpoint: Checkpointed) -> Position | None:
    """Read the position in a checkpoint; None in the best one of a run, which has none.

    Raises:
        UserError: If it is damaged.
    """
    found = checkpoint.content.get(POSITION)
    if found is None:
        return None
    try:
        position = Position(**found)
        known = position.within in (EPOCH, BATCH, VALIDATION)
        counted = position.rows is None or int(position.rows) >= 0
        states = [*position.random, *position.means]
        paired = len(position.random) == len(position.means) > 0
        tensors = all(isinstance(v, torch.Tensor) for state in states for v in state.values())
        if known and counted and paired and tensors:
            return position
    except (TypeError, ValueError, AttributeError):
        pass
    raise UserError(f"{checkpoint.path}: what says where its training goes on is damaged.")


class KeepLast(Checkpoint):
    """Writer of ``last.ckpt``, from which a run goes on as if nothing had interrupted it.

    The file is written at the end of each epoch; within an epoch once in a while and when a signal
    asks for it. SIGTERM and SIGINT end the training after that, SIGUSR1 does so in a job of SLURM
    and otherwise only saves.

    A state is taken at one moment, before the next step changes it, and written a moment later,
    when the rows that belong to it are in ``metrics.csv``: none of them is missing or doubled in a
    run that goes on. A signal in the middle of a validation, which may take long, ends it at once;
    the run goes on with this validation from its beginning.

    All processes of DDP end at the same batch, whichever got the signal. A validation is ended by
    the first process alone.

    Args:
        path: The checkpoint.
        folder: The run's folder.
        minutes: Time between checkpoints within an epoch, above 0; None for none.
        clock: Gives the time in seconds.
    """

    def __init__(
        self,
        path: Path,
        folder: Path,
        minutes: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self._curves = folder / METRICS_FILE
        self._seconds = None if minutes is None else 60 * minutes
        self._clock = clock
        self._written = clock()
        self._taken: dict[str, Any] | None = None  # a state that is not written yet
        self._resumed: Position | None = None
        self._signal = 0  # the first that asked for the end
        self._wanted = False  # a signal asked for a checkpoint
        self._validates = False  # signals end the work at once
        self._is_first = True  # among all processes

    @contextmanager
    def stopping(self) -> Iterator[None]:
        """Take a failure after a signal that ends the training for that end.

        A terminal and a scheduler send it to all processes, also to a compiler that the step runs.

        Raises:
            Stopped: In place of the failure, unless that is one that the user can mend.
        """
        try:
            yield
        except MendableError:
            raise
        except Exception as error:
            if self._signal:
                raise Stopped(self._signal) from error
            raise

    def setup(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        """Take the first process's path."""
        self.path = trainer.strategy.broadcast(self.path)

    def on_load_checkpoint(
        self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Read where the training goes on."""
        self._resumed = Position(**checkpoint[POSITION]) if POSITION in checkpoint else None

    def on_train_start(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        """Listen to signals, in place of Lightning, which would not save; go on within an epoch."""
        self._is_first = trainer.is_global_zero
        if threading.current_thread() is threading.main_thread():
            for number in (*ENDING, signal.SIGUSR1):
                signal.signal(number, self._hear)
        self._written = self._clock()
        if self._resumed is not None and self._resumed.within != EPOCH:
            module.means.load_state_dict(self._resumed.means[trainer.global_rank])
        else:
            self._resumed = None

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGUSR1 and not slurm.is_job():
            self._wanted = True
            return
        await_killing()
        self._signal = number
        if self._validates and self._is_first:  # whose end the others hear of
            raise Stopped(number)

    def on_train_batch_start(self, trainer: L.Trainer, module: SaliencyModule, *_: Any) -> None:
        """Write what the last batch left; draw on from where the interrupted run was."""
        self._write(trainer)
        self._draw_on(trainer, module)

    def on_train_batch_end(self, trainer: L.Trainer, module: SaliencyModule, *_: Any) -> None:
        """Take the state if it is time, or a signal asks for it."""
        if trainer.is_last_batch or module.accumulates:
            return
        due = self._agree(trainer, module)
        if self._signal or due:
            check_weights(trainer, module)
            self._take(trainer, module, BATCH)

    def on_validation_start(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        """Take the state before the validation; write it if it is time."""
        if trainer.sanity_checking:
            return
        self._draw_on(trainer, module)
        self._take(trainer, module, VALIDATION)
        if self._agree(trainer, module) or self._signal:
            self._write(trainer)
        self._validates = True

    def on_validation_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Write the state if a signal or the time asks for it."""
        if self._taken is not None and self._is_due():
            self._write(trainer)

    def on_validation_epoch_end(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        """Leave the state from before the validation, whose results are there now."""
        self._validates = False
        self._taken = None

    def on_train_epoch_end(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        """Take the state."""
        self._take(trainer, module, EPOCH)
        self._agree(trainer, module)

    def on_train_epoch_start(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        """Write the state of the epoch before."""
        self._write(trainer)

    def on_train_end(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        """Write the state of the last epoch."""
        self._write(trainer)

    def on_exception(
        self, trainer: L.Trainer, module: SaliencyModule, exception: BaseException
    ) -> None:
        """Write the state from before a validation that has failed or was stopped."""
        if self._validates and self._taken is not None and not isinstance(exception, OSError):
            self._signal = 0  # this is the end already
            self._write(trainer)

    def _is_due(self) -> bool:
        late = self._seconds is not None and self._clock() - self._written >= self._seconds
        return late or self._wanted

    def _agree(self, trainer: L.Trainer, module: SaliencyModule) -> bool:
        """Agree with all processes on a signal that ends the training, and on a checkpoint.

        Returns:
            Whether a checkpoint is due.
        """
        asked = (self._signal, self._is_due())
        if trainer.world_size > 1:  # one process need not wait for its device
            both = torch.tensor(asked, device=module.device)
            asked = trainer.strategy.reduce(both, reduce_op="max").tolist()
        self._signal = asked[0]
        return bool(asked[1])

    def _draw_on(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        if self._resumed is not None:
            module.set_random_state(self._resumed.random[trainer.global_rank])
            self._resumed = None

    def _take(self, trainer: L.Trainer, module: SaliencyModule, within: str) -> None:
        """Take the state, without a copy: it has to be written before the next step."""
        taken = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        if within == VALIDATION:
            _begin_validation(taken)
        random = gathered(module.random_state())
        means = gathered(module.means.state_dict())
        taken[POSITION] = Position(within, None, random, means)._asdict()
        self._taken = taken

    def _write(self, trainer: L.Trainer) -> None:
        """Write the state that was taken, if any; then end if a signal asked for it."""
        taken, self._taken = self._taken, None
        validates, self._validates = self._validates, False  # a signal waits for the file
        if taken is not None:
            for logger in trainer.loggers:
                logger.save()
            if trainer.is_global_zero and self._curves.is_file():
                taken[POSITION]["rows"] = MetricsFile(self._curves).count
            trainer.strategy.save_checkpoint(taken, self.path)
            self._written, self._wanted = self._clock(), False
            if self._signal and not validates:
                trainer.strategy.barrier()  # nobody ends before the file is there
            if self._signal and (self._is_first or not validates):
                raise Stopped(self._signal)
        self._validates = validates


def _begin_validation(taken: dict[str, Any]) -> None:
    """Let a state say that the validation has begun, so that Lightning goes on with it."""
    progress = taken["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
    progress["total"] = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    progress["current"] = dict.fromkeys(progress["current"], 0)

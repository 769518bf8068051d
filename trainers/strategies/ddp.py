"""Strategy for DDP that evaluates every image once, and equal buffers on all processes."""

import atexit
from collections.abc import Callable
from typing import Any

import torch
from lightning.fabric.utilities.distributed import _set_num_threads_if_needed
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from torch import Tensor, nn

from learned_saliency.trainers.strategies.lifeline import LIFELINE


def broadcast_buffers(module: nn.Module) -> None:
    """Give all processes the buffers of the first, such as BatchNorm statistics.

    Without several processes this does nothing.

    Args:
        module: The same module on every process; all of them have to call this.
    """
    if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
        for buffer in module.buffers():
            torch.distributed.broadcast(buffer, 0)


def _leave_process_group() -> None:
    if torch.distributed.is_initialized() and LIFELINE.ended is None:  # else nobody answers
        torch.distributed.destroy_process_group()


class _Launcher(_SubprocessScriptLauncher):
    """Launcher whose processes are watched by the lifeline.

    Lightning's own observer looks every five seconds, and kills the first process without a word.
    """

    def launch(self, function: Callable, *args: Any, trainer: Any = None, **kwargs: Any) -> Any:
        """Start the other processes of this machine, once, and call ``function``."""
        self.cluster_environment.validate_settings(
            num_devices=self.num_processes, num_nodes=self.num_nodes
        )
        if not self.cluster_environment.creates_processes_externally:
            self._call_children_scripts()
            LIFELINE.watch(self.procs)
        _set_num_threads_if_needed(self.num_processes)
        return function(*args, **kwargs)


class ExactEvaluationDDP(DDPStrategy):
    """DDP whose ranks may evaluate different numbers of batches.

    Lightning sends validation steps through the DDP wrapper, whose forward synchronizes buffers:
    ranks with one batch more would wait forever, which is why samplers usually pad a split with
    duplicates and falsify its metrics. Evaluation needs no wrapper: this class calls the module.

    A module that optimizes manually may train its parts in turn: parameters that a backward pass
    leaves out are then detected and left alone.

    A process that ends before its work is done ends the others; see `Lifeline`.

    The processes leave their group before Python ends: threads of gloo that outlive the interpreter
    now and then abort a process whose work is done. Lightning ends the group for NCCL alone.
    """

    def setup_distributed(self) -> None:
        """Join the group of processes, until Python ends."""
        super().setup_distributed()
        LIFELINE.connect()
        atexit.unregister(_leave_process_group)  # a later trainer shares the group of the first
        atexit.register(_leave_process_group)

    def _configure_launcher(self) -> None:
        super()._configure_launcher()
        if isinstance(self._launcher, _SubprocessScriptLauncher):
            self._launcher = _Launcher(self.cluster_environment, self.num_processes, self.num_nodes)

    def configure_ddp(self) -> None:
        """Wrap the module."""
        alternating = not self.lightning_module.automatic_optimization
        self._ddp_kwargs.setdefault("find_unused_parameters", alternating)
        super().configure_ddp()

    def validation_step(self, *args: Any, **kwargs: Any) -> Tensor | None:
        """Run the module's own validation step."""
        with self.precision_plugin.val_step_context():
            return self.lightning_module.validation_step(*args, **kwargs)

    def test_step(self, *args: Any, **kwargs: Any) -> Tensor | None:
        """Run the module's own test step."""
        with self.precision_plugin.test_step_context():
            return self.lightning_module.test_step(*args, **kwargs)

    def predict_step(self, *args: Any, **kwargs: Any) -> Any:
        """Run the module's own predict step."""
        with self.precision_plugin.predict_step_context():
            return self.lightning_module.predict_step(*args, **kwargs)

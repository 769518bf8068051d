"""Evaluation under DDP that counts every image once."""

from typing import Any

from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor


class ExactEvaluationDDP(DDPStrategy):
    """DDP whose ranks may evaluate different numbers of batches.

    Lightning sends validation steps through the DDP wrapper, whose forward synchronizes buffers:
    ranks with one batch more would wait forever, which is why samplers usually pad a split with
    duplicates and falsify its metrics. Evaluation needs no wrapper: here it calls the module.
    """

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

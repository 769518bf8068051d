"""Tasks that methods are defined for: one that is not says so before any work."""

from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from learned_saliency import trainers
from learned_saliency.metrics import EXCLUSIVE, PRESENCE, VALUES
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.training.checks import check_task


def _config(module, task):
    model = {"name": "x", "module": {"_target_": f"learned_saliency.trainers.{module}"}}
    return OmegaConf.create({"data": {"task": task}, "model": model})


@pytest.mark.parametrize(
    ("module", "task"),
    [
        ("ACoLModule", "binary"),
        ("ACoLModule", "regression"),
        ("CutMixModule", "regression"),
        ("SPGModule", "regression"),
        ("CALMModule", "multilabel"),
    ],
)
def test_a_method_that_has_no_loss_for_a_task_says_so(module, task):
    with pytest.raises(UserError, match=f"data.task={task}: model=x .*; model=cam and model=fcam"):
        check_task(_config(module, task))


@pytest.mark.parametrize("module", [name for name in trainers.__all__ if name.endswith("Module")])
def test_reasons_are_of_tasks_that_a_method_does_not_take(module):
    found = getattr(trainers, module)
    assert found.tasks <= trainers.TASKS.keys()
    assert not found.tasks & found.refusals.keys()


def test_a_frozen_classifier_leaves_all_of_its_own_figures_as_they_are():
    constant = trainers.SaliencyModule.constant_monitors.fget
    frozen = constant(SimpleNamespace(needs_labels=False))
    assert {"accuracy", "top5_accuracy", "mean_average_precision", "r2"} <= frozen
    assert frozen == {
        name
        for name, figure in trainers.MONITORS.items()
        if figure.needs in ({"labels", EXCLUSIVE}, {"labels", PRESENCE}, {VALUES})
    }
    assert constant(SimpleNamespace(needs_labels=True)) == set()

"""The trainer's arguments: what must fit the machine and the data set."""

from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.runs import build_trainer, check_hardware, check_limits


@pytest.fixture
def machine(monkeypatch):
    """Set the numbers of GPUs and CPU cores that are found."""

    def machine(gpus: int, cores: int = 4) -> None:
        monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
        monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
        monkeypatch.setattr("os.cpu_count", lambda: cores)

    return machine


def trainer(**options):
    return OmegaConf.create({"accelerator": "cpu", "devices": 1, "precision": "32-true"} | options)


DDP = {"strategy": {"_target_": "learned_saliency.trainers.ExactEvaluationDDP"}}


@pytest.mark.parametrize(
    ("gpus", "options", "told"),
    [
        (0, {"accelerator": "gpu"}, "trainer.accelerator=gpu: torch sees no GPU"),
        (0, {"accelerator": "cuda"}, "trainer.accelerator=cuda: torch sees no GPU"),
        (0, {"devices": 5, **DDP}, "trainer.devices=5: this machine has 4 CPU cores"),
        (0, {"accelerator": "auto", "devices": 99, **DDP}, "has 4 CPU cores"),
        (0, {"devices": [0, 1], **DDP}, "on a CPU it is a number of processes"),
        (0, {"devices": "0,1", **DDP}, "on a CPU it is a number of processes"),
        (0, {"devices": -1, **DDP}, "on a CPU it is a number of processes"),
        (0, {"devices": 2}, "2 devices need trainer=ddp"),
        (0, {"precision": "16-mixed"}, "trainer.precision=16-mixed: is for GPUs alone"),
        (2, {"accelerator": "gpu", "devices": 3, **DDP}, "devices=3: torch sees 2 GPUs"),
        (2, {"accelerator": "gpu", "devices": [0, 2], **DDP}, "torch sees 2 GPUs"),
        (2, {"accelerator": "gpu", "devices": [1, 1], **DDP}, "torch sees 2 GPUs"),
        (2, {"accelerator": "auto", "devices": "auto"}, "2 devices need trainer=ddp"),
        (2, {"accelerator": "gpu", "devices": -1}, "2 devices need trainer=ddp"),
    ],
)
def test_devices_that_are_not_there_are_refused(machine, gpus, options, told):
    machine(gpus)
    with pytest.raises(UserError) as caught:
        check_hardware(trainer(**options))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("gpus", "options"),
    [
        (0, {}),
        (0, {"devices": "auto"}),
        (0, {"devices": 4, **DDP}),
        (0, {"precision": "bf16-mixed"}),
        (1, {"accelerator": "gpu", "precision": "16-mixed"}),
        (1, {"accelerator": "auto", "devices": "auto", "precision": "16-mixed"}),
        (2, {"accelerator": "gpu", "devices": [1]}),
        (2, {"accelerator": "gpu", "devices": "0,1", **DDP}),
        (2, {"accelerator": "gpu", "devices": -1, **DDP}),
    ],
)
def test_devices_that_are_there_are_taken(machine, gpus, options):
    machine(gpus)
    check_hardware(trainer(**options))


def test_two_processes_may_share_a_core(machine):
    machine(0, cores=1)
    check_hardware(trainer(devices=2, **DDP))
    with pytest.raises(UserError, match="devices=3: this machine has 1"):
        check_hardware(trainer(devices=3, **DDP))


def test_a_part_of_the_batches_is_a_batch_at_least():
    data = SimpleNamespace(
        batch_size=8,
        eval_batch_size=5,
        train_fraction=0.5,
        has_split=lambda split: split != "test",
        count=lambda split: 40,
    )
    splits = {"train": "train", "val": "val", "test": "test"}
    check_limits(trainer(limit_train_batches=0.34, limit_val_batches=1), data, splits)
    check_limits(trainer(limit_test_batches=0.001, limit_val_batches=0.125), data, splits)
    with pytest.raises(UserError, match=r"limit_train_batches=0\.3: nothing is left of the 3 "):
        check_limits(trainer(limit_train_batches=0.3), data, splits)
    with pytest.raises(UserError, match=r"limit_val_batches=0\.12: nothing is left of the 8 "):
        check_limits(trainer(limit_val_batches=0.12), data, splits)


def test_a_fast_run_takes_a_batch_of_each_split_in_one_epoch():
    parts = {"max_epochs": 9, "logger": False, "enable_checkpointing": False}
    for batches, count in ((True, 1), (3, 3)):
        made = build_trainer(OmegaConf.create({"trainer": trainer(fast_dev_run=batches)}), **parts)
        assert made.max_epochs == 1
        assert made.limit_train_batches == made.limit_val_batches == count
        assert made.limit_test_batches == made.limit_predict_batches == count
    made = build_trainer(OmegaConf.create({"trainer": trainer(fast_dev_run=False)}), **parts)
    assert (made.max_epochs, made.limit_train_batches) == (9, 1.0)

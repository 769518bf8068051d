"""Processes that torchrun or SLURM have started, against what a command asks for."""

import pytest
from omegaconf import OmegaConf

from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.runs.launchers import check_launcher

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "one",
    "WORLD_SIZE": "4",
    "LOCAL_WORLD_SIZE": "2",
    "GROUP_WORLD_SIZE": "2",
}
ALONE = {**TORCHRUN, "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1", "GROUP_WORLD_SIZE": "1"}
SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NAME": "train",
    "SLURM_NTASKS": "4",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_NNODES": "2",
    "SLURM_STEP_ID": "0",
}
DDP = {"strategy": {"_target_": "learned_saliency.trainers.ExactEvaluationDDP"}}


@pytest.fixture
def environment(monkeypatch):
    """Set the variables of a launcher, and those of no other."""

    def environment(names):
        for name in (*TORCHRUN, *SLURM, "MASTER_ADDR"):
            monkeypatch.delenv(name, raising=False)
        for name, value in names.items():
            monkeypatch.setenv(name, value)

    return environment


def trainer(nodes=None, **options):
    return OmegaConf.create(options | ({} if nodes is None else {"num_nodes": nodes}))


def without(name):
    return {key: value for key, value in SLURM.items() if key != name}


@pytest.mark.parametrize(
    ("names", "devices", "options"),
    [
        ({}, 1, {}),
        ({}, 2, DDP),
        ({"MASTER_ADDR": "here"}, 2, {"nodes": 2, **DDP}),  # started by hand, one on each machine
        (TORCHRUN, 2, {"nodes": 2, **DDP}),
        (ALONE, 1, {}),
        (ALONE, 1, DDP),
        (SLURM, 2, {"nodes": 2, **DDP}),
        (without("SLURM_NTASKS_PER_NODE"), 2, {"nodes": 2, **DDP}),
        ({**SLURM, "SLURM_JOB_NAME": "interactive"}, 8, DDP),
        (without("SLURM_STEP_ID"), 1, {}),  # the script itself, one process in a large job
    ],
)
def test_what_was_started_is_what_is_asked_for(environment, names, devices, options):
    environment(names)
    check_launcher(trainer(**options), devices)


@pytest.mark.parametrize(
    ("names", "devices", "options", "told"),
    [
        ({}, 8, {"nodes": 2, **DDP}, r"trainer\.num_nodes=2: nothing has started .* torchrun"),
        (
            TORCHRUN,
            1,
            {},
            "ask for one process, but torchrun has 4 processes, 2 on each of 2 machines; give "
            r"trainer=ddp trainer\.devices=2 trainer\.num_nodes=2, or start one",
        ),
        (
            TORCHRUN,
            4,
            {"nodes": 2, **DDP},
            r"ask for 8 processes, 4 per machine, but .*; give trainer\.devices=2 trainer\.num_nod",
        ),
        (TORCHRUN, 4, DDP, r"ask for 4 processes, 4 per machine, but torchrun has 4 processes, 2"),
        (ALONE, 2, DDP, r"but torchrun has 1 process; give trainer\.devices=1 trainer\.num_nodes"),
        (SLURM, 2, DDP, r"but SLURM has 4 processes, 2 on each of 2 machines; give trainer\.dev"),
        (SLURM, 1, {}, r"ask for one process, but SLURM has 4 processes"),
        (without("SLURM_STEP_ID"), 2, {"nodes": 2, **DDP}, "write srun before python"),
    ],
)
def test_other_numbers_are_refused_with_the_keys_that_fit(
    environment, names, devices, options, told
):
    environment(names)
    with pytest.raises(UserError, match=told):
        check_launcher(trainer(**options), devices)

"""Jobs of SLURM: acted out with its environment variables and a stub of its program."""

import signal
import sys

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from learned_saliency.errors import Stopped
from learned_saliency.pipeline.training import command, slurm


@pytest.fixture
def job(monkeypatch, tmp_path):
    """Be job 4711, the first time, with a stub of ``scontrol`` that notes what it is asked."""
    for name in ("SLURM_RESTART_COUNT", "SLURM_ARRAY_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    monkeypatch.setenv("LEARNED_SALIENCY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "argv", ["train.py", "model=cam"])
    stub = tmp_path / "bin" / "scontrol"
    stub.parent.mkdir()
    stub.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", str(stub.parent), prepend=":")
    return tmp_path


def test_the_same_command_finds_its_run_when_the_job_comes_back(job, monkeypatch):
    run = job / "run"
    run.mkdir()
    slurm.note_run(run)
    assert slurm.requeued_run() is None  # it has not been away
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert slurm.requeued_run() == run
    monkeypatch.setattr(sys, "argv", ["train.py", "model=fcam"])  # another command of the job
    assert slurm.requeued_run() is None
    monkeypatch.setattr(sys, "argv", ["train.py", "model=cam"])
    monkeypatch.setenv("SLURM_JOB_ID", "4712")
    assert slurm.requeued_run() is None


def test_a_run_whose_folder_is_gone_begins_anew(job, monkeypatch):
    slurm.note_run(job / "gone")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert slurm.requeued_run() is None


def test_the_job_is_put_back_into_the_queue(job, monkeypatch):
    slurm.requeue()
    assert (job / "asked").read_text() == "requeue 4711\n"
    (job / "bin" / "scontrol").write_text("#!/bin/sh\necho no such job >&2; exit 1\n")
    with pytest.warns(UserWarning, match="job 4711 back into the queue: no such job"):
        slurm.requeue()
    monkeypatch.setenv("PATH", str(job))
    with pytest.warns(UserWarning, match="scontrol"):
        slurm.requeue()


@pytest.mark.parametrize("name", ["bash", "interactive"])
def test_an_interactive_session_is_no_job(job, monkeypatch, name):
    monkeypatch.setenv("SLURM_JOB_NAME", name)
    assert not slurm.is_job()


def test_a_warning_before_the_first_batch_ends_a_job_and_nothing_else(job, monkeypatch):
    before = signal.getsignal(signal.SIGUSR1)
    try:
        slurm.listen()
        with pytest.raises(Stopped) as stopped:
            signal.raise_signal(signal.SIGUSR1)
        assert stopped.value.code == 138
        monkeypatch.delenv("SLURM_JOB_ID")
        signal.raise_signal(signal.SIGUSR1)  # nothing happens
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize(
    ("mode", "launcher", "goes_on"),
    [
        (RunMode.RUN, "basic", True),
        (RunMode.MULTIRUN, "basic", False),  # the runs share a job, and a note would name one
        (RunMode.MULTIRUN, "submitit_local", False),
        (RunMode.MULTIRUN, "submitit_slurm", True),
    ],
)
def test_a_run_goes_on_by_the_note_of_a_job_of_its_own(job, monkeypatch, mode, launcher, goes_on):
    hydra = {"mode": mode, "runtime": {"choices": {"hydra/launcher": launcher}}}
    hydra["overrides"] = {"task": ["model=cam"]}
    monkeypatch.setattr(HydraConfig, "get", lambda: OmegaConf.create(hydra))
    monkeypatch.setattr(command, "resumed_config", _Composed)
    (job / "run").mkdir()
    slurm.note_run(job / "run")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    with pytest.raises(_Composed) as composed:
        command.run(OmegaConf.create({"resume": None}))
    config, words = composed.value.args
    assert (config.resume, words) == ((str(job / "run"), []) if goes_on else (None, ["model=cam"]))


class _Composed(Exception):
    """Ends a command when it has its configuration."""

    def __init__(self, *given):
        super().__init__(*given)
        raise self

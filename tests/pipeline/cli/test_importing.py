"""Import of a command's job, and the run of a configuration that is composed once."""

import subprocess
import sys
from typing import ClassVar

import pytest
from hydra import compose as hydra_compose
from hydra.experimental.callback import Callback

from learned_saliency.pipeline.cli import compose
from learned_saliency.pipeline.commands import COMMANDS

CODE = """
import gc, sys
from learned_saliency.pipeline.cli.importing import import_job
for job in {jobs}:
    import_job("learned_saliency.pipeline." + job)
frozen = gc.get_freeze_count()
assert gc.isenabled() and frozen > 100_000
import_job("learned_saliency.pipeline." + job)  # again: no garbage is frozen with the rest
assert gc.get_freeze_count() == frozen
assert not {{"wandb", "scipy.signal", "numba", "sklearn"}} & set(sys.modules)
import scipy.signal, wandb
assert scipy.signal.find_peaks([0, 1, 0])[0].tolist() == [1] and wandb.init
"""


def test_jobs_are_imported_without_what_others_load_beside_them_and_it_is_there_later():
    jobs = sorted({command.job for command in COMMANDS.values()})
    code = CODE.format(jobs=jobs)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("word", [[], ["model=calm"]])
def test_a_configuration_is_composed_once(monkeypatch, tmp_path, word):
    composed, ran = [], []

    def count(*args, **options):
        composed.append(args)
        return hydra_compose(*args, **options)

    class Job:
        run = staticmethod(lambda config: ran.append(config))

    monkeypatch.setattr(compose, "compose", count)
    monkeypatch.setattr("learned_saliency.pipeline.cli.entry.import_job", lambda name: Job)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    COMMANDS["train"].run([*word, f"output_dir={tmp_path}/run"])
    assert len(composed) == 1
    (config,) = ran
    assert config.output_dir == f"{tmp_path}/run"
    assert "hydra" not in config


class Noted(Callback):
    """Notes what Hydra says of a run."""

    seen: ClassVar[list[str]] = []

    def on_run_start(self, config, config_name, **options):
        self.seen.append(f"start of {config_name}")

    def on_run_end(self, config, config_name, job_return, **options):
        self.seen.append(f"end of {config_name}: {job_return.return_value}")


def test_callbacks_of_hydra_hear_of_a_run(monkeypatch):
    Job = type("Job", (), {"run": staticmethod(lambda config: Noted.seen.append("run"))})
    monkeypatch.setattr("learned_saliency.pipeline.cli.entry.import_job", lambda name: Job)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    COMMANDS["train"].run([f"+hydra.callbacks.noted._target_={__name__}.Noted"])
    assert Noted.seen == ["start of config", "run", "end of config: None"]

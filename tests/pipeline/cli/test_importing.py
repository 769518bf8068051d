"""Import of a command's job, and the run of a configuration that is composed once."""

import subprocess
import sys

import pytest
from hydra import compose as hydra_compose

from learned_saliency.pipeline.cli import compose
from learned_saliency.pipeline.commands import COMMANDS

CODE = """
import gc, sys
from learned_saliency.pipeline.cli.importing import import_job
for job in {jobs}:
    import_job("learned_saliency.pipeline." + job)
assert gc.isenabled() and gc.get_freeze_count() > 100_000
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

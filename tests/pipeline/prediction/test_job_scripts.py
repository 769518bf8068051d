"""Job scripts of the documentation, executed as SLURM would, with stand-ins for its programs.

Bash runs each script once per task of its array. The stand-in for ``srun`` calls what is behind it
once per task of the step with the variables that SLURM sets, and the one for ``python`` notes words
and variables. With these the commands are then run, all at once, as on the nodes of a cluster.
"""

import os
import re
import subprocess

import pytest
import torch
from lightning.pytorch.plugins.environments import SLURMEnvironment

from learned_saliency.datamodules import read_samples
from learned_saliency.pipeline.cli import hydra_words
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.runs.launchers import check_launcher
from tests.support.commands import run_command
from tests.support.paths import ROOT
from tests.support.tarred import sample, write_tar

SBATCH = """#!/bin/bash
# sbatch [--array=A-B] SCRIPT [WORDS]: options of the line replace those of the script
array=; case $1 in --array=*) array=${1#*=}; shift;; esac
directives=$(sed -n 's/^#SBATCH *\\([^#]*\\).*/\\1/p' "$1")
option() { grep -oE -- "--$1=[^ ]*" <<< "$directives" | tail -1 | cut -d= -f2; }
nodes=$(option nodes); each=$(option ntasks-per-node); tasks=$(option ntasks)
if grep -q -e --gpus-per-task <<< "$directives" && [ -z "$tasks" ]; then
    echo "--gpus-per-task used without either --gpus or -n/--ntasks is not allowed" >&2; exit 1
fi
export SLURM_JOB_ID=4711 SLURM_JOB_NAME=$(basename "$1") SLURM_NNODES=${nodes:-1}
if [ -n "$each" ]; then export SLURM_NTASKS_PER_NODE=$each SLURM_NTASKS=$((each * SLURM_NNODES))
elif [ -n "$tasks" ]; then export SLURM_NTASKS=$tasks; fi
array=${array:-$(option array)}
if [ -z "$array" ]; then exec bash "$@"; fi
export SLURM_ARRAY_TASK_MIN=${array%-*} SLURM_ARRAY_TASK_MAX=${array#*-} SLURM_ARRAY_TASK_STEP=1
export SLURM_ARRAY_JOB_ID=$SLURM_JOB_ID
export SLURM_ARRAY_TASK_COUNT=$((SLURM_ARRAY_TASK_MAX - SLURM_ARRAY_TASK_MIN + 1))
for task in $(seq "$SLURM_ARRAY_TASK_MIN" "$SLURM_ARRAY_TASK_MAX"); do
    SLURM_JOB_ID=$((4711 + task)) SLURM_ARRAY_TASK_ID=$task bash "$@" || exit
done
"""
SRUN = """#!/bin/bash
export SLURM_STEP_ID=0 SLURM_NTASKS=${SLURM_NTASKS:-1} SLURM_NODELIST=localhost
for rank in $(seq 0 $((SLURM_NTASKS - 1))); do
    each=${SLURM_NTASKS_PER_NODE:-$SLURM_NTASKS}
    SLURM_PROCID=$rank SLURM_LOCALID=$((rank % each)) SLURM_NODEID=$((rank / each)) "$@" || exit
done
"""
PYTHON = """#!/bin/bash
call=$(mktemp -d "$CALLS/$(ls "$CALLS" | wc -l)-XXXX")
printf '%s\\0' "$@" > "$call/words"; env -0 > "$call/environment"
"""


def script(page, word):
    """The job script of a page whose command has a word."""
    texts = re.findall(r"```text\n(#!/bin/bash\n.*?)```", (ROOT / "docs" / page).read_text(), re.S)
    (found,) = [text for text in texts if word in text]
    return found


@pytest.fixture
def submit(tmp_path, monkeypatch):
    """Function that submits a script; gives words and variables of the calls of python."""
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", SRUN), ("python", PYTHON)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)

    def submit(text, *words):
        path, calls = tmp_path / "job.sbatch", tmp_path / "calls"
        path.write_text(text)
        calls.mkdir()
        own = {"PATH": f"{programs}:{os.environ['PATH']}", "CALLS": str(calls)}
        options = [word for word in words if word.startswith("--")]
        given = [word for word in words if word not in options]
        line = ["sbatch", *options, str(path), *given]
        subprocess.run(line, env=os.environ | own, check=True, timeout=60)
        found = sorted(calls.iterdir(), key=lambda call: int(call.name.partition("-")[0]))
        read = [
            [(call / name).read_text().split("\0")[:-1] for name in ("words", "environment")]
            for call in found
        ]
        return [(words, dict(line.split("=", 1) for line in lines)) for words, lines in read]

    return submit


def run_call(rank, calls, folder):
    """Run a noted call in a process of its own, and keep what it says."""
    (name, *words), environment = calls[rank]
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(1)
    found = run_command(name.removesuffix(".py"), *words)
    (folder / f"said{rank}").write_text(found.stderr)
    os._exit(found.returncode)  # without what the test's own process does at its end


def test_an_array_of_tasks_explains_each_shard_once(tmp_path, fcam_run, submit):
    for shard in range(3):
        write_tar(tmp_path / "in" / f"s-{shard}.tar", sample(2 * shard) + sample(2 * shard + 1))
    text = script("shards.md", "part=slurm").replace("=slurm", "=slurm trainer=cpu")
    places = {"RUN": fcam_run, "/data/shards": tmp_path / "in", "/data/": f"{tmp_path}/"}
    for shown, own in places.items():
        assert shown in text
        text = text.replace(shown, str(own))
    calls = submit(text, "--array=1-2")
    assert [call[1]["SLURM_ARRAY_TASK_ID"] for call in calls] == ["1", "2"]
    start = torch.multiprocessing.start_processes
    start(run_call, (calls, tmp_path), nprocs=2, start_method="fork")
    made = [(tmp_path / f"said{rank}").read_text().splitlines()[-2:] for rank in range(2)]
    assert "predict: shards: 2 asked for, 2 made, 0 there" in made[0]
    assert "predict: shards: 1 asked for, 1 made, 0 there" in made[1]
    found = {path.name: path for path in (tmp_path / "maps").iterdir()}
    assert sorted(found) == ["asked.json", "s-0.tar", "s-1.tar", "s-2.tar"]
    for shard in range(3):
        keys = [sample.key for sample in read_samples(found[f"s-{shard}.tar"])]
        assert keys == [f"{2 * shard:06d}", f"{2 * shard + 1:06d}"]


def test_a_training_on_several_machines_finds_the_processes_that_it_asks_for(submit, monkeypatch):
    text = script("clusters.md", "trainer=ddp").replace("=8", "=2")
    calls = submit(text, "model=fcam", "output_dir=elsewhere")
    assert len({tuple(words) for words, _ in calls}) == 1
    name, *words = calls[0][0]
    config = compose_checked(hydra_words(words))
    assert (name, config.output_dir) == ("train.py", "elsewhere")
    places = []
    for _, environment in calls:
        with monkeypatch.context() as patch:
            for key, value in environment.items():
                if key.startswith("SLURM_"):
                    patch.setenv(key, value)
            check_launcher(config.trainer, config.trainer.devices)
            assert SLURMEnvironment.detect()
            found = SLURMEnvironment()
            assert found.world_size() == 4
            places.append((found.global_rank(), found.node_rank(), found.local_rank()))
    assert places == [(0, 0, 0), (1, 0, 1), (2, 1, 0), (3, 1, 1)]

"""Commands end by signals with the exit code of the signal, after their cleaning up."""

import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, time
from learned_saliency.pipeline.cli import end_on_signals
from learned_saliency.pipeline.cli.entry import run_or_exit

def work():
    end_on_signals()
    try:
        os.kill(os.getpid(), signal.{name})
        time.sleep(20)
    except Exception:
        print("kept by a handler of errors")
    finally:
        print("cleaned up")

run_or_exit("train.py", work)
"""


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_ends_the_work_with_its_code_after_cleaning_up(name, code):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(name=name)], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (code, "cleaned up\n")
    assert done.stderr == f"train.py: stopped by {name}\n"

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


def test_a_signal_ends_a_command_within_one_long_call_of_a_library():
    """Python's own handler has to wait for the end of a call that takes minutes."""
    script = (
        "import hashlib, os, signal, threading, time\n"
        "from learned_saliency.pipeline.cli import signals\n"
        "signals._PATIENCE = 0.3\n"
        "signals.end_on_signals()\n"
        "def send():\n"
        "    time.sleep(0.2)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "threading.Thread(target=send).start()\n"
        "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 143
    assert done.stderr == "stopped by SIGTERM, within a long call\n"


def test_a_signal_that_came_before_a_command_does_not_end_it():
    script = (
        "import os, signal, time\n"
        "from learned_saliency.pipeline.cli import signals\n"
        "signals._PATIENCE = 0.3\n"
        "signals.end_on_signals()\n"
        "signal.signal(signal.SIGTERM, lambda number, frame: None)\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "time.sleep(0.1)\n"
        "signals.end_on_signals()\n"
        "time.sleep(1)\n"
        "print('alive')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "alive\n")


def test_signals_that_were_seen_one_after_the_other_do_not_end_what_follows():
    """Commands in one process: the second signal comes while the first one is still looked at."""
    script = (
        "import os, signal, time\n"
        "from learned_saliency.errors import Stopped\n"
        "from learned_saliency.pipeline.cli import signals\n"
        "signals._PATIENCE = 1.5\n"
        "for _ in range(2):\n"
        "    signals.end_on_signals()\n"
        "    react = signal.getsignal(signal.SIGTERM)\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        time.sleep(1)\n"
        "    except Stopped:\n"
        "        time.sleep(0.1)\n"
        "signal.signal(signal.SIGTERM, react)\n"
        "time.sleep(3.5)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")

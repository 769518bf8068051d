import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from learned_saliency.datamodules.creatures.forks import fork_map

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux alone")


def sleepers(folder: Path) -> None:
    """Fork three processes that note their ids and sleep."""

    def sleep(number):
        (folder / str(os.getpid())).touch()
        time.sleep(60)

    fork_map(sleep, 48, workers=3)


def running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until(condition) -> bool:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_results_come_in_order_from_several_processes():
    results = fork_map(lambda number: (number**2, os.getpid()), 100, workers=3)
    assert [square for square, _ in results] == [number**2 for number in range(100)]
    assert os.getpid() not in {process for _, process in results}


@pytest.mark.parametrize(("count", "workers"), [(100, 1), (16, 3), (0, 3)])
def test_one_worker_or_a_few_calls_stay_in_this_process(count, workers):
    assert fork_map(lambda number: os.getpid(), count, workers) == [os.getpid()] * count


def test_an_error_is_raised_as_it_is():
    def work(number):
        if number == 40:
            raise FileNotFoundError(2, "no such file", "image 40")

    with pytest.raises(FileNotFoundError, match="image 40"):
        fork_map(work, 100, workers=2)


def test_processes_end_with_the_one_that_forked_them(tmp_path):
    parent = multiprocessing.get_context("fork").Process(target=sleepers, args=(tmp_path,))
    parent.start()
    assert wait_until(lambda: len(list(tmp_path.iterdir())) == 3)
    parent.kill()
    parent.join()
    pids = [int(path.name) for path in tmp_path.iterdir()]
    assert wait_until(lambda: not any(running(pid) for pid in pids))


_SCRIPT = """
import signal, time
from learned_saliency.datamodules.creatures.forks import fork_map

class Stopped(BaseException):
    pass

def stop(number, frame):
    raise Stopped

signal.signal(signal.SIGTERM, stop)
try:
    fork_map(lambda number: print(end="*", flush=True) or time.sleep(0.01), 4000, workers=2)
except Stopped:
    print("stopped", flush=True)
"""


def test_a_signal_to_all_processes_ends_them():
    """As ``timeout`` and ``scancel`` send it: the error of the parent's handler is the parent's."""
    command = [sys.executable, "-c", _SCRIPT]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, start_new_session=True, **pipes) as process:
        assert process.stdout.read(1) == "*"
        os.killpg(process.pid, signal.SIGTERM)
        told, errors = process.communicate(timeout=60)
    assert "stopped" in told
    assert errors == ""

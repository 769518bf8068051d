"""The suite itself: every machine gets the same verdicts, a slow or busy one too."""

import ast
import os

import pytest
import torch

from tests.support.paths import ROOT

# `time.monotonic` and `sleep` may bound how long a test waits for another process.
TIMERS = {"clock_gettime", "perf_counter", "perf_counter_ns", "process_time", "process_time_ns"}
TIMERS |= {"thread_time", "thread_time_ns", "time_ns", "timeit"}


def timers(source: str) -> set[str]:
    """Names by which a piece of code reads a clock, to measure."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Attribute):
            names = [node.attr]
            if isinstance(node.value, ast.Name) and (node.value.id, node.attr) == ("time", "time"):
                found.add("time.time")
        elif isinstance(node, ast.Name):
            names = [node.id]
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
        found |= TIMERS & set(names)
    return found


def test_nothing_is_timed():
    found = {
        str(path.relative_to(ROOT)): names
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if (names := timers(path.read_text()))
    }
    assert not found


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import time\nstart = time.perf_counter()", {"perf_counter"}),
        ("from time import process_time as now", {"process_time"}),
        ("import timeit", {"timeit"}),
        ("import time\nassert time.time() < 3", {"time.time"}),
        ("import time\nend = time.monotonic() + 60\ntime.sleep(0.1)", set()),
    ],
)
def test_a_clock_is_found(source, expected):
    assert timers(source) == expected


def test_a_test_and_the_processes_that_it_starts_have_one_thread():
    assert torch.get_num_threads() == 1
    assert os.environ["OMP_NUM_THREADS"] == "1"

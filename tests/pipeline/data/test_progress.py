"""Lines of progress."""

import sys

import pytest

from learned_saliency.pipeline.data import progress


@pytest.fixture
def clock(monkeypatch):
    """Time in seconds, a list of one number."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_lines_tell_how_long_is_left_and_come_now_and_then(clock, capsys):
    line = progress.Progress("images", 4000)
    for seconds in (5.0, 5.0, 5.0, 5.0):
        clock[0] += seconds
        line.advance(500)
    line.close()
    assert capsys.readouterr().err.splitlines() == [
        "data: 1,000 of 4,000 images, 0:00:30 left",
        "data: 2,000 of 4,000 images, 0:00:20 left",
    ]


def test_a_terminal_has_one_line_that_is_wiped_out(clock, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    line = progress.Progress("masks", 10)
    clock[0] += 2
    line.advance(5)
    line.close()
    assert capsys.readouterr().err == "\rdata: 5 of 10 masks, 0:00:02 left\x1b[K\r\x1b[K"

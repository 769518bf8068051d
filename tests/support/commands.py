"""Commands called within the test's own process, which has imported everything already.

What only processes can show (that one ends by a kill, that several work together) is tested with
the scripts themselves.
"""

import logging
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import NamedTuple
from unittest import mock

from hydra.core.hydra_config import HydraConfig

from learned_saliency.pipeline import main
from tests.support.paths import ROOT

_LOGGERS = (
    "",
    "lightning",
    "lightning.pytorch.utilities.rank_zero",
    "lightning.fabric.utilities.rank_zero",
)


class Finished(NamedTuple):
    """Result of a command, in the words of `subprocess.CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str


def run_command(name: str, *words: str) -> Finished:
    """Run a command as its script does; the state of Hydra and of logging is then as before.

    Hydra's configuration of logging shuts all earlier handlers down. That of absl, which comes with
    TensorBoard, then closes the stderr of its import (pytest's) where another one is in its place.
    """
    hydra = HydraConfig.instance()
    loggers = [logging.getLogger(logger) for logger in _LOGGERS]
    before = [(logger.level, logger.handlers[:], logger.filters[:]) for logger in loggers]
    code, out, err = 0, StringIO(), StringIO()
    try:
        with (
            mock.patch.object(sys, "argv", [str(ROOT / f"{name}.py"), *words]),
            mock.patch.object(hydra, "cfg", hydra.cfg),
            mock.patch.object(logging, "shutdown"),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            main(name)
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        for logger, (level, handlers, filters) in zip(loggers, before, strict=True):
            logger.setLevel(level)
            logger.handlers[:], logger.filters[:] = handlers, filters
    return Finished(code, out.getvalue(), err.getvalue())

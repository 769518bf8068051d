"""Import of a command's job, without what other packages load beside it and nothing here needs."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

# What others import while they are imported, and a stand-in for it. torchmetrics (1.9) loads
# `scipy.signal`, and with it most of SciPy, to give it the name `hamming` that a package for sound
# looks for; timm (1.0.31) loads wandb in case that its own training script logs there.
_SIGNAL, _WANDB = "scipy.signal", "wandb"


def import_job(name: str) -> ModuleType:
    """Import a module with all that it needs, in about three quarters of the usual time.

    The garbage collector rests meanwhile, and passes over the million objects of the imports for
    good. Packages that are left out are there for whoever imports them later.

    Args:
        name: Full name of the module.
    """
    if name in sys.modules:
        return sys.modules[name]
    signal = ModuleType(_SIGNAL)
    signal.hamming = None
    collects = gc.isenabled()
    gc.disable()
    try:
        with _standing_in(_SIGNAL, signal), _standing_in(_WANDB, None):
            return importlib.import_module(name)
    finally:
        gc.freeze()
        if collects:
            gc.enable()


@contextmanager
def _standing_in(name: str, stand_in: ModuleType | None) -> Iterator[None]:
    """Let a module that is not imported yet be another one, or None: missing."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = stand_in
    try:
        yield
    finally:
        del sys.modules[name]

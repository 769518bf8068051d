"""Choice between compiled loops and their plain versions."""

from __future__ import annotations

import functools
import os
import warnings
from importlib import import_module
from types import ModuleType

_DISABLED = "NUMBA_DISABLE_JIT"  # numba's own variable


@functools.cache
def compiled_loops(name: str) -> ModuleType | None:
    """Import a file of ``ops.backends.compiled``, whose functions numba compiles.

    Nothing imports numba before it is asked for here, as its import takes a while.

    Args:
        name: Name of the file without its ending.

    Returns:
        The file as a module; None where numba is switched off by ``NUMBA_DISABLE_JIT=1`` or cannot
        be imported, of which a warning tells: then callers take their plain version.
    """
    if os.environ.get(_DISABLED, "0") not in ("", "0"):
        return None
    try:
        return import_module(f"learned_saliency.ops.backends.compiled.{name}")
    except Exception as error:  # it takes up modules of others' names, and raises what they raise
        if isinstance(error, ImportError) and str(error.name).startswith("learned_saliency"):
            raise
        warnings.warn(
            f"numba cannot be imported, slower code stands in for it: {error}", stacklevel=2
        )
        return None

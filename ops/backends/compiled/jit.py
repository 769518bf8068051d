"""Compilation of a function by numba, alike for all files of this folder."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numba
from numba.core.caching import FunctionCache


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of arrays and numbers when it is first called, and keep the result.

    It runs without Python's lock, so that threads work on several images side by side, and rounds
    as it is written: no operation is reordered or fused. A function may call compiled functions of
    its own file alone, because numba compares the date of that file with what it keeps on disk.

    Args:
        function: What numba can compile.

    Returns:
        The compiled function.
    """
    compiled = numba.njit(nogil=True)(function)
    with suppress(RuntimeError):  # neither the package's folder nor the person's can be written
        compiled._cache = _Cache(function)  # as numba does for ``cache=True``
    return compiled


class _Cache(FunctionCache):
    """Compiled code on disk, which saves time alone: a full disk or a damaged file ends nothing."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Read the code for types of arguments; None where there is none, or it is damaged."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # unpickling may raise anything
            with suppress(OSError):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write the code for types of arguments, if the disk takes it."""
        with suppress(OSError):
            super().save_overload(sig, data)

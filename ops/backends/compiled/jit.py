"""Compilation of a function by numba, alike for all files of this folder."""

from collections.abc import Callable
from typing import Any

import numba


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
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # neither the package's folder nor the person's can be written
        return numba.njit(nogil=True)(function)

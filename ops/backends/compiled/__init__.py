"""Loops that numba compiles; `ops.backends.compiling` imports them when they are needed."""

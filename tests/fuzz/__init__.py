"""Fuzz tests of everything that reads what a person typed or somebody else wrote.

Each kind of input has a test: metadata, labels, images, masks, files of weights, checkpoints and
command lines. In the suite each tries few inputs, always the same; ``FUZZ_EXAMPLES=2000 python -m
pytest -n 0 tests/fuzz`` tries so many other ones of each kind, and prints a line that repeats
the example that failed.
"""

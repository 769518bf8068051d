"""The examples in docstrings hold; each module is imported under its one name."""

import doctest
import importlib

import pytest

from tests.support.paths import ROOT


def modules():
    for path in sorted(ROOT.glob("*/**/*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if ">>>" in path.read_text() and not name.startswith(("tests.", "benchmarks.", ".")):
            yield f"learned_saliency.{name}".removesuffix(".__init__")


@pytest.mark.parametrize("name", modules())
def test_examples(name):
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted
    assert not found.failed

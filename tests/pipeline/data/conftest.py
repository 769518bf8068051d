"""Faultless small data sets, in which tests plant faults."""

import pytest

from tests.support.small_set import SmallSet


@pytest.fixture
def small_set(tmp_path) -> SmallSet:
    """A faultless set with boxes."""
    return SmallSet(tmp_path)


@pytest.fixture
def masked_set(tmp_path) -> SmallSet:
    """A faultless set with masks and ignore masks."""
    return SmallSet(tmp_path, masks=True)

"""The data doctor on spoilt metadata: it ends in findings, and knows what a training refuses."""

import warnings
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig

from learned_saliency.datamodules import DataError, WSOLDataModule
from learned_saliency.pipeline.cli import compose_checked
from learned_saliency.pipeline.data import Severity, examine
from tests.fuzz.guards import budget
from tests.fuzz.test_metadata import data_set, spoilt, write

__all__ = ["data_set"]  # the fixture


def is_refused(config: DictConfig) -> bool:
    """Tell whether the data module refuses the data set, before any batch is loaded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            WSOLDataModule(config.data.root, config.data.metadata).setup()
        except DataError:
            return True
    return False


@budget(40)
@given(draw=st.data())
def test_what_a_training_refuses_is_an_error(place, data_set, draw):
    root, files = data_set
    write(root, draw.draw(spoilt(list(files), files)))
    config = composed(root)
    findings = examine(config, Path(place, "doctor")).findings
    assert is_refused(config) <= bool(findings.count(Severity.ERROR))
    assert all(str(finding).startswith("/") and finding.message for finding in findings)


def composed(root: Path) -> DictConfig:
    """Compose the configuration of a check, once for all examples."""
    if not _COMPOSED:
        words = ["data=wsol", f"data.root={root}", f"data.metadata={root}/metadata"]
        _COMPOSED.append(compose_checked(words, "doctor"))
    return _COMPOSED[0]


_COMPOSED: list[DictConfig] = []

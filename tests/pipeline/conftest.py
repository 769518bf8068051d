"""Fixtures from which several tests of this room start."""

import pytest

from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.training.fit import train
from tests.support.words import SMALL_RUN


@pytest.fixture(scope="session")
def fcam_run(creatures, tmp_path_factory):
    """Folder of a trained F-CAM; the checkpoint of its CAM classifier lies in it."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    place = [f"data.root={creatures}", f"data.metadata={creatures}/metadata"]
    short = ["+trainer.limit_train_batches=2", "pictures.images=0", f"output_dir={folder}"]
    return train(compose_checked([*SMALL_RUN, "model=fcam", *place, *short])).folder

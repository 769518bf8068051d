"""A small set of creatures and a run over it, shared by the tests of the upper rooms."""

from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # two processes test side by side; sums round alike on every machine

SMALL_DATA = [
    "data=creatures",
    "data.reader.image_size=48",
    "data.reader.train_images=32",
    "data.reader.val_images=16",
    "data.reader.test_images=17",
    "data.resize_size=36",
    "data.crop_size=32",
    "data.batch_size=8",
    "data.eval_batch_size=6",
]
SMALL_RUN = [
    *SMALL_DATA,
    "backbone=resnet10",
    "backbone.channels=[8,8,16,16]",
    "pictures.images=2",
    "recipe.epochs=1",
    "recipe.classifier_epochs=1",
    "recipe.calm.pretraining_epochs=1",
    "recipe.calm.epochs=1",
    "recipe.casm.epochs=1",
    "trainer.log_every_n_steps=1",
]


@pytest.fixture(scope="session")
def creatures(tmp_path_factory) -> Path:
    """Root of a small rendered data set; its metadata lies in ``metadata`` below."""
    from hydra.utils import instantiate

    from pipeline.compose import compose_checked

    root = tmp_path_factory.mktemp("creatures") / "set"
    instantiate(compose_checked(SMALL_DATA).data.reader).prepare(root, root / "metadata")
    return root


@pytest.fixture
def small_run(creatures, tmp_path) -> list[str]:
    """Words of a command line that trains in seconds, with its folder in ``tmp_path / "run"``."""
    return [
        *SMALL_RUN,
        f"data.root={creatures}",
        f"data.metadata={creatures}/metadata",
        f"output_dir={tmp_path}/run",
    ]

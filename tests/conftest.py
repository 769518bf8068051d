"""A small set of creatures and a run over it, shared by the tests of the upper rooms."""

import atexit
import gc
import os
import shutil
import tempfile
from pathlib import Path

# Two processes test side by side, and sums round alike on every machine; processes that tests
# start inherit it. Libraries read it when they are imported.
os.environ["OMP_NUM_THREADS"] = "1"
# What tests keep for later runs, such as resized images, goes with them; all processes share it.
if "LEARNED_SALIENCY_CACHE" not in os.environ:
    os.environ["LEARNED_SALIENCY_CACHE"] = tempfile.mkdtemp(prefix="learned-saliency-tests-")
    atexit.register(shutil.rmtree, os.environ["LEARNED_SALIENCY_CACHE"], ignore_errors=True)

import pytest

from tests.support.words import SMALL_DATA, SMALL_RUN


def pytest_collection_finish() -> None:
    """Prepare a process that tests: one thread, and less work for the garbage collector.

    The process that only deals out the tests does not come here, and imports no library.
    """
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    gc.collect()
    gc.freeze()  # later collections pass over the million objects of the imported libraries


@pytest.fixture(scope="session", autouse=True)
def parsing():
    """Spare the time in which the same files are parsed for each composed configuration."""
    from tests.support.parsing import parse_once

    with pytest.MonkeyPatch.context() as patch:
        parse_once(patch)
        yield


@pytest.fixture(scope="session")
def creatures(tmp_path_factory) -> Path:
    """Root of a small rendered data set; its metadata lies in ``metadata`` below."""
    from hydra.utils import instantiate

    from learned_saliency.pipeline.cli.compose import compose_checked

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


@pytest.fixture(scope="session")
def trackio_dir(tmp_path_factory) -> Path:
    """Folder of Trackio's runs, which it asks for once per process."""
    folder = tmp_path_factory.mktemp("trackio")
    os.environ["TRACKIO_DIR"] = str(folder)
    return folder


@pytest.fixture
def colors():
    """Random colors of an image of 12 x 7 pixels, uint8 (7, 12, 3)."""
    import numpy as np

    return np.random.default_rng(0).integers(0, 256, (7, 12, 3), dtype=np.uint8)


@pytest.fixture
def saved(tmp_path):
    """Function that saves an image, or an array of one, under a name in ``tmp_path``."""
    import numpy as np
    from PIL import Image

    def save(image, name, **options):
        if isinstance(image, np.ndarray):
            image = Image.fromarray(image)
        image.save(tmp_path / name, **options)
        return tmp_path / name

    return save

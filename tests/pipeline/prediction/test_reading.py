"""Batches of image files: whose share, in which order, how many at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from learned_saliency.attribution import GradCAM
from learned_saliency.models import CAMClassifier
from learned_saliency.pipeline.prediction.predictor import SaliencyPredictor
from learned_saliency.pipeline.prediction.reading import ImageBatches, Request
from learned_saliency.pipeline.prediction.sources import find_files
from learned_saliency.trainers import PostHocModule
from tests.support.networks import TinyBackbone

PREDICTED = Request(None, 1)
DAMAGED = (0, 3, 4, 9)  # numbers of damaged files among twelve


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Twelve files, some of which are no images; the others are of 100 pixels."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(12):
        pixels = np.full((10, 10, 3), number, np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    for number in DAMAGED:
        path = folder / f"{number:02}.png"
        path.write_bytes(b"" if number % 2 else path.read_bytes()[:41])  # header alone
    return folder


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    module = PostHocModule(
        classifier=CAMClassifier(TinyBackbone(), 4), methods={"gradcam": GradCAM()}
    )
    return SaliencyPredictor(module, size=32, mean=(0, 0, 0), std=(1, 1, 1), batch_size=3)


@pytest.fixture
def batches(photos, model):
    """Makes the batches of a process; gives them and the list that skipped files come into."""
    with ThreadPoolExecutor(4) as pool:

        def make(rank=0, processes=1, request=PREDICTED, **options):
            skipped = []
            bounds = {"most_pixels": 10_000, "goes_on": lambda: True, "max_pixels": 10_000}
            made = ImageBatches(
                find_files([str(photos)]),
                model,
                request,
                trainer=SimpleNamespace(global_rank=rank, world_size=processes),
                pool=pool,
                skip=lambda number, found, error: skipped.append((number, found.name)),
                **(bounds | options),
            )
            return made, skipped

        yield make


def numbers(batches):
    return [[read.number for read in batch["files"]] for batch in batches]


def flat(lists):
    return [number for values in lists for number in values]


def test_files_come_in_order_and_those_that_are_no_images_are_skipped_in_order(batches):
    made, skipped = batches()
    assert flat(numbers(made)) == [n for n in range(12) if n not in DAMAGED]
    assert skipped == [(n, f"{n:02}.png") for n in DAMAGED]


def test_a_batch_is_what_predict_step_takes(batches):
    made, _ = batches(request=Request([2, 1], 1))
    batch = next(iter(made))
    assert batch["image_id"] == [read.found.name for read in batch["files"]]
    assert batch["targets"].tolist() == [[2, 1]] * len(batch["files"])
    for image, read in zip(batch["image"], batch["files"], strict=True):
        assert image.shape == (3, 32, 32)
        torch.testing.assert_close(image, torch.full_like(image, read.number / 255))
        assert np.unique(read.pixels) == [read.number]
    assert next(iter(batches(request=Request(None, 2))[0]))["top_k"] == 2


@pytest.mark.parametrize("processes", [2, 3, 20])
def test_each_process_takes_its_share(batches, processes):
    seen = []
    for rank in range(processes):
        made, skipped = batches(rank, processes)
        own = flat(numbers(made)) + [number for number, _ in skipped]
        assert all(number % processes == rank for number in own)
        seen += own
    assert sorted(seen) == list(range(12))


def test_batches_hold_no_more_pixels_than_they_may_but_an_image_at_least(batches):
    assert max(map(len, numbers(batches()[0]))) == 3  # the model's
    assert max(map(len, numbers(batches(most_pixels=250)[0]))) == 2
    assert set(map(len, numbers(batches(most_pixels=1)[0]))) == {1}
    made, skipped = batches(max_pixels=99)
    assert numbers(made) == []
    assert len(skipped) == 12


def test_no_more_than_the_next_batch_is_read_ahead(batches, model, monkeypatch):
    read = []
    prepare = SaliencyPredictor.prepare

    def noted(self, pixels):
        read.append(int(pixels[0, 0, 0]))
        return prepare(self, pixels)

    monkeypatch.setattr(SaliencyPredictor, "prepare", noted)
    made, _ = batches(most_pixels=1)
    taken = 0
    for batch in made:
        taken = batch["files"][-1].number
        made.pool.submit(lambda: None).result()
        following = [n for n in range(taken + 1, 12) if n not in DAMAGED][:1]
        assert set(read) <= {*range(taken + 1), *following}
    assert taken == 11


def test_nothing_more_is_read_when_another_process_failed(batches):
    answers = iter([True, False])
    made, _ = batches(goes_on=lambda: next(answers))
    assert len(numbers(made)) == 1


def test_names_that_leave_no_room_are_skipped(batches, photos, tmp_path):
    long = Path(tmp_path / ("n" * 240 + ".png"))
    Image.new("RGB", (4, 4)).save(long)
    made, skipped = batches()
    made.files = find_files([str(long)])
    assert numbers(made) == []
    assert skipped == [(0, long.name)]

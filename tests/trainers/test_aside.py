"""Scoring beside the network: the same counts to the last bit, errors, order and memory."""

import copy
import pickle
import threading
import time

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from learned_saliency.attribution import CAM, GradCAM
from learned_saliency.losses import FCAMLoss, SeedSampler
from learned_saliency.models import FCAM, CAMClassifier
from learned_saliency.trainers import FCAMModule, Gallery, ImageTable, MapsModule
from learned_saliency.trainers.aside import Aside
from learned_saliency.trainers.scores import SplitScores
from tests.support.networks import SGD, TinyBackbone

SIDE = 16
BATCHES = [[0, 1, 2], [3, 4, 5], [6], []]  # uneven, and without an image at the end


def batch(places):
    """Images with boxes and masks, each drawn from its place."""
    draws = [torch.Generator().manual_seed(place) for place in places]
    images = [torch.randn(3, SIDE, SIDE, generator=draw) for draw in draws]
    masks = [torch.randint(0, 2, (SIDE, SIDE), generator=d, dtype=torch.uint8) for d in draws]
    return {
        "image": torch.stack(images) if places else torch.empty(0, 3, SIDE, SIDE),
        "label": torch.tensor([place % 3 for place in places], dtype=torch.int64),
        "image_id": [f"{place}.png" for place in places],
        "index": torch.tensor(places, dtype=torch.int64),
        "boxes": [torch.tensor([[2, 3, 8 + place % 5, 12]]) for place in places],
        "mask": torch.stack(masks) if places else torch.empty(0, SIDE, SIDE, dtype=torch.uint8),
    }


class Batches(torch.utils.data.Dataset):
    """Whole batches; the length is that of the images, as the data module's."""

    def __len__(self):
        return sum(map(len, BATCHES))

    def __getitems__(self, places):
        return batch(places)


def module():
    torch.manual_seed(0)
    made = FCAMModule(
        network=FCAM(CAMClassifier(TinyBackbone(), 3), widths=(4, 4)),
        optimizer=SGD,
        seed_method=CAM(),
        sampler=SeedSampler(erosion=0),
        loss=FCAMLoss(crf=None),
        methods={"gradcam": GradCAM()},
        faithfulness=["average_drop", "insertion_percentile"],
    )
    return made.eval()


def run(tested, *callbacks, split="test"):
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        inference_mode=False,
    )
    loader = DataLoader(Batches(), batch_sampler=BATCHES, collate_fn=lambda found: found)
    getattr(trainer, split)(tested, loader, verbose=False)


def states(found):
    """All counts of a module's metrics."""
    return {
        f"{name}.{key}": copy.deepcopy(value)
        for name, part in found.named_modules()
        for key, value in getattr(part, "metric_state", {}).items()
    }


@pytest.fixture
def in_turn(monkeypatch):
    """Switch that lets all work run in turn."""
    begin = Aside.begin
    return lambda: monkeypatch.setattr(Aside, "begin", lambda self, beside: begin(self, False))


@pytest.fixture
def updates(monkeypatch):
    """Setter of what happens in the thread before a batch is counted, given its number."""
    whole, numbers = SplitScores.update, iter(range(100))

    def watched(before):
        def update(self, *given):
            before(next(numbers))
            return whole(self, *given)

        monkeypatch.setattr(SplitScores, "update", update)

    return watched


def test_a_test_counts_and_writes_the_same_bits_as_in_turn(in_turn, tmp_path):
    def tested(name):
        made, gallery = module(), Gallery(4)
        run(made, ImageTable(tmp_path / name / "images.csv", tmp_path / f"{name}-parts"), gallery)
        written = [path.read_bytes() for path in sorted((tmp_path / name).iterdir())]
        return made, written, gallery.images

    beside, files, images = tested("beside")
    in_turn()
    expected, expected_files, expected_images = tested("turn")
    assert beside.results == expected.results
    torch.testing.assert_close(states(beside), states(expected), rtol=0, atol=0)
    assert len(files) == 2
    assert files == expected_files
    assert len(images) == 4
    assert images == expected_images


def test_a_validation_counts_the_same_bits_as_in_turn(in_turn):
    beside, expected = module(), module()
    run(beside, split="validate")
    in_turn()
    run(expected, split="validate")
    torch.testing.assert_close(states(beside), states(expected), rtol=0, atol=0)
    torch.testing.assert_close(beside.state_dict(), expected.state_dict(), rtol=0, atol=0)
    assert beside.validation_scores.compute()["native"]["pxap"] > 0


@pytest.mark.parametrize("split", ["validate", "test"])
def test_the_network_goes_on_meanwhile_by_one_batch_at_most(updates, split):
    """The first batch is not counted before the second is explained, the third waits for it."""
    explained, counted = threading.Semaphore(0), []
    in_time = []

    def before(number):
        in_time.append(explained.acquire(timeout=5) if number < 2 else True)
        time.sleep(0.05)
        counted.append(number)

    updates(before)
    made, seen = module(), []
    explain = made.explain

    def explained_next(images, labels):
        seen.append(len(counted))
        if len(seen) > 1:
            explained.release()
        return explain(images, labels)

    made.explain = explained_next
    run(made, split=split)
    assert in_time == [True] * 3
    assert seen == [0, 0, 1]
    assert counted == [0, 1, 2]


@pytest.mark.parametrize("split", ["validate", "test"])
def test_an_error_in_scoring_ends_the_pass_with_its_own_message(updates, tmp_path, split):
    def before(number):
        if number == 1:
            raise ArithmeticError("no such box")

    updates(before)
    made = module()
    with pytest.raises(ArithmeticError, match="no such box"):
        run(made, ImageTable(tmp_path / "images.csv", tmp_path / "parts"), split=split)
    if split == "test":
        rows = (tmp_path / "images.csv").read_text().splitlines()
        assert [row.split(",")[0] for row in rows[1::2]] == ["0.png", "1.png", "2.png"]
    updates(lambda number: None)
    run(made, split=split)  # the next pass begins anew
    scores = made.validation_scores if split == "validate" else made.test_scores
    assert scores.scores["native"]["boxes"].images == 7


def test_an_interrupted_test_finishes_the_batches_that_are_explained(updates, tmp_path):
    updates(lambda number: time.sleep(0.2))
    made = module()
    explain, calls = made.explain, []

    def interrupted(images, labels):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return explain(images, labels)

    made.explain = interrupted
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(made, ImageTable(tmp_path / "images.csv", tmp_path / "parts"))
    rows = (tmp_path / "images.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * 3
    assert not [each for each in threading.enumerate() if each.name.startswith("aside")]


def test_without_a_trainer_all_is_counted_at_once():
    made = MapsModule(given={"mine": lambda found: torch.ones(len(found["image"]), SIDE, SIDE)})
    made.on_test_start()
    output = made.test_step(batch([0, 1]), 0)
    assert made.test_scores.scores["mine"]["boxes"].images == 2
    assert set(output.terms) == {"mine"}
    assert output.terms["mine"]["le"].shape == (2,)
    assert output.states == made.test_scores.image_states


def test_pieces_run_in_order_until_one_fails():
    aside, done = Aside(), []
    assert aside.run(lambda: 1).result() == 1
    aside.begin(beside=True)
    first = aside.run(lambda: (time.sleep(0.05), done.append(threading.current_thread())))
    aside.run(lambda: 1 // 0)
    last = aside.run(lambda: done.append(None))
    assert not first.done()
    with pytest.raises(ZeroDivisionError):
        aside.wait()
    assert [thread.name for thread in done] == ["aside_0"]
    assert isinstance(last.exception(), ZeroDivisionError)
    assert aside.run(lambda: 3).result() == 3  # the error was told
    aside.run(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        aside.end()
    aside.begin(beside=True)
    aside.run(lambda: 1 // 0)
    aside.settle()
    aside.end()


def test_pieces_run_under_the_settings_of_their_caller():
    aside = Aside()
    aside.begin(beside=True)

    def settings():
        product = torch.ones(2, 2, requires_grad=True) @ torch.ones(2, 2)
        return product.requires_grad, product.dtype, product.is_inference()

    found = [aside.run(settings)]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found.append(aside.run(settings))
    with torch.inference_mode():
        found.append(aside.run(settings))
    aside.end()
    assert [future.result() for future in found] == [
        (True, torch.float32, False),
        (False, torch.bfloat16, False),
        (False, torch.float32, True),
    ]


def test_copies_of_a_module_in_mid_pass_have_not_begun():
    aside, gate = Aside(), threading.Event()
    aside.begin(beside=True)
    aside.run(gate.wait)
    for other in (copy.deepcopy(aside), pickle.loads(pickle.dumps(aside))):
        assert other.run(lambda: 2).result() == 2
    gate.set()
    aside.end()
    assert copy.deepcopy(module()).aside is not None

"""Lines of a long test without a terminal, and the pictures and rows that it writes."""

import csv
from types import SimpleNamespace

import cv2
import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ProgressBar
from torch.utils.data import DataLoader

from learned_saliency.attribution import GradCAM, OptiCAM
from learned_saliency.models import CAMClassifier
from learned_saliency.trainers import (
    ContactSheet,
    Example,
    FaithfulnessScores,
    ImageTable,
    NativeMap,
    PostHocModule,
)
from learned_saliency.trainers.callbacks import contact_sheet
from learned_saliency.trainers.callbacks.progress import PlainLines, TitledBar
from learned_saliency.trainers.means import EpochMeans
from learned_saliency.trainers.scores import SplitScores
from learned_saliency.visualization import FOUND_BOX, grid
from tests.support.networks import TinyBackbone

IMAGES, BATCH, SIDE = 5, 2, 16


class Images(torch.utils.data.Dataset):
    """Image i is of gray i / 10, with a little texture; whole batches, as the data module's."""

    def __len__(self):
        return IMAGES

    def __getitems__(self, indices):
        texture = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) / 20
        return {
            "image": torch.stack([texture + i / 10 for i in indices]),
            "label": torch.zeros(len(indices), dtype=torch.int64),
            "image_id": [f"{i}.png" for i in indices],
            "index": torch.tensor(indices),
        }


@pytest.fixture
def module():
    torch.manual_seed(0)
    methods = {"gradcam": GradCAM(), "opticam": OptiCAM(iterations=3, tolerance=0.0)}
    return PostHocModule(
        classifier=CAMClassifier(TinyBackbone(), 3),
        methods=methods,
        faithfulness=["average_drop"],
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )


def run(module, *callbacks):
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=any(isinstance(each, ProgressBar) for each in callbacks),
        callbacks=list(callbacks),
        inference_mode=False,
    )
    loader = DataLoader(Images(), batch_size=BATCH, collate_fn=lambda batch: batch)
    trainer.test(module, loader, verbose=False)


def test_plain_lines_tell_the_batch_the_method_and_its_step(module, capfd):
    run(module, PlainLines("evaluate", interval=0.0))
    lines = [line for line in capfd.readouterr().err.splitlines() if "test batch" in line]
    told = [line.partition("test batch ")[2].partition("  ")[0] for line in lines]
    of_a_batch = ["gradcam", "opticam", *(f"opticam {i}/3" for i in (1, 2, 3))]
    of_a_batch += ["gradcam, faithfulness", "opticam, faithfulness"]
    assert told == [f"{batch}/3, {what}" for batch in (1, 2, 3) for what in of_a_batch]
    assert ["left" in line for line in lines] == [not line.startswith("1/3") for line in told]
    assert module.methods["opticam"].progress is None


def test_the_bar_of_a_terminal_shows_them_too(module, capfd):
    run(module, TitledBar("evaluate"))
    shown = capfd.readouterr().out
    for what in ("opticam 3/3", "gradcam, faithfulness"):
        assert what in shown


def test_a_quiet_test_tells_its_end_only(module, capfd):
    run(module, PlainLines("evaluate"))
    assert [line for line in capfd.readouterr().err.splitlines() if line.startswith("eval")] == [
        "evaluate: tested"
    ]


def test_an_epoch_ends_with_its_losses_and_the_figures_declared_for_progress(capfd):
    logged = {"train/loss_x_step": 1.0, "val/native/accuracy": 0.25}
    logged |= {f"val/native/{name}": 0.125 for name in ("pxap", "max_box_acc", "max_box_acc_v2")}
    module = SimpleNamespace(means=EpochMeans())
    module.means.update("train/loss_epoch", torch.tensor(0.25), 3)
    module.means.update("train/loss_epoch", torch.tensor(1.25), 1)
    trainer = SimpleNamespace(current_epoch=1, max_epochs=4, callback_metrics=logged)
    lines = PlainLines("F-CAM")
    lines.on_train_start(trainer, module)
    lines.on_train_epoch_end(trainer, module)
    told = capfd.readouterr().err.split("  ")[1:-1]
    assert told == ["loss 0.5", "max_box_acc 0.125", "pxap 0.125", "accuracy 0.25"]


def test_the_contact_sheet_shows_images_spread_over_the_split(module, tmp_path):
    """The first, the middle and the last of 5 images in batches of 2 and 2 and 1."""
    run(module, ContactSheet(tmp_path / "maps.png", 3))
    sheet = cv2.imread(str(tmp_path / "maps.png"))
    top, cell, gap, caption, legend = 21, 200, 4, 38, 17
    high = cell + gap + caption
    assert sheet.shape == (top + 3 * high + legend, 3 * (cell + gap), 3)  # an image and two maps
    levels = [sheet[top + row * high :, :cell][:cell].mean() / 255 for row in range(3)]
    assert levels == pytest.approx([0.025, 0.225, 0.425], abs=0.01)


def test_the_contact_sheet_names_classes_and_probabilities_and_calls_flat_maps_flat(
    module, tmp_path, monkeypatch
):
    module.methods["flat"] = lambda classifier, images, targets: torch.zeros(len(images), 16, 16)
    module.test_scores = SplitScores(module.map_names)
    module.faithfulness = FaithfulnessScores(module.map_names, [])
    told = []

    def watched(*arguments, captions, legend, **options):
        told.extend([captions, [name for name, _ in legend]])
        return grid(*arguments, captions=captions, legend=legend, **options)

    monkeypatch.setattr(contact_sheet, "grid", watched)
    sheet = ContactSheet(tmp_path / "maps.png", 1, ["crane", "tench"])
    run(module, sheet)
    ((classes, gradcam, _, flat),), legend = told
    (example,) = sheet.examples
    with torch.no_grad():
        probs = module.eval().classifier(Images().__getitems__([0])["image"]).softmax(1)[0]
    best = int(probs.argmax())
    name = ["crane", "tench", "2"][best]
    assert classes == ["true: crane", f"predicted: {name} {float(probs[best]):.1%}"]
    assert gradcam == [f"crane {float(probs[0]):.1%}"]
    assert flat == [*gradcam, "flat map"]
    assert example.flat == {"flat"}
    assert legend == ["true box", "predicted box, above 0.50 of the maximum"]
    assert not (example.overlays["flat"] == FOUND_BOX).all(-1).any()
    assert (example.overlays["gradcam"] == FOUND_BOX).all(-1).any()


def test_no_sheet_is_drawn_of_no_image(module, tmp_path):
    run(module, ContactSheet(tmp_path / "maps.png", 0))
    assert not list(tmp_path.iterdir())


def test_a_broken_test_leaves_the_rows_of_its_whole_batches(module, tmp_path):
    run(module, ImageTable(tmp_path / "images.csv", tmp_path / "parts"))
    with (tmp_path / "images.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["image_id"] for row in rows[::2]] == [f"{i}.png" for i in range(IMAGES)]
    step = module.test_step

    def failing(batch, batch_idx):
        if batch_idx == broken:
            raise ArithmeticError("broken")
        return step(batch, batch_idx)

    module.test_step = failing
    whole = (tmp_path / "images.csv").read_bytes()
    for broken, lines in ((0, whole), (1, b"".join(whole.splitlines(keepends=True)[:5]))):
        with pytest.raises(ArithmeticError):
            run(module, ImageTable(tmp_path / "images.csv", tmp_path / f"parts{broken}"))
        assert (tmp_path / "images.csv").read_bytes() == lines
    assert not list(tmp_path.glob("*.tmp"))


def test_a_map_of_every_class_is_not_captioned_with_one():
    images = {"native": None, "cam": None}
    example = Example("a", 0, 1, 0, None, images, 0.75, 0.25, frozenset())
    sheet = ContactSheet(None)
    assert sheet._captions(example, NativeMap(per_class=True, probabilities=False))[1:] == [
        ["0 25.0%"],
        ["0 25.0%"],
    ]
    shared = sheet._captions(example, NativeMap(per_class=False, probabilities=True))
    assert shared == [["true: 0", "predicted: 1 75.0%"], ["same map for every class"], ["0 25.0%"]]

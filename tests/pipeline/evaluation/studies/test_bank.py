"""The bank of classifiers, and CASM's whole runs: classes left out, resuming, both policies."""

import csv
import json

import cv2
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from learned_saliency.metrics import binarize
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.commands.evaluate import evaluation_words
from learned_saliency.pipeline.evaluation.evaluate import CONFIG_NAME, evaluate
from learned_saliency.pipeline.evaluation.studies import bank_members
from learned_saliency.pipeline.evaluation.studies.bank import (
    REFERENCES,
    bank_accuracies,
    bank_figures,
    bank_scores,
    count_bank,
    reference_maps,
)
from learned_saliency.pipeline.evaluation.studies.bank_members import Member
from learned_saliency.pipeline.evaluation.studies.bank_pictures import draw_variants
from learned_saliency.pipeline.runs.checkpoints import read_checkpoint
from learned_saliency.pipeline.training.fit import train
from tests.support.words import SMALL_RUN

MEAN, STD = torch.tensor([0.5, 0.5, 0.5])[:, None, None], torch.tensor([0.25] * 3)[:, None, None]


class RedOf(nn.Module):
    """Class 1 where the mean red of the colors is above one half, from other normalized images."""

    def forward(self, images):
        red = (images[:, 0] * 0.5 + 0.1).mean(dim=(1, 2))
        return torch.stack([torch.full_like(red, 0.5), red], dim=1)


def accuracies(bank, batches, methods):
    scores = bank_scores(bank, methods)
    count_bank(bank, nn.Identity(), batches, methods, scores, mean=MEAN, std=STD)
    return bank_accuracies(scores)


def test_members_see_the_colors_in_their_own_normalization():
    """Red squares on black: what is hidden is gray, what is repainted is black."""
    colors = torch.zeros(2, 3, 8, 8)
    colors[:, 0, 2:6, 2:6] = 1.0
    images, labels = (colors - MEAN) / STD, torch.tensor([1, 0])
    saliency = torch.zeros(2, 8, 8)
    saliency[:, 2:6, 2:6] = 1.0
    bank = {"red": Member(RedOf().eval(), torch.full((3, 1, 1), 0.1), torch.full((3, 1, 1), 0.5))}
    seen = []

    def explain(classifier, images, targets):
        seen.append(targets)
        return saliency

    batch = {"image": images, "label": labels, "image_id": ["a", "b"]}
    found = accuracies(bank, [batch], {"square": explain})
    assert torch.equal(seen[0], labels)
    # mean red: clean 0.25, masked in 0.25 + 0.75 / 2, masked out 0.25 / 2, repainted 0
    right_if_red = {"clean": 0.5, "masked_in": 0.5, "masked_out": 0.5, "inpainted": 0.5}
    assert found == {"square": {"red": right_if_red}}
    labels[:] = 1
    found = accuracies(bank, [batch], {"square": explain})
    assert found["square"]["red"] == {
        "clean": 0.0,
        "masked_in": 1.0,
        "masked_out": 0.0,
        "inpainted": 0.0,
    }


def test_figures_are_means_over_the_bank():
    rows = [
        {"clean": 1.0, "masked_in": 0.8, "masked_out": 0.2, "inpainted": 0.4},
        {"clean": 0.5, "masked_in": 0.4, "masked_out": 0.0, "inpainted": 0.2},
    ]
    found = bank_figures({"native": {"a": rows[0], "b": rows[1]}})
    assert found["native"] == pytest.approx(
        {
            "bank_clean": 0.75,
            "bank_masked_in": 0.6,
            "bank_masked_out": 0.1,
            "bank_inpainted": 0.3,
        }
    )


def test_the_picture_shows_the_three_beside_the_original(tmp_path):
    images = torch.full((2, 3, 160, 160), 2.0)  # white
    binary = torch.zeros(2, 160, 160, dtype=torch.bool)
    binary[:, 40:80, 40:80] = True
    draw_variants(tmp_path / "masked.png", images, binary, MEAN, STD)
    picture = cv2.imread(str(tmp_path / "masked.png"))
    assert picture.shape[1] == 4 * 164
    inside = picture[22 + 60, [60 + 164 * i for i in range(4)], 0]
    outside = picture[22 + 120, [60 + 164 * i for i in range(4)], 0]
    assert inside.tolist() == [255, 255, 128, 255]
    assert outside.tolist() == [255, 128, 255, 255]


@pytest.fixture(scope="module")
def casm(creatures, tmp_path_factory):
    """Folder of a small CASM run that saw 12 of the 16 classes."""
    folder = tmp_path_factory.mktemp("casm") / "run"
    words = [f"data.root={creatures}", f"data.metadata={creatures}/metadata", "model=casm"]
    words += ["data.classes=[0,1,2,3,4,5,6,7,8,9,10,11]", f"output_dir={folder}"]
    return train(compose_checked([*SMALL_RUN, *words])).folder


def test_seen_and_unseen_classes_are_reported_apart(casm):
    saved = json.loads((casm / "results.json").read_text())
    found = saved["test"]["native"]
    assert saved["tested_on"]["images"] == 17  # all classes
    assert saved["selection"]["images"] == 12  # val has one image a class
    seen = 13 / 17  # the first class comes twice
    for name in ("le", "f1", "om"):
        together = seen * found[f"{name}_seen"] + (1 - seen) * found[f"{name}_unseen"]
        assert together == pytest.approx(found[name], abs=1e-9)
    assert found["om_unseen"] == 1.0  # a class that was never trained is never predicted
    assert {"map_mean", "map_std", "map_entropy", "map_variation"} <= set(found)


def test_the_bank_stands_beside_the_other_figures(casm, creatures, tmp_path):
    network = timm.create_model("resnet10t", num_classes=16)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    names = [str(casm), f"timm:resnet10t@{tmp_path}/weights.safetensors"]
    words = [
        f"checkpoint={casm}",
        f"output_dir={tmp_path}/out",
        "evaluate.faithfulness=[]",
        "methods=[cam]",
        "studies=[bank]",
        f"studies.bank.classifiers=['{names[0]}','{names[1]}']",
        "pictures.images=2",
    ]
    done = evaluate(compose_checked(evaluation_words(words), CONFIG_NAME, complete=False))
    with (done.folder / "bank.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["method"], r["classifier"]) for r in rows] == [
        (method, name) for method in ("native", "cam", *REFERENCES) for name in names
    ]
    rows, blind = rows[:4], {(r["method"], r["classifier"]): r for r in rows[4:]}
    for name in names:
        zero, one = blind["zero", name], blind["one", name]
        assert zero["masked_out"] == zero["inpainted"] == one["masked_in"] == one["clean"]
        assert zero["masked_in"] == one["masked_out"]
    found = json.loads((done.folder / "results.json").read_text())["test"]
    for variant in ("clean", "masked_in", "masked_out", "inpainted"):
        mean = sum(float(row[variant]) for row in rows[:2]) / 2
        assert found["native"][f"bank_{variant}"] == pytest.approx(mean, abs=1e-6)
    own = [float(row["clean"]) for row in rows if row["classifier"] == names[0]]
    assert own == pytest.approx([found["native"]["accuracy"]] * 2)
    assert (done.folder / "pictures" / "masked_native.png").is_file()
    assert (done.folder / "pictures" / "bank.png").is_file()
    assert not set(REFERENCES) & set(found)  # they stand in plot and bank.csv alone


def test_reference_maps_look_at_nothing():
    images = torch.randn(3, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    whole = reference_maps("random", images, [4, 5, 9])
    torch.testing.assert_close(reference_maps("random", 0 * images[1:], [5, 9]), whole[1:])
    assert not torch.equal(whole, reference_maps("random", images, [4, 5, 9], seed=1))
    shown = binarize(whole).double().mean((1, 2))
    torch.testing.assert_close(shown, torch.full((3,), 0.5).double(), rtol=0, atol=0.05)
    assert not binarize(reference_maps("zero", images, [0, 1, 2])).any()
    assert binarize(reference_maps("one", images, [0, 1, 2])).all()
    with pytest.raises(ValueError, match="name must be one of"):
        reference_maps("half", images, [0, 1, 2])


@pytest.mark.parametrize(
    ("classifiers", "told"),
    [
        ("[]", "needs classifiers"),
        ("['timm:resnet10t@nowhere.pt']", "there is no such file"),
        ("['timm:resnet10']", "timm has no such network; the nearest: resnet10t"),
        ("['nowhere']", "there is no such checkpoint"),
    ],
)
def test_a_bank_that_cannot_be_built_is_told_in_one_line(casm, tmp_path, classifiers, told):
    words = [f"checkpoint={casm}", f"output_dir={tmp_path}/out", "evaluate.faithfulness=[]"]
    words += ["methods=[]", "studies=[bank]", f"studies.bank.classifiers={classifiers}"]
    with pytest.raises(UserError, match=told) as caught:
        evaluate(compose_checked(evaluation_words(words), CONFIG_NAME, complete=False))
    assert "\n" not in str(caught.value)


class Killed(BaseException):
    """Not an Exception, as a kill is not."""


def test_members_of_one_s_own_may_return_more_than_logits_and_refuse_sizes(monkeypatch):
    class Own(nn.Module):
        def forward(self, images):
            assert images.shape[-1] == 32, "it takes 32 pixels"
            return {"logits": images.mean((2, 3))}

    monkeypatch.setattr(bank_members, "third_party_network", lambda *given: Own())
    (member,) = bank_members.build_bank(["mine:make"], 3, torch.device("cpu"), 32).values()
    assert member.network(torch.ones(2, 3, 32, 32)).tolist() == [[1] * 3] * 2
    with pytest.raises(UserError, match="does not take images of 64 x 64 pixels: it takes 32"):
        bank_members.build_bank(["mine:make"], 3, torch.device("cpu"), 64)


def test_a_killed_and_resumed_run_draws_the_snapshots_of_one_that_never_stopped(
    small_run, tmp_path, monkeypatch
):
    words = [*small_run, "model=casm", "model.thinning=L3", "model.loss.size_weight=10"]
    words += ["recipe.epochs=3", "recipe.lr_step=1", "model.pool.size=3"]
    first = train(compose_checked([*small_run, "model=cam", f"output_dir={tmp_path}/cam"]))
    words += [f"classifier={first.folder}/checkpoints/best.ckpt"]
    whole = train(compose_checked([*words, f"output_dir={tmp_path}/whole"]))

    from learned_saliency.trainers import CASMModule

    step = CASMModule.training_step

    def dying(self, batch, batch_idx):
        if self.current_epoch == 2 and batch_idx == 2:
            raise Killed
        return step(self, batch, batch_idx)

    monkeypatch.setattr(CASMModule, "training_step", dying)
    with pytest.raises(Killed):
        train(compose_checked([*words, f"output_dir={tmp_path}/killed"]))
    monkeypatch.undo()
    last = tmp_path / "killed" / "checkpoints" / "last.ckpt"
    resumed = train(compose_checked([*words, f"resume={last}"]))
    ours, theirs = (
        read_checkpoint(run.folder / "checkpoints" / "last.ckpt").content
        for run in (resumed, whole)
    )
    assert ours["snapshots"] == theirs["snapshots"]
    assert ours["snapshots"]["iteration"] == 12
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        torch.testing.assert_close(ours[part], theirs[part], rtol=0, atol=0)
    assert resumed.results == whole.results
    ours, theirs = (sorted(_curves(run.folder)) for run in (resumed, whole))
    assert ours == theirs  # nothing stands there twice


def _curves(folder):
    """Rows of all curves, but for the throughput: it depends on the clock."""
    with (folder / "metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            row.pop("train/images_per_second")
            yield tuple(row.items())


def test_binary_maps_of_a_run_are_those_that_the_bank_cuts(casm):
    """The share of ones of the mask at input resolution is its mean."""
    from learned_saliency.pipeline.runs.checkpoints import load_network

    network = load_network(read_checkpoint(casm, "best.ckpt")).eval()
    with torch.no_grad():
        maps = network(torch.randn(4, 3, 32, 32)).saliency
    shares = binarize(maps).double().mean(dim=(1, 2))
    torch.testing.assert_close(shares, maps.double().mean(dim=(1, 2)), rtol=0, atol=2e-3)


def test_a_classifier_that_comes_trained_is_not_trained_first(small_run, tmp_path):
    """As in the paper's recipe; without pretrained weights it is only as good as chance."""
    words = [*small_run, "model=casm", "recipe.classifier_epochs=0", "pictures.images=0"]
    found = train(compose_checked([*words, f"output_dir={tmp_path}/one"]))
    assert not (found.folder / "checkpoints" / "classifier").exists()
    assert (found.folder / "checkpoints" / "best.ckpt").is_file()

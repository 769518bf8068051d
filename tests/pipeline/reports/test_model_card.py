"""Content of the page beside a checkpoint, for somebody who has nothing else."""

import json
import re

import pytest
from omegaconf import OmegaConf

from learned_saliency.pipeline.cli.choices import CONFIG_DIR, config_groups
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.reports.model_card import hub_card, model_card
from learned_saliency.pipeline.training.fit import train


def table(text, corner):
    """A table as a dictionary by the first column, from the row that begins with ``corner``."""
    lines = text[text.index(f"| {corner} |") :].split("\n\n")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in [rows[0], *rows[2:]]}


def test_a_run_leaves_a_card_beside_each_best_checkpoint(small_run, creatures):
    run = train(compose_checked([*small_run, "model=fcam", "recipe.epochs=2"]))
    results = json.loads((run.folder / "results.json").read_text())
    path = run.folder / "checkpoints" / "best.md"
    assert path in run.written
    card = path.read_text()
    figures = card[card.index("## Figures") :]
    tested = table(figures, "")
    assert tested[""] == ["native", "cam", "full_image", "centered_box"]
    for name in ("max_box_acc", "pxap"):
        expected = [f"{100 * figures[name]:.1f}" for figures in results["test"].values()]
        assert tested[f"{name} ↑"] == expected  # higher is better
    (chosen,) = re.findall(r"Epoch (\d), chosen by `(\w+)` of its own map on val: ([\d.]+) %", card)
    with (run.folder / "metrics.csv").open() as file:
        names, *rows = [line.rstrip("\n").split(",") for line in file]
    column = names.index(f"val/native/{chosen[1]}")
    on_val = [float(row[column]) for row in rows if row[column]]
    assert chosen[1] == results["selection"]["monitor"]
    assert float(chosen[2]) == pytest.approx(100 * max(on_val), abs=0.05)
    assert on_val[int(chosen[0]) - 1] == max(on_val)
    splits = table(card, "split")
    assert [splits[name][0] for name in ("train", "val", "test")] == ["32", "16", "17"]
    assert splits["train"][1:3] == ["0", "0"]
    assert "16 classes: " in card
    assert "trained from random weights" in card
    assert "WACV 2022" in card
    assert re.search(r"\| built on \| cam: Zhou .* CVPR 2016 \|", card)
    assert "decoder |" not in card  # it is the method's own
    assert "| regions | their coverage is calibrated on 16 images of val by masks |" in card

    python = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]
    photo = next((creatures / "images").rglob("*.png"))
    names = {}
    exec(python.replace("DIR", str(path.parent)).replace("photo.jpg", str(photo)), names)
    assert names["found"].map.shape == (48, 48)

    first = (run.folder / "checkpoints" / "classifier" / "best.md").read_text()
    assert "CVPR 2016" in first
    assert "Not tested by itself" in first
    assert (run.folder / "checkpoints/classifier" / "../../config.yaml").is_file()
    for text in (card, first):
        assert str(creatures) not in text
        assert str(run.folder) not in text
        assert not re.search(r"[ `(\"]/\w", text), "an absolute path"
    assert not list(run.folder.rglob("*.tmp"))


FACTS = {
    "method": "x",
    "backbone": "net",
    "data": "birds",
    "epoch": 4,
    "class_names": [f"bird {i}" for i in range(200)],
    "input_size": [224, 224],
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "box_threshold": 0.2,
    "metrics": {"val": {"pxap": 0.4567}},
    "versions": {"python": "3.11"},
    "config": {"seed": 7, "model": {"name": "x"}, "backbone": {"pretrained": True}},
    "parameters": 1234567,
    "splits": [{"split": s, "images": 9, "boxes": 0, "masks": 0} for s in ("train", "val", "test")],
    "stage": "",
    "threshold_chosen_by": "zerobox_segments",
    "selected_by": {"split": "val", "images": 9, "boxes": 0, "masks": 0},
}


def test_many_classes_a_method_without_a_paper_and_no_figure_are_told_plainly():
    card = model_card("last.ckpt", FACTS)
    assert "200 classes: bird 0, bird 1, " in card
    assert "bird 19 and 180 more." in card
    assert "| method | x |" in card
    assert "net, trained from pretrained weights" in card
    assert "| parameters | 1,234,567 |" in card
    assert "Epoch 5, chosen by `pxap` of its own map on val: 45.7 %." in card
    assert "saw 0 boxes and 0 masks of val." in card
    assert "| val | 9 | 0 | 0 | choice of the checkpoint and, by its labels alone, of the" in card
    assert 'load("DIR/last.ckpt")' in card
    by = "chosen by zerobox_segments on val, without a box"
    assert f"0.200 of the map's maximum, {by}" in card
    with_boxes = model_card("last.ckpt", FACTS | {"threshold_chosen_by": "boxes"})
    assert "0.200 of the map's maximum, best on val" in with_boxes
    names = [str(label) for label in range(30)]
    bare = model_card("last.ckpt", FACTS | {"metrics": {"val": {}}, "class_names": names})
    assert "Epoch 5.\n" in bare
    assert "30 classes without names." in bare
    assert "decoded" not in bare
    config = FACTS["config"] | {"data": {"fast_decode": True}}
    fast = model_card("last.ckpt", FACTS | {"config": config})
    assert "training images were decoded faster, with slightly other pixels" in fast
    assert "flips" not in fast
    config["data"] = {"augment": False}
    plain = model_card("last.ckpt", FACTS | {"config": config})
    assert "as all others are, without random crops and flips" in plain
    assert "permuted" not in plain
    config["data"] = {"permute_labels": 0}
    permuted = model_card("last.ckpt", FACTS | {"config": config})
    assert "labels were permuted at random" in permuted
    assert "`data.permute_labels=0`" in permuted


def test_a_card_names_the_classifier_that_a_model_is_built_on_and_a_librarys_decoder():
    model = {
        "name": "x",
        "first_stage": {"name": "has", "paper": "Singh and Lee"},
        "decoder": "smp:fpn",
        "decoder_options": {"dropout": 0.1},
    }
    card = model_card("best.ckpt", FACTS | {"config": FACTS["config"] | {"model": model}})
    assert "| built on | has: Singh and Lee |" in card
    assert "| decoder | smp:fpn of segmentation-models-pytorch, dropout=0.1 |" in card
    first = model_card(
        "best.ckpt",
        FACTS | {"config": FACTS["config"] | {"model": model}, "stage": "classifier"},
    )
    assert "built on" not in first
    assert "smp:fpn" not in first


@pytest.mark.parametrize("model", config_groups()["model"])
def test_every_model_names_its_paper(model):
    assert OmegaConf.load(CONFIG_DIR / "model" / f"{model}.yaml").paper


def test_a_card_says_what_stood_in_for_labels():
    splits = [{"split": "train", "images": 9, "boxes": 0, "masks": 0, "labels": 0}]
    splits += [{"split": "val", "images": 9, "boxes": 0, "masks": 0, "labels": 4}]
    card = model_card("last.ckpt", FACTS | {"splits": splits})
    assert "| weights, from the classes that the classifier predicts |" in card
    assert "by 4 labels and, of the other images, the classes that the classifier predicts" in card


def test_a_card_for_others_tells_what_they_need():
    facts = {name: value for name, value in FACTS.items() if name != "splits"}
    facts |= {"threshold_chosen_by": None, "metrics": {}, "epoch": None, "not_tested": "Untested."}
    card = hub_card(facts, {}, "me/x")
    assert "| box threshold | 0.200 of the map's maximum |" in card
    assert "Nothing was recorded of how the weights were chosen.\n\nUntested." in card
    other = hub_card(facts | {"threshold_given": True}, {}, "me/x")
    assert "0.200 of the map's maximum, given when the model was exported |" in other
    assert "| split |" not in card
    assert "`hf download me/x --local-dir DIR`" in card
    assert "classifier=" not in card
    given = facts | {"layer": "last", "levels": [], "backbone": "nets.mine:build"}
    assert "nets.mine:build is code of its author, which you need" in hub_card(given, {}, "me/x")
    of_library = given | {"backbone": "timm:resnet18"}
    assert "code of its author" not in hub_card(of_library, {}, "me/x")

"""Finished maps that are missing, damaged or out of range: refusals in one sentence."""

import json

import numpy as np
import pytest

from learned_saliency import evaluate_maps
from learned_saliency.pipeline.cli.compose import check_command_line
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.commands.evaluate import evaluation_words
from learned_saliency.pipeline.evaluation.evaluate import CONFIG_NAME
from tests.support.commands import run_command
from tests.support.given_maps import write

NONE = "evaluate.faithfulness=[]"


def test_images_without_a_map_are_refused_or_left_out(
    maps, split_of_images, words, evaluated, tmp_path, capfd
):
    ids = split_of_images["image_id"]
    folder = write(tmp_path / "maps", ids[:-2], maps[:-2])
    told = r"has no map of 2 of 17 images \(.*, .*\), looked for as .*npy or .*maps_missing=skip"
    with pytest.raises(UserError, match=told):
        evaluated(f"maps={folder}", *words)
    found = evaluated(f"maps={folder}", *words, "maps_missing=skip")
    assert "15 of 17 images have a map of each method" in capfd.readouterr().err
    record = json.loads((found.folder / "results.json").read_text())
    assert record["tested_on"]["images"] == 15
    truth = {"boxes": split_of_images["boxes"][:-2], "masks": split_of_images["mask"][:-2]}
    assert found.results == evaluate_maps(maps[:-2], **truth, batch_size=6)
    with pytest.raises(UserError, match="has no map of 17 of 17 images"):
        evaluated(f"maps.a={folder}", f"maps.b={tmp_path}", *words, "maps_missing=skip")


def test_values_of_any_range_are_scaled_where_that_is_asked(
    maps, split_of_images, words, evaluated, tmp_path
):
    ids = split_of_images["image_id"]
    spread = maps.copy()
    low, high = (f(spread, axis=(1, 2), keepdims=True) for f in (np.min, np.max))
    spread = (spread - low) / np.maximum(high - low, 1e-9)  # the constant maps become zeros
    raw = write(tmp_path / "raw", ids, 300 * maps - 70)
    with pytest.raises(
        UserError, match=r"has values from -43.08 to 203.5, and a map lies in \[0, 1\]"
    ):
        evaluated(f"maps={raw}", *words)
    found = evaluated(f"maps={raw}", *words, "maps_scale=minmax")
    expected = evaluate_maps(
        spread, boxes=split_of_images["boxes"], masks=split_of_images["mask"], batch_size=6
    )
    for name, value in expected["maps"].items():
        assert found.results["maps"][name] == pytest.approx(value, abs=0.005), name


def damage(path, kind):
    """Put something that is no map in a file's place."""
    content = path.read_bytes()
    if not isinstance(kind, str):
        np.save(path, kind)
    elif kind == "pickle":
        np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    elif kind == "truncated":
        path.write_bytes(content[:-9])
    elif kind == "text":
        path.write_text("no array")
    else:
        path.write_bytes(b"")


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("pickle", "holds pickled objects, which are never loaded"),
        ("truncated", "cannot be read"),
        ("text", "cannot be read"),
        ("empty", "cannot be read"),
        (np.zeros((3, 4, 4)), r"has the shape \(3, 4, 4\), not \(H, W\)"),
        (np.zeros((0, 4)), r"has the shape \(0, 4\)"),
        (np.zeros((4, 4), complex), "type complex128, not real numbers"),
        (np.full((4, 4), np.nan), "has NaN or infinite values"),
        (np.full((4, 4), np.inf), "has NaN or infinite values"),
    ],
)
def test_what_is_no_map_is_told_by_its_file(
    maps, split_of_images, words, evaluated, tmp_path, kind, told
):
    ids = split_of_images["image_id"]
    folder = write(tmp_path / "maps", ids, maps)
    path = folder / ids[8].replace(".png", ".npy")
    damage(path, kind)
    with pytest.raises(UserError, match=told) as caught:
        evaluated(f"maps={folder}", *words)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (np.full((4, 4), np.nan), "has NaN or infinite values"),
        (np.array([[0.0, 1.5]]), "has values from 0 to 1.5"),
    ],
)
def test_values_of_the_last_map_are_checked_before_the_first_one_is_scored(
    maps, split_of_images, words, tmp_path, values, told
):
    ids = split_of_images["image_id"]
    folder = write(tmp_path / "maps", ids, maps)
    np.save(folder / ids[-1].replace(".png", ".npy"), values)
    done = run_command("evaluate", f"maps={folder}", *words, f"output_dir={tmp_path}/out")
    assert done.returncode != 0
    assert told in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["maps=nowhere"], "no such folder"),
        (["maps=MAPS", "methods=[gradcam]"], "methods=gradcam: explains a network"),
        (["maps=MAPS", "studies=[removal]"], "finished maps cannot"),
        (["maps=MAPS", "studies=[subsets]"], "has the classifier's accuracy"),
        (["maps=MAPS", "target=margin"], "target=margin: is a network's"),
        (["maps=ROOT"], "is the folder of the images"),
        (["maps.full_image=MAPS"], "maps.full_image: is the name of a floor of the table"),
        (["maps.native=MAPS"], "maps.native: is the name of a checkpoint's own map"),
        (
            ["maps.truth_2=MAPS", "studies=[downscale]"],
            r"maps.truth_2: is the name of a row of studies=\[downscale\]; name the maps otherwise",
        ),
        (["maps=MAPS", "maps_scale=max"], "expected one of none, minmax"),
        (["maps=MAPS", "precision=int8"], "precision=int8: expected one of 32, bf16, fp16"),
    ],
)
def test_bad_words_are_told_in_one_sentence(
    maps, split_of_images, words, creatures, evaluated, tmp_path, given, told
):
    folder = write(tmp_path / "maps", split_of_images["image_id"], maps)
    given = [w.replace("MAPS", str(folder)).replace("ROOT", str(creatures)) for w in given]

    def call():
        check_command_line(evaluation_words([*given, *words]), CONFIG_NAME, complete=False)
        evaluated(*given, *words)

    with pytest.raises(UserError, match=told) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_faithfulness_is_refused_without_a_network(maps, split_of_images, words, tmp_path):
    folder = write(tmp_path / "maps", split_of_images["image_id"], maps)
    asked = "evaluate.faithfulness=[average_drop]"
    done = run_command("evaluate", f"maps={folder}", asked, *words, f"output_dir={tmp_path}/out")
    assert done.returncode != 0
    assert "evaluate.faithfulness: watches a network's answers, but maps alone" in done.stderr


def test_names_of_floors_are_refused_and_images_without_boxes_left_out_in_python(
    maps, split_of_images
):
    boxes = list(split_of_images["boxes"])
    with pytest.raises(ValueError, match="name floors of the table"):
        evaluate_maps({"full_image": maps}, boxes=boxes)
    found = evaluate_maps(maps, boxes=[boxes[0], [], *boxes[2:]])["maps"]
    kept = [0, *range(2, len(boxes))]
    wanted = evaluate_maps(maps[kept], boxes=[boxes[i] for i in kept])["maps"]
    assert found["max_box_acc_v2"] == wanted["max_box_acc_v2"]

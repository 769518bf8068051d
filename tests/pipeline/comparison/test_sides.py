"""Tests of what is compared with what: sweeps, seeds, methods, images in common; and refusals."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
import yaml

from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.comparison.matching import match
from learned_saliency.pipeline.comparison.pairing import left_out_methods, pair_methods
from learned_saliency.pipeline.comparison.rows import (
    Options,
    check_metrics,
    compare_group,
    shared_metrics,
)
from learned_saliency.pipeline.comparison.sides import read_sides
from learned_saliency.storage import write_csv
from tests.support.evaluations import made_maps, made_truth, write_evaluation

COUNT = 12
TRUTH = made_truth(COUNT)
FEW = Options(0.95, 100, 0)


def evaluation(folder, methods=("native",), truth=TRUTH, noise=0.5, **record):
    maps = {name: made_maps(truth, noise, k) for k, name in enumerate(methods)}
    return write_evaluation(folder, truth, maps, **record)


def part(truth, chosen):
    """Take some images of a truth."""
    return {
        key: values[chosen] if isinstance(values, torch.Tensor) else [values[i] for i in chosen]
        for key, values in truth.items()
    }


def sweep(folder, seeds, models=("cam", "fcam")):
    """Write a sweep by hand; return its folder."""
    runs = [(model, seed) for model in models for seed in seeds]
    (folder / "runs").mkdir(parents=True)
    for number, (model, seed) in enumerate(runs):
        noise = {"cam": 1.0, "fcam": 0.5}[model]
        maps = {"native": made_maps(TRUTH, noise, 10 * seed + number)}
        place = write_evaluation(folder / f"{model}-{seed}", TRUTH, maps, seed=seed)
        words = {"model": model, "seed": str(seed), "data": "creatures"}
        record = {"words": words, "folder": str(place), "results": {"native": {"pxap": 0.5}}}
        (folder / "runs" / f"{number:04}.json").write_text(json.dumps(record))
    return folder


def compared(*places, asked=(), methods=(), **options):
    """Compare places; return rows by metric and contender's name, and the common part."""
    matched = match(read_sides([str(place) for place in places], **options))
    pairs = pair_methods(matched.sides, methods)
    shared = [shared_metrics(matched, group) for group in pairs]
    check_metrics({name for names in shared for name in names}, asked, matched)
    groups = [
        compare_group(matched, group, [n for n in names if n in (asked or names)], FEW)
        for group, names in zip(pairs, shared, strict=True)
    ]
    rows = [row for group in groups for row in group]
    return {(row.metric, row.contender.name): row for row in rows}, matched


def test_runs_of_a_sweep_that_differ_in_their_seed_alone_are_one_side(tmp_path):
    rows, matched = compared(sweep(tmp_path / "sweep", (2, 0, 1)), asked=["pxap"])
    assert [(side.name, side.seeds) for side in matched.sides] == [
        ("model=cam", [0, 1, 2]),
        ("model=fcam", [0, 1, 2]),
    ]
    pxap = {
        model: [
            json.loads((tmp_path / f"sweep/{model}-{s}/results.json").read_text())["test"]["native"]
            for s in (0, 1, 2)
        ]
        for model in ("cam", "fcam")
    }
    cam, fcam = (np.array([found["pxap"] for found in pxap[m]]) for m in ("cam", "fcam"))
    first, second = rows["pxap", "model=cam"], rows["pxap", "model=fcam"]
    assert first.difference is None
    assert second.paired
    assert second.runs == 3
    assert first.value.value == pytest.approx(cam.mean())
    assert second.difference.value == pytest.approx((fcam - cam).mean())
    assert second.difference.trainings.std == pytest.approx(np.std(fcam - cam, ddof=1))


def test_a_sweep_that_was_moved_is_found_beside_its_records(tmp_path):
    sweep(tmp_path / "old", (0, 1), models=("cam",)).rename(tmp_path / "new")
    sides = read_sides([str(tmp_path / "new")])
    assert [(side.name, side.seeds) for side in sides] == [("new", [0, 1])]


def test_a_run_beside_a_sweep_that_contains_it_is_refused(tmp_path):
    one = sweep(tmp_path / "one", (0, 1))
    with pytest.raises(
        UserError, match=r"cam-1: is given twice, as or within one: model=cam and cam-1; name each"
    ):
        read_sides([str(one), str(one / "cam-1")])


def test_seeds_that_another_sweep_lacks_are_left_out_and_named(tmp_path):
    one = sweep(tmp_path / "one", (0, 1, 2), models=("cam",))
    other = sweep(tmp_path / "other", (1, 2, 3), models=("fcam",))
    rows, matched = compared(one, other, asked=["pxap"])
    assert [side.seeds for side in matched.sides] == [[1, 2], [1, 2]]
    assert "one: left out, as another sweep lacks the seed: 0" in matched.notes
    assert rows["pxap", "other"].paired


def test_sweeps_without_common_seeds_are_compared_without_pairs(tmp_path):
    one = sweep(tmp_path / "one", (0, 1), models=("cam",))
    other = sweep(tmp_path / "other", (2, 3, 4), models=("fcam",))
    rows, matched = compared(one, other, asked=["pxap"])
    assert not rows["pxap", "other"].paired
    assert rows["pxap", "other"].runs == 3
    assert rows["pxap", "other"].difference.trainings is not None
    assert any("not paired" in note for note in matched.notes)


def test_a_sweep_beside_a_single_run_has_no_interval_over_seeds_of_the_difference(tmp_path):
    rows, _ = compared(
        evaluation(tmp_path / "run"), sweep(tmp_path / "s", (0, 1), ("cam",)), asked=["pxap"]
    )
    assert rows["pxap", "s"].value.trainings
    assert not rows["pxap", "s"].difference.trainings


def test_runs_given_one_by_one_are_joined_where_only_their_seeds_differ(tmp_path):
    for name, seed, rate in (("a", 0, 0.1), ("b", 1, 0.1), ("c", 0, 0.2)):
        place = evaluation(tmp_path / name, seed=seed)
        config = {"seed": seed, "output_dir": str(place), "model": {"seed": seed, "lr": rate}}
        (place / "config.yaml").write_text(yaml.safe_dump(config))
        tested = evaluation(tmp_path / f"e{name}", checkpoint=str(place / "checkpoints/best.ckpt"))
        own = {"seed": 0, "checkpoint": name, "output_dir": name, "methods": ["native"]}
        (tested / "config.yaml").write_text(yaml.safe_dump(own))
    runs = [str(tmp_path / name) for name in "abc"]
    assert [side.seeds for side in read_sides(runs, join_seeds=True)] == [[0, 1], []]
    assert [len(side.members) for side in read_sides(runs)] == [1, 1, 1]
    tested = read_sides([str(tmp_path / f"e{name}") for name in "abc"], join_seeds=True)
    assert [side.seeds for side in tested] == [[0, 1], []]


def test_runs_on_classifiers_that_differ_in_their_seed_are_joined(tmp_path):
    for name, seed, rate in (("a", 0, 0.1), ("b", 1, 0.1), ("c", 2, 0.2)):
        below = evaluation(tmp_path / f"classifier-{name}", seed=seed)
        config = {"seed": seed, "output_dir": str(below), "model": {"lr": rate}}
        (below / "config.yaml").write_text(yaml.safe_dump(config))
        place = evaluation(tmp_path / name, seed=seed)
        config = {"seed": seed, "classifier": str(below), "feature_cache": name, "model": {}}
        (place / "config.yaml").write_text(yaml.safe_dump(config))
    runs = [str(tmp_path / name) for name in "abc"]
    assert [side.seeds for side in read_sides(runs, join_seeds=True)] == [[0, 1], []]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("20-11-cam-seed0", "20-12-cam-seed1"), ["20-11-cam, 2 seeds"]),
        (("cam50-0", "cam50-1", "fcam0"), ["cam50, 2 seeds", "fcam0"]),
        (("cam10", "cam11"), ["cam10, 2 seeds"]),
        (("a-0", "a_1", "a_0", "a-1"), ["a-0, 2 seeds", "a_0, 2 seeds"]),
    ],
)
def test_a_joined_side_is_named_by_its_number_of_seeds(tmp_path, names, told):
    for place, name in enumerate(names):
        found = evaluation(tmp_path / name, seed=place % 2)
        config = {"seed": place % 2, "model": {"lr": place // 2}}
        (found / "config.yaml").write_text(yaml.safe_dump(config))
    sides = read_sides([str(tmp_path / name) for name in names], join_seeds=True)
    assert [side.name for side in sides] == told


def test_two_methods_of_the_same_trainings_are_paired_by_seed(tmp_path):
    for seed in (0, 1):
        place = evaluation(tmp_path / f"{seed}", ("cam", "native"), noise=0.5 + seed, seed=seed)
        (place / "config.yaml").write_text(yaml.safe_dump({"seed": seed, "model": {}}))
    rows, matched = compared(tmp_path / "0", tmp_path / "1", asked=["pxap"], join_seeds=True)
    assert [side.seeds for side in matched.sides] == [[0, 1]]
    tested = [json.loads((tmp_path / f"{s}/results.json").read_text())["test"] for s in (0, 1)]
    apart = [found["native"]["pxap"] - found["cam"]["pxap"] for found in tested]
    difference = rows["pxap", "native"].difference
    assert rows["pxap", "native"].paired
    assert difference.value == pytest.approx(np.mean(apart))
    assert difference.trainings.std == pytest.approx(np.std(apart, ddof=1))


def test_images_are_matched_by_name_in_any_order_and_the_rest_is_counted(tmp_path):
    whole, order = evaluation(tmp_path / "whole"), [7, 2, 5, 3]
    some = evaluation(tmp_path / "some", truth=part(TRUTH, order))
    direct = evaluation(tmp_path / "direct", truth=part(TRUTH, sorted(order)))
    rows, matched = compared(some, whole)
    assert matched.image_ids == [TRUTH["image_id"][i] for i in order]
    assert matched.left_out == {"some": 0, "whole": COUNT - 4}
    assert matched.notes == ["whole: 8 of its images left out, as others lack them; 4 compared"]
    again, _ = compared(direct, whole)
    maps = made_maps(TRUTH, 0.5, 0)[sorted(order)]
    chosen = write_evaluation(tmp_path / "chosen", part(TRUTH, sorted(order)), {"native": maps})
    results = json.loads((chosen / "results.json").read_text())["test"]["native"]
    for name in ("pxap", "max_box_acc_v2", "le", "pointing_game"):
        assert rows[name, "whole"].value.value == pytest.approx(results[name], abs=1e-6)
        assert again[name, "whole"].value.value == pytest.approx(results[name], abs=1e-6)


def test_accuracy_is_compared_image_by_image(tmp_path):
    rows, _ = compared(evaluation(tmp_path / "a", right=0.9), evaluation(tmp_path / "b", right=0.5))
    tested = [json.loads((tmp_path / n / "results.json").read_text())["test"] for n in "ab"]
    apart = tested[1]["native"]["accuracy"] - tested[0]["native"]["accuracy"]
    assert rows["accuracy", "b"].difference.value == pytest.approx(apart)
    assert rows["accuracy", "b"].images == COUNT


def test_methods_are_paired_by_name_and_single_ones_with_each_other(tmp_path):
    evaluation(tmp_path / "a", ("native", "gradcam"))
    evaluation(tmp_path / "b", ("gradcam", "native", "cam"))
    evaluation(tmp_path / "c", ("liftcam",))

    def pairs(*places, methods=()):
        sides = read_sides([str(tmp_path / place) for place in places])
        groups = pair_methods(sides, methods)
        return [(g.title, [(c.side, c.method) for c in g.contenders]) for g in groups]

    assert pairs("a", "b") == [
        ("native", [(0, "native"), (1, "native")]),
        ("gradcam", [(0, "gradcam"), (1, "gradcam")]),
    ]
    assert pairs("b") == [("", [(0, "gradcam"), (0, "native"), (0, "cam")])]
    assert pairs("b", methods=["cam", "native"]) == [("", [(0, "cam"), (0, "native")])]
    assert pairs("c", "a", methods=["liftcam", "gradcam"]) == [
        ("", [(0, "liftcam"), (1, "gradcam")])
    ]


def test_methods_that_not_all_sides_have_are_told(tmp_path):
    evaluation(tmp_path / "a", ("native",))
    evaluation(tmp_path / "b", ("native", "cam"))
    evaluation(tmp_path / "c", ("native", "cam", "gradcam"))
    evaluation(tmp_path / "d", ("cam",))

    def told(*places, methods=()):
        sides = read_sides([str(tmp_path / place) for place in places])
        return list(left_out_methods(sides, pair_methods(sides, methods), methods))

    cam = "the method cam of b is left out: a lacks it"
    assert told("a", "b") == [cam]
    assert told("a", "b", methods=["native", "cam"]) == [cam]
    assert told("a", "b", methods=["native"]) == told("a", "d") == told("c") == []
    assert told("b", "c", "a") == [
        "the method cam is compared without some runs: a lacks it",
        "the method gradcam of c is left out: b, a lack it",
    ]


def test_a_method_that_some_seeds_lack_is_told(tmp_path):
    place = sweep(tmp_path / "s", (0, 1))
    maps = {name: made_maps(TRUTH, 1.0, k) for k, name in enumerate(("native", "cam"))}
    shutil.rmtree(place / "cam-0")
    write_evaluation(place / "cam-0", TRUTH, maps, seed=0)
    sides = read_sides([str(place)])
    left = "the method cam of model=cam is left out: not all of its runs have it"
    assert list(left_out_methods(sides, pair_methods(sides))) == [left]


def test_metrics_in_pixels_are_not_compared_between_inputs_of_two_sizes(tmp_path):
    small = evaluation(tmp_path / "small", pictures=2)
    large = evaluation(tmp_path / "large", truth=made_truth(COUNT, side=24), pictures=2)
    rows, matched = compared(small, large)
    names = {name for name, _ in rows}
    assert not matched.one_size
    assert not {"complexity", "pointing_game_15"} & names
    assert {"pxap", "pointing_game"} <= names
    with pytest.raises(UserError, match="metrics=complexity: changes with the size of the input"):
        compared(small, large, asked=["complexity"])
    twin = evaluation(tmp_path / "twin", pictures=2)
    assert ("complexity", "twin") in compared(small, twin)[0]


def test_what_differs_without_making_metrics_incomparable_is_noted(tmp_path):
    chosen = {"monitor": "pxap", "split": "val", "threshold": 0.25}
    one = evaluation(tmp_path / "one", selection=chosen, mask_color="mean")
    other = evaluation(
        tmp_path / "other",
        selection=chosen | {"monitor": "zerobox_insertion", "threshold": 0.5},
        mask_color="black",
        explained="predicted",
    )
    assert compared(one, other)[1].notes == [
        "the explained class differs: one: label; other: predicted",
        "the color of masked pixels differs: one: mean; other: black",
        "what chose the checkpoint differs: one: pxap val; other: zerobox_insertion val",
        "the threshold of single boxes differs: one: 0.250; other: 0.500",
    ]


def relabelled(truth):
    return truth | {"label": (truth["label"] + (torch.arange(COUNT) == 3)) % 3}


def shifted(truth):
    return truth | {"boxes": [box + 1 for box in truth["boxes"]]}


def emptied(truth):
    mask = truth["mask"].clone()
    mask[5, 0] = 1
    return truth | {"mask": mask}


def renamed(truth):
    return truth | {"image_id": [f"x{name}" for name in truth["image_id"]]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (relabelled, "b: has other true classes than a, of images/003.png; evaluate both"),
        (shifted, "b: has other true boxes than a, of images/000.png and 2 more"),
        (emptied, "b: has other true masks than a, of images/005.png; evaluate both"),
        (renamed, "b: tested no image that a tested"),
    ],
)
def test_another_truth_is_refused(tmp_path, change, words):
    one = evaluation(tmp_path / "a", pictures=3)
    with pytest.raises(UserError, match=words):
        compared(one, evaluation(tmp_path / "b", truth=change(TRUTH), pictures=3))


def test_another_split_is_refused(tmp_path):
    one = evaluation(tmp_path / "a")
    with pytest.raises(UserError, match="b: is of the split val, a of test"):
        compared(one, evaluation(tmp_path / "b", split="val"))


def test_mistakes_are_told_with_their_remedy(tmp_path):
    one = evaluation(tmp_path / "a")
    other = evaluation(tmp_path / "b", ("gradcam", "cam"))
    with pytest.raises(UserError, match="a: has native alone; name another run"):
        compared(one)
    with pytest.raises(UserError, match="is given twice"):
        compared(one, one)
    with pytest.raises(
        UserError, match=r"no name is in both; choose one of each folder by methods="
    ):
        compared(one, other)
    with pytest.raises(UserError, match="methods=gradcamm: no run has it; the nearest: gradcam"):
        compared(other, methods=["gradcamm"])
    with pytest.raises(UserError, match=r"metrics=pxapp: no value .* the nearest: pxap"):
        compared(other, asked=["pxapp"])
    with pytest.raises(UserError, match=r"has no results\.json"):
        compared(one, tmp_path)
    bare = evaluation(tmp_path / "bare")
    (bare / "image_states.npz").unlink()
    names = ["image_id", "method", "label"]
    write_csv(bare / "images.csv", names, ({k: row[k] for k in names} for row in rows_of(one)))
    with pytest.raises(UserError, match="share no metric that follows from single images"):
        compared(one, bare)
    empty = tmp_path / "empty"
    (empty / "runs").mkdir(parents=True)
    with pytest.raises(UserError, match="is a sweep without a tested run"):
        compared(empty)
    (empty / "runs" / "0000.json").write_text("{}")
    with pytest.raises(UserError, match=r"its runs are not as train\.py -m writes them"):
        compared(empty)


def rows_of(folder):
    with (folder / "images.csv").open() as file:
        return list(csv.DictReader(file))


def test_two_runs_of_one_seed_are_refused(tmp_path):
    place = sweep(tmp_path / "s", (0, 1), models=("cam",))
    record = json.loads((place / "runs" / "0001.json").read_text())
    record["words"]["seed"] = "0"
    (place / "runs" / "0001.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="another run of s has the seed 0, too"):
        read_sides([str(place)])

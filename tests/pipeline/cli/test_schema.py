"""The schema of the configuration: each key has a row, and each row tells values apart."""

import math

import pytest
from omegaconf import DictConfig, OmegaConf

from learned_saliency.attribution.core.maps import INTERPOLATIONS
from learned_saliency.attribution.core.targets import TARGETS
from learned_saliency.attribution.extremal import VARIANTS
from learned_saliency.attribution.gradients import AVERAGES
from learned_saliency.attribution.meaningful import FIRST_MASKS, GAMES
from learned_saliency.datamodules.creatures.classes import EVIDENCE
from learned_saliency.pipeline.cli import UserError, check_values, schema
from learned_saliency.pipeline.cli.choices import CONFIG_DIR, config_groups, used_groups
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.cli.schema import Row, find_row, row_of_default, rows, shown
from learned_saliency.pipeline.export.graph import MAPS
from learned_saliency.trainers import EXPLAINED, MASK_COLORS

CONFIGS = (
    "config",
    "evaluate",
    "predict",
    "export",
    "convert",
    "doctor",
    "search",
    "guard",
    "compare",
    "reproduce",
    "verify",
)
_CHOSEN_BY_OTHERS = ("hydra", "recipe")


def leaves(node: DictConfig, prefix: str = "") -> set[str]:
    """List the keys of single values, whether they are given, missing or refer to others."""
    found = set()
    for name in node:
        child = node._get_node(name)
        opaque = child._is_none() or child._is_interpolation() or child._is_missing()
        if isinstance(child, DictConfig) and not opaque and len(child):
            found |= leaves(child, f"{prefix}{name}.")
        else:
            found.add(f"{prefix}{name}")
    return found


def inherits(group: str, choice: str) -> bool:
    """Tell whether an experiment is another one with other values of its keys."""
    path = CONFIG_DIR / "experiment" / f"{choice}.yaml"
    parents = OmegaConf.load(path).defaults if group == "experiment" else []
    return any(parent in config_groups()["experiment"] for parent in parents)


def compositions(name: str) -> list[list[str]]:
    """List the words of a command that bring each choice of each group once.

    The choices of a group that several commands have are brought by the first of these.
    """
    words = [[]]
    earlier = {group for other in CONFIGS[: CONFIGS.index(name)] for group in used_groups(other)}
    for group, choices in used_groups(name).items():
        if not group.startswith(_CHOSEN_BY_OTHERS) and group not in earlier:
            words += [[f"{group}={choice}"] for choice in choices if not inherits(group, choice)]
    if name == "config":
        for fit in config_groups()["recipe/fit"]:  # a file for each pair with keys of its own
            data, _, model = fit.rpartition("_")
            words.append([f"model={model}", f"data={data}"])
    return words


@pytest.mark.parametrize("name", CONFIGS)
def test_every_key_of_every_composed_configuration_has_a_row(name):
    keys = set()
    for words in compositions(name):
        keys |= leaves(compose_checked(words, name, complete=False))
    assert len(keys) > 1
    # a key that is new gets a row in a file of configs/values, of its own or of those there
    assert sorted(key for key in keys if find_row(key) is None) == []


def test_a_row_for_one_choice_allows_its_defaults():
    for name in CONFIGS:
        for key in leaves(compose_checked([], name, complete=False)):
            assert not find_row(key).refused, key


@pytest.mark.parametrize(
    ("key", "known"),
    [
        ("maps", MAPS),
        ("evaluate.explained", EXPLAINED),
        ("evaluate.mask_color", MASK_COLORS),
        ("attribution.smoothgrad.averages", AVERAGES),
        ("attribution.cam.interpolation", INTERPOLATIONS),
        ("attribution.extremal.variant", VARIANTS),
        ("attribution.meaningful.first_mask", FIRST_MASKS),
        ("attribution.meaningful.game", GAMES),
        ("attribution.gradcam.target", TARGETS),
        ("attribution.opticam.selector", TARGETS),
        ("data.reader.evidence", EVIDENCE),
    ],
)
def test_choices_are_those_of_the_code(key, known):
    assert sorted(find_row(key).choices) == sorted(known)


ACCEPTED = {
    "recipe.epochs": [1, 10],
    "recipe.lr": [1, 0.5, 1e-9],
    "recipe.erosion": [0, 11],
    "data.crop_size": [1, 8192, [1, 8192], [64, 64]],
    "backbone.img_size": [None, 224, [192, 256]],
    "recipe.decoder_widths": [None, [64, 32]],
    "seed": [0, 2**32 - 1],
    "methods": ["native", ["native", "cam"], [], None],
    "data.mean": [[0, 0, 0], [0.5], [0.1, 0.2, 0.3, 0.4], None],
    "data.channels": [1, 3, 12],
    "data.class_names": [None, "names.txt", ["a", "b"]],
    "data.pin_memory": [None, True],
    "backbone.pretrained": [True, False, "weights.safetensors"],
    "classes": ["predicted", 7, ["tench", 7]],
    "model.thinning": ["F", "L", "FL", "L250"],
    "trainer.devices": [1, -1, "auto", [0, 2], "0,1"],
    "trainer.fast_dev_run": [True, False, 3],
    "trainer.limit_val_batches": [1, 0.25, 1.0, None],
    "trainer.max_time": ["00:00:10:00", {"hours": 2}, None],
    "trainer.checkpoint_minutes": [10, 0.5, None],
    "recipe.ema_decay": [None, 0, 0.999],
    "model.first_stage.ema_decay": [None, 0.9],
    "recipe.epoch_steps": [None, 1, 300],
    "recipe.classifier_epoch_steps": [None, 300],
    "model.first_stage.epoch_steps": [None, 300],
    "limit": [None, 100],
    "model.loss.crf": [None, {"weight": 1}],
    "model.module.optimizer._target_": ["torch.optim.SGD"],
    "output_dir": ["a folder"],
}
REFUSED = {
    "recipe.epochs": [-1, 1.5, True, "abc", None, [1], math.nan, 10**30, {"a": 1}],
    "recipe.lr": [0, -1, "abc", None, math.nan, math.inf, True, 10**400, [0.1]],
    "recipe.erosion": [4, -1, None, False],
    "data.crop_size": [
        0,
        8193,
        None,
        [],
        [64],
        [64, 0],
        [64, 8193],
        [64, 64, 64],
        [64, 1.5],
        "64,64",
    ],
    "recipe.decoder_widths": [64, [64, "a"], [0], "64"],
    "seed": [-1, 2**32, "abc", None, 1.0],
    "methods": [3, [3], "", [""]],
    "data.mean": [0.5, [0, 0, "a"], [0, 0, math.nan]],
    "data.channels": [0, 1.5, None, 5000],
    "data.shown_channels": [[0, 1], [0, 1, -1], 3],
    "data.std": [[0, 1, 1], [1, 1, -1]],
    "data.class_names": [3, "", [3]],
    "data.pin_memory": ["yes", 1],
    "backbone.pretrained": [None, 1, ""],
    "classes": [None, -1, 1.5, "", True],
    "model.thinning": ["L0", "M", "", 100],
    "trainer.devices": [0, -2, None, True, 1.0, "abc", [], [-1], 10**6],
    "trainer.fast_dev_run": [0, -1, "yes", None],
    "trainer.limit_val_batches": [0, -1, 0.0, 1.5, True, "abc"],
    "trainer.max_time": ["abc", 10, "10:00", {}, {"years": 1}, {"hours": -1}],
    "trainer.checkpoint_minutes": [0, -1, "abc", math.inf],
    "recipe.ema_decay": [1, -0.1, True, "abc"],
    "model.ema_decay": [1.0, "none"],
    "recipe.epoch_steps": [0, -1, 1.5, True, "abc"],
    "model.epoch_steps": [0, "none"],
    "limit": [0, -1, 1.5, True],
    "model.loss.crf": [3, "none"],
    "model.module.optimizer._target_": [3, None, "SGD", "a b.c"],
    "output_dir": ["", " ", None, 3, "a\0b"],
}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, vs in ACCEPTED.items() for v in vs])
def test_values_in_range_are_allowed(key, value):
    assert find_row(key).allows(value)


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, vs in REFUSED.items() for v in vs])
def test_values_out_of_range_and_of_another_type_are_not_allowed(key, value):
    assert not find_row(key).allows(value)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (Row("integer", least=1), "an integer from 1 on"),
        (Row("integer", least=1, odd=True), "an odd integer from 1 on"),
        (Row("integer", least=0, most=9, also=(None,)), "an integer from 0 to 9 or null"),
        (
            Row("size", least=1, most=9, also=(None,)),
            "an integer from 1 to 9 or a list [height,width] of two, or null",
        ),
        (Row("number", above=0), "a number above 0"),
        (Row("number", above=0, most=1), "a number above 0 and up to 1"),
        (Row("number", least=0, below=1), "a number from 0 and below 1"),
        (Row("text", choices=["a", "b"]), "one of a, b"),
        (Row("list", items=Row("number"), length=3), "a list [a,b,...], 3 values, each a number"),
    ],
)
def test_what_is_expected_is_told_with_its_range(row, told):
    assert row.expected() == told


def test_the_type_of_a_default_is_that_of_its_key():
    assert row_of_default(3) == Row("integer")
    assert row_of_default(0.5).allows(1)
    assert not row_of_default(True).allows(1)
    assert not row_of_default("a").allows(3)
    assert row_of_default([1, 2]).allows([3])
    assert not row_of_default([1, 2]).allows(["a"])
    assert not row_of_default({"a": 1}).allows(3)
    assert row_of_default(None).allows("anything")


def test_an_exact_row_counts_before_the_most_special_pattern(tmp_path, monkeypatch):
    (tmp_path / "a.yaml").write_text(
        '"*.b": {type: text}\n"a.*.b": {type: switch}\na.x.b: {type: number}\n'
    )
    (tmp_path / "b.yaml").write_text("own: {type: integer, least: 3}\n")
    monkeypatch.setattr(schema, "FOLDER", tmp_path)
    for cached in (rows, find_row):
        cached.cache_clear()
    try:
        found = [find_row(key) for key in ("a.x.b", "a.y.b", "y.b", "own", "other")]
        assert [row and row.type for row in found] == ["number", "switch", "text", "integer", None]
        (tmp_path / "c.yaml").write_text("own: {type: text}\n")
        rows.cache_clear()
        with pytest.raises(ValueError, match=r"c\.yaml: there is another row of own"):
            rows()
    finally:
        for cached in (rows, find_row):
            cached.cache_clear()


def test_a_value_is_shown_as_it_is_typed_and_shortened():
    assert shown([None, True, 0.1, "a"]) == "[null,true,0.1,a]"
    assert shown(1.1e-9) == "1.1e-09"
    assert len(shown("x" * 500)) == 80
    assert len(shown(10**500)) <= 80


def test_a_precision_is_told_with_the_command_that_has_it():
    with pytest.raises(UserError, match=r"\(export.py\), bf16 or fp16 \(evaluate"):
        check_values(compose_checked(["checkpoint=run", "precision=bf16-mixed"], "evaluate"))

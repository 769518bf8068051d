"""The help of every command: its keys with their values and their meaning."""

import re
from itertools import product, zip_longest

import pytest
from omegaconf import DictConfig, OmegaConf

from learned_saliency.pipeline.cli.choices import config_groups
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.cli.help import format_help
from learned_saliency.pipeline.commands import COMMANDS, console
from tests.support.commands import run_command

GROUPS = config_groups()
_GROUPS = ("model", "data", "backbone", "logger", "trainer", "attribution")
SHOWN = {  # words whose configurations have, together, every key that there is
    "train": [
        [f"{group}={name}" for group, name in zip(_GROUPS, names, strict=True) if name]
        for names in zip_longest(*(GROUPS[group] for group in _GROUPS))
    ],
    "evaluate": [[], ["data=wsol", f"studies=[{','.join(GROUPS['studies'])}]"]],
    "predict": [[]],
    "export": [[]],
    "convert": [[]],
    "compare": [[]],
    "reproduce": [[]],
    "data": [[f"data={name}"] for name in GROUPS["data"]],
    "shard": [[]],
}
CASES = [(command, words) for command, cases in SHOWN.items() for words in cases]


def called(command: str) -> str:
    return f"python {command}.py" if COMMANDS[command].script else f"learned-saliency {command}"


def help_of(command: str, *words: str) -> str:
    chosen = COMMANDS[command]
    return format_help(chosen.page, called(command), chosen.config_name, words)


def keys_with_meanings(text: str) -> dict[str, str]:
    """The dotted keys of a help text, and all that stands beside and below each."""
    found, path, open_key = {}, [], ""
    for line in text.partition("Keys with the values")[2].splitlines()[1:]:
        matched = re.match(r"( +)([\w-]+):(?: |$)(.*)", line)
        depth = len(matched[1]) // 2 if matched else 0
        if matched and depth <= len(path) + 1 and len(matched[1]) < 20:
            path = [*path[: depth - 1], matched[2]]
            open_key = ".".join(path)
            found[open_key] = matched[3]
        else:
            found[open_key] += f" {line.strip()}"
    return {key: " ".join(rest.split()) for key, rest in found.items()}


def keys_of(node: DictConfig, prefix: str = "") -> list[str]:
    found = []
    for key in node:
        if not key.startswith("_"):
            found.append(f"{prefix}{key}")
            child = node._get_node(key)
            opaque = child._is_none() or child._is_interpolation()
            if isinstance(child, DictConfig) and not opaque:
                found += keys_of(child, f"{prefix}{key}.")
    return found


@pytest.mark.parametrize(("command", "words"), CASES)
def test_help_shows_every_key_and_what_it_means(command, words):
    text = help_of(command, *words)
    shown = keys_with_meanings(text)
    config = compose_checked(words, COMMANDS[command].config_name, complete=False)
    assert set(shown) == set(keys_of(config))
    raw = OmegaConf.to_container(config, resolve=False)
    for key, rest in shown.items():
        value = raw
        for name in key.split("."):
            value = value[name]
        if not isinstance(value, dict) and not (isinstance(value, str) and value.startswith("${")):
            above = shown.get(key.rpartition(".")[0].rpartition(".")[0], "")  # tables by two names
            assert len(rest) > len(_as_typed(value)) or above, f"{key} has no comment in configs/"
    assert all(len(line) <= 100 for line in text.splitlines())


def _as_typed(value) -> str:
    return (
        {None: "null", True: "true", False: "false"}.get(value, str(value))
        if (not isinstance(value, list))
        else f"[{', '.join(map(_as_typed, value))}]"
    )


@pytest.mark.parametrize(
    ("command", "words", "key", "told"),
    [
        ("train", [], "seed", "0 of initial weights, order, augmentation and sampled pixels"),
        ("train", [], "model.loss.size_weight", "0.1 absolute size constraint; null turns it off"),
        ("train", [], "model.epochs", "(= recipe.epochs)"),
        ("train", [], "data.reader.image_size", "128 side of an image, pixels"),
        ("train", [], "data.mask_root", "null folder that mask paths are relative to"),
        ("train", ["model=calm"], "model.objective", "em em or ml (Sec. 4.1.2)"),
        ("train", ["data=cub"], "data.root", "??? folder that image ids are relative to"),
        ("train", ["data=cub"], "data.root", "(to be given)"),
        ("train", ["seed=7"], "data.seed", "7 of training order and augmentation (= seed)"),
        ("evaluate", [], "split", "test the split that is read: test or val"),
        ("evaluate", ["studies=[cues]"], "studies.cues.scale", "even of the thresholds, 0 to 1"),
        (
            "predict",
            [],
            "top_k",
            "null of the predicted classes, how many are explained; null: one, or of a",
        ),
        ("predict", [], "crf.iterations", "5 of the mean-field inference"),
        ("export", [], "tolerance", "0.0001 largest difference of a map"),
        ("convert", [], "published", "??? a file, F-CAM's folder"),
    ],
)
def test_a_key_stands_beside_its_value_and_its_comment(command, words, key, told):
    assert told in keys_with_meanings(help_of(command, *words))[key]


@pytest.mark.parametrize(("command", "flag"), [*product(COMMANDS, ["--help"]), ("train", "-h")])
def test_every_command_answers(command, flag):
    answer = run_command(command, flag)
    assert answer.returncode == 0
    assert answer.stderr == ""
    assert answer.stdout.startswith(COMMANDS[command].page.about)
    for usage in COMMANDS[command].page.usage:
        assert f"  {called(command)} {usage}\n" in answer.stdout
        assert len(f"  learned-saliency {command} {usage}") <= 100


def test_groups_come_with_their_choices_and_the_chosen_one_is_marked():
    text = help_of("train", "model=calm")
    groups = text.partition("Groups and their choices")[2].partition("\n\n")[0]
    for group in ("backbone", "data", "experiment", "logger", "model", "recipe/fit", "trainer"):
        block = groups.partition(f"\n  {group}\n")[2]
        block = re.split(r"\n  \w", block)[0]
        names = re.findall(r"^   [* ] (\w+)", block, re.MULTILINE)
        assert names == GROUPS[group]
    assert re.search(r"^   \* calm +CALM \(Kim et al", groups, re.MULTILINE)
    assert not re.search(r"^   \* fcam ", groups.partition("\n  model\n")[2], re.MULTILINE)
    assert "hydra" not in groups


def test_studies_are_marked_that_stand_beside_each_other():
    block = help_of("evaluate", "studies=[cues,bank]").partition("\n  studies\n")[2]
    marks = {name: mark for mark, name in re.findall(r"^   ([* ]) (\w+)", block, re.MULTILINE)}
    assert marks["bank"] == marks["cues"] == "*"
    assert marks["removal"] == " "


def test_a_mistake_beside_help_is_told_instead():
    answer = run_command("train", "model=fcamm", "--help")
    assert answer.returncode == 2
    assert answer.stderr.count("\n") == 1
    assert "nearest: fcam" in answer.stderr


def test_the_installed_command_is_called_by_its_name(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["learned-saliency", "export", "--help"])
    console()
    assert "  learned-saliency export checkpoint=RUN\n" in capsys.readouterr().out


def test_the_installed_command_lists_the_others(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["learned-saliency"])
    console()
    listed = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(command.page.about)}$", listed, re.MULTILINE)


def test_an_unknown_command_is_answered_with_the_nearest(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["learned-saliency", "predct"])
    with pytest.raises(SystemExit) as ended:
        console()
    assert ended.value.code == 2
    assert "the nearest: predict" in capsys.readouterr().err

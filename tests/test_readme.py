"""Check that README and the pages of results work as they are written there."""

import re
import shlex

import pytest
from omegaconf import OmegaConf

from learned_saliency.pipeline.cli import check_command_line
from learned_saliency.pipeline.commands import COMMANDS, without_group
from tests.support.paths import CONFIGS, ROOT

README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "results").glob("*.md"))]
TRAINING = re.compile(r"python benchmarks/zerobox\.py .*? -- (.*)")  # with the words of a training
COMMAND = re.compile(rf"(?:python|learned-saliency) ({'|'.join(COMMANDS)})\b(?:\.py)?(.*)")


def bash_commands(text):
    """Give name and words of each command in the text's bash blocks, without comments."""
    for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            command, training = COMMAND.search(line), TRAINING.search(line)
            assert command or training or not line.startswith("python ")
            if command:
                yield command[1], shlex.split(command[2], comments=True)
            elif training:
                yield "train", shlex.split(training[1])


def shown():
    """Give each command once; those of CONTRIBUTING.md are executed by tests/test_extending.py."""
    found = {}
    for page in PAGES:
        if page.name != "CONTRIBUTING.md":
            for name, words in bash_commands(page.read_text()):
                found[" ".join([name, *words])] = (name, words)
    return found


SHOWN = shown()


@pytest.mark.parametrize("line", SHOWN)
def test_words_of_a_shown_command_are_understood(line):
    name, *words = without_group([SHOWN[line][0], *SHOWN[line][1]])
    command = COMMANDS[name]
    check_command_line(command.words(words), command.config_name, command.complete)


def test_shown_commands_are_found_and_a_misspelt_one_would_not_pass():
    assert len(SHOWN) > 20
    assert {name for name, _ in SHOWN.values()} >= {"train", "evaluate", "predict", "export"}
    with pytest.raises(ValueError, match="epochz"):
        check_command_line(["recipe.epochz=9"])


def test_readme_is_short_and_keeps_the_commands_that_machines_read():
    assert README.count("\n") <= 160
    set_up = re.findall(r"^python3\.11 -m venv .*$", README, re.MULTILINE)
    assert [line.rpartition("&& ")[2] for line in set_up] == [
        ".venv/bin/python train.py",
        ".venv-test/bin/python -m pytest",
    ]
    assert f"<!-- test-command -->\n```bash\n{set_up[1]}\n```\n" in README


def test_the_table_of_methods_names_all_and_no_other():
    table = README.partition("## Methods")[2].partition("## Results")[0]
    cells = [line.split("|")[2] for line in table.splitlines() if line.startswith("| ")]
    names = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    post_hoc = set(OmegaConf.load(CONFIGS / "attribution" / "all.yaml"))
    learned = {f"model={file.stem}" for file in (CONFIGS / "model").glob("*.yaml")}
    assert names == post_hoc | learned


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_headings(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    for link in links:
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve()
        assert target.exists(), link
        if heading:
            titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert heading in {title.lower().replace(" ", "-") for title in titles}, link


def test_training_from_python_without_hydra(tmp_path, monkeypatch):
    code = re.search(r"<!-- python-training -->\n```python\n(.*?)```", README, re.DOTALL)[1]
    for shown, small in {
        "train_images=2560": "train_images=32",
        "val_images=320": "val_images=16",
        "test_images=640": "test_images=16",
        "image_size=128": "image_size=64",
        '"resnet18.tv_in1k"': '"resnet10t"',
        "max_epochs=9": "max_epochs=1, logger=False, enable_progress_bar=False, accelerator='cpu'",
    }.items():
        assert shown in code
        code = code.replace(shown, small)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    results = names["module"].results["native"]
    assert 0 <= results["max_box_acc"] <= 1
    assert 0 <= results["pxap"] <= 1

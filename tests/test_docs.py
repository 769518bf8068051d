"""The documentation: it builds without a warning, and what its pages show works as written."""

import ast
import importlib.util
import inspect
import json
import re
import shlex
import sys
from importlib import import_module

import numpy as np
import pytest
import torch
import yaml
from hydra.utils import instantiate
from PIL import Image
from torch import nn

from learned_saliency.pipeline.cli.compose import check_command_line, compose_checked
from learned_saliency.pipeline.commands import COMMANDS, without_group
from learned_saliency.trainers import TEST_FIGURES
from tests.support.commands import run_command
from tests.support.paths import CONFIGS, ROOT
from tests.support.untrained import untrained_run

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
NOTEBOOKS = sorted(DOCS.glob("notebooks/*.ipynb"))
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```', re.MULTILINE | re.DOTALL)

# What is shown, and what is run in its stead.
SMALL = {
    "any-network.md": {"img_size=224": "img_size=224, embed_dim=24, depth=4, num_heads=2"},
    "attribution.md": {
        'resnet50(weights="DEFAULT")': "resnet18(weights=None)",
        'large(weights="DEFAULT")': "large(weights=None, weights_backbone=None)",
        "224, 224": "64, 64",
        "iterations=100": "iterations=2",
    },
    "post-hoc.md": {'weights="DEFAULT"': "weights=None", "224, 224": "64, 64"},
    "python.md": {
        "train_images=2560": "train_images=32",
        "val_images=320": "val_images=16",
        "test_images=640": "test_images=16",
        "image_size=128": "image_size=48",
        "resize_size=70": "resize_size=36",
        "crop_size=64": "crop_size=32",
        '"resnet18.tv_in1k"': '"resnet10t", channels=[8, 8, 16, 16]',
        "max_epochs=9": "max_epochs=1, logger=False, enable_checkpointing=False",
        "max_epochs=5": "max_epochs=1, logger=False, enable_checkpointing=False",
    },
    "explain-my-classifier.ipynb": {
        "size = 224": "size = 64",
        "iterations = 100": "iterations = 2",
        "steps = 40": "steps = 4",
    },
    "train-fcam-on-my-folder.ipynb": {
        "images_per_class = 60": "images_per_class = 18",
        "size = 64": "size = 32",
        "epochs = 4": "epochs = 1",
    },
}


def blocks(path, language):
    """Titles and texts of the blocks of a page in a language."""
    found = BLOCK.findall(path.read_text())
    return [(title, text) for kind, title, text in found if kind == language]


def shortened(name, code):
    for shown, small in SMALL.get(name, {}).items():
        assert shown in code, f"{name} shows no {shown!r}"
        code = code.replace(shown, small)
    return code


def execute(name, parts):
    """Run the pieces of code of a page in one namespace."""
    names = {"__name__": "__main__"}
    tree = ast.parse(shortened(name, "\n".join(parts)))
    exec(compile(tree, name, "exec"), names)
    return names


def documentation_module(name):
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="module")
def workplace(creatures, tmp_path_factory):
    """A folder with what the pages name: RUN, photos/, notes/, and the example of own-data.md."""
    folder = tmp_path_factory.mktemp("docs")
    untrained_run(creatures, folder / "RUN", "model=fcam")
    random = np.random.default_rng(0)

    def save(path, width, height):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)).save(path)

    for title, text in blocks(DOCS / "own-data.md", "text"):
        if title:
            for base in ("metadata", "labels_only"):
                path = folder / title.replace("metadata", base, 1)
                path.parent.mkdir(parents=True, exist_ok=True)
                if base == "metadata" or path.name in ("image_ids.txt", "class_labels.txt"):
                    path.write_text(text)
            if title.endswith("image_ids.txt"):
                for image in text.split():
                    save(folder / "images" / image, 50, 40)
            if title.endswith("image_sizes.txt"):
                for line in text.split():
                    image, width, height = line.split(",")
                    save(folder / "images" / image, int(width), int(height))
    save(folder / "photos" / "a.jpg", 60, 40)
    (folder / "notes").mkdir()
    (folder / "notes" / "diary.txt").write_text("Dear diary")
    return folder


@pytest.fixture
def there(workplace, monkeypatch):
    import matplotlib.pyplot as plt

    monkeypatch.chdir(workplace)
    monkeypatch.setattr(plt, "show", lambda: None)
    plt.switch_backend("agg")
    yield workplace
    plt.close("all")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built pages; a warning ends the build."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True)
        build(config)
    return folder


def test_the_site_builds_strictly_and_shows_equations_without_a_script(site):
    methods = (site / "methods" / "index.html").read_text()
    assert methods.count("<math") > 10
    assert "arithmatex" not in methods
    reference = (site / "api" / "attribution" / "index.html").read_text()
    assert "learned_saliency.attribution.liftcam.LIFTCAM" in reference
    assert "learned_saliency.attribution.core.method.PostHocMethod.__call__" in reference


def test_pages_load_nothing_from_the_network(site):
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|img|iframe)[^>]* src="(https?:[^"]*)', page.read_text())
        loaded += re.findall(
            r'<link[^>]* rel="(?:stylesheet|preconnect)"[^>]*https?:', page.read_text()
        )
        assert not loaded, page


def test_every_figure_has_a_direction_and_a_definition(site):
    html = (site / "metrics" / "index.html").read_text()
    text = (DOCS / "metrics.md").read_text()
    for name in TEST_FIGURES:
        plain = re.sub(r"_(seen|unseen)$", "", name)
        short = re.sub(r".*(_\d+)$", r"\1", plain)
        assert f"`{plain}`" in text or f"`{short}`" in text, f"{name} is not defined"
    rows = re.findall(r"<tr>\s*<td><code>(\w+)</code>.*?</td>\s*<td>(higher|lower|-)</td>", html)
    directions = dict(rows)
    for name, figure in TEST_FIGURES.items():
        if not name.endswith("seen"):
            better = {True: "higher", False: "lower", None: "-"}[figure.higher_is_better]
            assert directions[name] == better
    assert directions["relative_accuracy_10"] == "lower"
    assert re.search(r"<code>pxap</code>(?:(?!</tr>).)*<code>PxAP</code>", html, re.DOTALL)


def test_the_reference_has_every_key_of_every_configuration_file(site):
    reference = documentation_module("command_reference")
    html = (site / "commands" / "index.html").read_text()

    def leaves(node, prefix=""):
        for key, value in node.items():
            if key not in ("_target_", "_partial_", "_convert_", "defaults", "hydra"):
                yield f"{prefix}{key}"
                if isinstance(value, dict) and lines[f"{prefix}{key}"][:1] not in ("{", "*"):
                    yield from leaves(value, f"{prefix}{key}.")

    tables = ("values", "papers")  # folders whose files are no configurations
    files = [path for path in sorted(CONFIGS.rglob("*.yaml")) if path.parent.name not in tables]
    for path in files:
        keys = reference.keys(path)
        lines = {key.name: key.default for key in keys}
        assert list(lines) == list(leaves(yaml.safe_load(path.read_text()) or {})), path
    found = {key.name: key for key in reference.keys(CONFIGS / "predict.yaml")}
    assert found["images"].meaning.startswith("a file, a folder (searched with its folders)")
    assert found["crf.bilateral_rgb"].default == "13"
    released = reference.keys(CONFIGS / "attribution" / "calm_released.yaml")
    assert len({key.default for key in released if key.name in ("smoothgrad", "vargrad")}) == 1
    evaluation = {key.name: key for key in reference.keys(CONFIGS / "evaluate.yaml")}
    assert evaluation["classifier"].meaning.endswith("it needs none of the next five")
    assert evaluation["studies"].meaning.startswith("of the group")
    assert evaluation["evaluate.faithfulness"].meaning.startswith("Figures of trainers/")
    for name in found:
        assert f"<code>{name}</code>" in html


PYTHON_PAGES = [page for page in PAGES if blocks(page, "python")]


@pytest.mark.parametrize("page", PYTHON_PAGES, ids=lambda path: path.stem)
def test_python_of_a_page_runs(page, there):
    names = execute(page.name, [text for _, text in blocks(page, "python")])
    if page.stem == "own-data":
        assert names["data"].class_names == ["cat", "cup"]
        assert names["batch"]["boxes"][1].tolist() == [[12, 12, 38, 57], [44, 6, 63, 25]]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, there, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    names = execute(path.name, ["".join(cell["source"]) for cell in cells])
    if "explain" in path.stem:
        assert set(names["table"]) == {"Grad-CAM", "Layer-CAM", "LIFT-CAM", "Opti-CAM"}
        assert all(0 <= row["average drop"] <= 1 for row in names["table"].values())
    else:
        assert names["results"]["test/native/average_drop"] >= 0
        assert names["found"][0].maps["native"].shape == (1, 128, 128)


def shown_commands():
    for page in PAGES:
        if page.stem != "troubleshooting":
            for _, text in blocks(page, "bash"):
                yield from text.replace("\\\n", "").splitlines()


@pytest.mark.parametrize("line", dict.fromkeys(shown_commands()))
def test_a_command_composes(line):
    program, *words = shlex.split(line)
    script, *words = without_group(words)
    command = COMMANDS[script.removesuffix(".py")]
    assert program == ("python" if command.script else "learned-saliency")
    check_command_line(command.words(words), command.config_name, command.complete)


def shown_mistakes():
    """Commands of the page of troubles, each with the message below it."""
    found = BLOCK.findall((DOCS / "troubleshooting.md").read_text())
    commands = [text.strip() for kind, _, text in found if kind == "bash"]
    messages = [text.strip() for kind, _, text in found if kind == "text"]
    return list(zip(commands, messages, strict=True))


@pytest.mark.parametrize(("line", "message"), shown_mistakes())
def test_a_mistake_is_answered_as_shown(line, message, there, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    _, script, *words = shlex.split(line)
    name = script.removesuffix(".py")
    finished = run_command(name, *words)
    assert finished.returncode == 2
    told = finished.stderr.replace(str(there), "...").strip().splitlines()
    assert told[-1] == message
    # the first line says what is going to be done, if it is another one
    assert told[0].startswith(f"{COMMANDS[name].program}: ")


class Counting(nn.Module):
    """A classifier that counts the images that pass it, and the rows that pass its head."""

    def __init__(self, affine):
        super().__init__()
        self.body = nn.Conv2d(3, 6, 3, 2, 1)
        inner = nn.Identity() if affine else nn.Sequential(nn.Linear(6, 6), nn.ReLU())
        self.top = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), inner, nn.Linear(6, 4))
        self.passes = self.heads = 0

    def features(self, images):
        return self.levels(images)[-1]

    def levels(self, images):
        self.passes += len(images)
        grid = self.body(images).relu()
        return [grid, 2 * grid]

    def head(self, features):
        self.heads += len(features)
        return self.top(features)

    def forward(self, images):
        return self.head(self.features(images))


def described_methods():
    """Names, classes, costs and needs in the table of methods."""
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", (DOCS / "attribution.md").read_text(), re.MULTILINE)
    for name, rest in rows:
        kind, _, *costs, needs = (cell.strip() for cell in rest.split("|"))
        yield name, kind.strip("`"), *costs, needs


def test_the_table_of_methods_names_all_and_what_they_cost():
    config = compose_checked([], "evaluate", complete=False).attribution
    described = list(described_methods())
    assert {name for name, *_ in described} == set(config)
    images, targets = torch.randn(2, 3, 12, 12), torch.tensor([0, 1])
    for name, kind, passes, head, gradients, needs in described:
        assert config[name]._target_.endswith(f".{kind}")
        special = name.startswith("calm_")  # they need a distribution of the cue
        if special or name in ("amortized", "camsuperset") or "vision transformers" in needs:
            continue
        if config[name].get("methods"):  # what it costs and needs is what its methods do
            continue
        method = instantiate(config[name])
        assert gradients == ("yes" if method.needs_gradients else "no")
        options = {"K": 6, "N": 36, **vars(method)}
        if name == "opticam":
            method.tolerance = 0  # no image stops early
        if name == "occlusion":
            options["windows"] = len(method.windows(12, 12))
        if name == "extremal":
            options["iterations"] = method.iterations = 3
        classifier = Counting(affine=kind == "CAM")
        method(classifier, images, targets)
        costs = (classifier.passes / 2, classifier.heads / 2)
        assert costs == tuple(eval(cost, {}, options) for cost in (passes, head)), name


def test_the_options_in_the_table_of_methods_exist_with_these_defaults():
    attribution = import_module("learned_saliency.attribution")
    rows = re.findall(
        r"^\| `\w+` \| `(\w+)` \|.*\| ([^|]*) \|$", (DOCS / "attribution.md").read_text(), re.M
    )
    config = compose_checked([], "evaluate", complete=False).attribution
    configured = {node._target_.rpartition(".")[2]: node for node in config.values()}
    for kind, text in rows:
        known = {}
        for base in reversed(getattr(attribution, kind).__mro__):
            known |= inspect.signature(base.__init__).parameters
        for option, default in re.findall(r"`(\w+)`(?: ([\d.]+))?", text):
            assert option in known, f"{kind} has no {option}"
            if default:
                value = configured[kind].get(option, known[option].default)
                assert float(default) == value, (kind, option)

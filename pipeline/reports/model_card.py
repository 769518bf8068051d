"""The page that says what a checkpoint is, beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from learned_saliency.pipeline.cli import is_own_code
from learned_saliency.pipeline.reports.markdown import escaped, markdown_table
from learned_saliency.pipeline.reports.results import table_rows
from learned_saliency.pipeline.reports.supervision import name_split, told_supervision
from learned_saliency.pipeline.reports.tables import Signs
from learned_saliency.pipeline.reports.training import told_rise, told_training
from learned_saliency.storage import write_text

_MAX_NAMES = 20  # most names of classes on a page

_WEAK = """\
For research on weakly supervised localization and on explaining classifiers: a map says where this
network finds evidence for a class, as training without boxes or masks has taught it, which need not
be the whole object nor what a person would point at."""
_BOUND = """\
A supervised bound for research on weakly supervised localization: a map says where this network
sees an object, as boxes or masks have taught it. Its figures are no weakly supervised method's and
belong beside such figures as their bound alone."""
_LIMITS = """\
The figures hold for images like those of the data set named here; on others both class and map can
be wrong without a sign of it, so nothing that matters to people should rest on them unchecked."""


def model_card_path(checkpoint: Path) -> Path:
    """Return the path of a checkpoint's card: ``best.md`` beside ``best.ckpt``."""
    return checkpoint.with_suffix(".md")


def write_model_card(checkpoint: Path, facts: Mapping[str, Any]) -> Path:
    """Write the card of a checkpoint; see `model_card`."""
    path = model_card_path(checkpoint)
    write_text(path, model_card(checkpoint.name, facts))
    return path


def model_card(name: str, facts: Mapping[str, Any]) -> str:
    """A Markdown page for a reader who has nothing but the folder of the checkpoint.

    Args:
        name: File name of the checkpoint.
        facts: Those of `pipeline.runs.facts.checkpoint_facts`, and ``parameters``, their number;
            ``splits``: what `WSOLDataModule.supervision` says of train, val and test; ``stage``:
            key of an earlier stage, empty for the last one; ``learned_from``: what
            `WSOLDataModule.learned_from` says of a supervised bound, else left out;
            ``threshold_chosen_by``: ``"boxes"`` or the criterion that chose the box threshold
            without them; ``training``: see `told_training`, and ``rising``: see `told_rise`, None
            or left out where they are not known or not so. ``metrics`` holds under ``val`` the
            figure that chose the checkpoint, if any, and under ``test`` figures by method, if it
            was tested; fractions.
    """
    up = "../.." if facts["stage"] else ".."
    place = f"`{up}/config.yaml` and in the checkpoint itself"
    before = "From a checkout of the project, with this folder as `DIR`"
    return _page(facts, [], _loading(f"DIR/{name}", before), _origin(facts, place))


def hub_card(facts: Mapping[str, Any], pictures: Mapping[str, str], name: str) -> str:
    """The text of a model's page on the Hugging Face Hub, without its metadata.

    Args:
        facts: Those of `model_card`; what nobody recorded of ``splits``, ``threshold_chosen_by``
            and ``metrics`` is left out.
        pictures: What is to be seen on a picture, by its file name in the folder.
        name: The model's name there, ``USER/NAME``.
    """
    shown = [f"![{told}]({file})\n\n*{told}.*" for file, told in pictures.items()]
    before = (
        "With the package of the project (`pip install .` in a checkout of it) and this folder as "
        f"`DIR` (`hf download {name} --local-dir DIR`), or `hf://{name}` in the place of `DIR`"
    )
    if "layer" in facts and is_own_code(facts["backbone"]):
        before += (
            f"; its network {escaped(facts['backbone'])} is code of its author, which you need and "
            "name by `classifier=MODULE:FUNCTION` in each of these"
        )
    origin = [_origin(facts, "`config.json`"), *_verified(facts)]
    return _page(facts, shown, _loading("DIR", before), "\n\n".join(origin))


def card_title(facts: Mapping[str, Any]) -> str:
    """The plain title of a model's page."""
    return f"{facts['method']} on {facts['data']}, {facts['backbone']}"


def _page(facts: Mapping[str, Any], pictures: Sequence[str], loading: str, origin: str) -> str:
    """Put the sections of a page together; those that no fact is known for are left out."""
    config, stage = facts["config"], facts["stage"]
    model = config["model"]["first_stage"] if stage else config["model"]
    what = [
        ("method", _method(facts["method"], model)),
        *_first_stage(model),
        _network(facts),
        *([("decoder", _decoder(model))] if model.get("decoder") else []),
        ("parameters", f"{facts['parameters']:,}"),
        *([("training", _training(facts["training"]))] if facts.get("training") else []),
        ("input", _input(facts)),
        ("box threshold", _threshold(facts)),
        ("regions", _regions(facts.get("coverage"))),
    ]
    sections = [
        f"# {escaped(card_title(facts))}",
        _kind(facts),
        markdown_table([("", ""), *what]),
        f"## Data\n\n{escaped(facts['data'])}, {_classes(facts['class_names'])}{_several(config)}."
        + _decoding(config),
        *([markdown_table(_splits(facts))] if "splits" in facts else []),
        f"## Figures\n\n{_selection(facts)}",
        *(
            [f"**Not trained to its end: {told_rise(facts['rising'])}.**"]
            if facts.get("rising")
            else []
        ),
        *_tested(facts["metrics"].get("test"), facts.get("not_tested", "Not tested by itself.")),
        *pictures,
        f"## Use and limits\n\n{_BOUND if 'learned_from' in facts else _WEAK} {_LIMITS}",
        f"## Loading\n\n{loading}",
        f"## Origin\n\n{origin}",
    ]
    return "\n\n".join(sections) + "\n"


def _kind(facts: Mapping[str, Any]) -> str:
    """Say what the model gives, and whether it was shown boxes or masks in its training."""
    learned = facts.get("learned_from")
    if learned is None:
        return (
            "A learned saliency model: for an image it gives the class and a map of where the "
            "evidence for it lies."
        )
    return (
        "A supervised bound: for an image it gives the class and a map of where the object lies. "
        f"**It was trained on {told_supervision(learned)}, which weakly supervised models never "
        "see.**"
    )


def _training(training: Mapping[str, Any]) -> str:
    """Tell how long the training was, and after how many steps the weights were kept."""
    kept = training.get("kept_after")
    return told_training(training) + ("" if kept is None else f"; kept after {kept:,}")


def _threshold(facts: Mapping[str, Any]) -> str:
    """Give the threshold of boxes and what chose it, as far as that was recorded."""
    told = f"{facts['box_threshold']:.3f} of the map's maximum"
    if facts.get("threshold_given"):
        return f"{told}, given when the model was exported"
    by = facts.get("threshold_chosen_by")
    if by is None:
        return told
    place = name_split(facts.get("selected_by") or {"split": "val"})
    how = f"best on {place}" if by == "boxes" else f"chosen by {by} on {place}, without a box"
    return f"{told}, {how}"


def _regions(coverage: Mapping[str, Any] | None) -> str:
    """Say what `predict.py coverage=...` can promise."""
    if coverage is None:
        return "no coverage can be promised: nothing to calibrate them by on val"
    images, truth = coverage["images"], coverage["truth"]
    return f"their coverage is calibrated on {images} images of val by {truth}"


def _input(facts: Mapping[str, Any]) -> str:
    height, width = facts["input_size"]
    mean, std = (", ".join(f"{v:g}" for v in facts[key]) for key in ("mean", "std"))
    channels = len(facts["mean"])
    values = "RGB" if channels == 3 else f"{channels} channel{'s' * (channels != 1)} at full depth"
    return f"{height} x {width} pixels, {values} in [0, 1], minus ({mean}), divided by ({std})"


def _network(facts: Mapping[str, Any]) -> tuple[str, str]:
    """Name the network that the model is built on."""
    if "layer" not in facts:
        return "backbone", f"{facts['backbone']}, {_start(facts['config']['backbone'])}"
    levels = ", ".join([*facts["levels"], facts["layer"]])
    return "classifier", (
        f"{facts['backbone']}, given and frozen as it was; explained at its layer "
        f"{facts['layer']}; the levels {levels} are read"
    )


def _method(name: str, model: Mapping[str, Any]) -> str:
    """Name a method and its paper, as far as its configuration does."""
    return f"{name}: {model['paper']}" if "paper" in model else name


def _first_stage(model: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name the classifier of this project that a model is built on, if it is built on one."""
    first = model.get("first_stage") or {}
    return [("built on", _method(first["name"], first))] if "paper" in first else []


def _decoder(model: Mapping[str, Any]) -> str:
    """Name the library's decoder that stands in the place of the method's own."""
    options = model.get("decoder_options") or {}
    told = ", ".join(f"{name}={value}" for name, value in options.items())
    return f"{model['decoder']} of segmentation-models-pytorch{told and f', {told}'}"


def _start(backbone: Mapping[str, Any]) -> str:
    """Describe the weights that the first stage of the training began with."""
    return f"trained from {'pretrained' if backbone.get('pretrained') else 'random'} weights"


def _classes(names: list[str]) -> str:
    if names == [str(label) for label in range(len(names))]:
        return f"{len(names)} classes without names"
    rest = len(names) - _MAX_NAMES
    shown = ", ".join(map(escaped, names[:_MAX_NAMES]))
    return f"{len(names)} classes: {shown}" + (f" and {rest} more" if rest > 0 else "")


def _several(config: Mapping[str, Any]) -> str:
    """Tell that images may have several classes, where they may."""
    if config.get("data", {}).get("task") != "multilabel":  # runs of before have no such key
        return ""
    return "; an image may have several of them, and the network tells each by a sigmoid of its own"


def _decoding(config: Mapping[str, Any]) -> str:
    """Tell how the training images were prepared, where it was not the usual way."""
    data = config.get("data", {})
    told = ""
    if not data.get("augment", True):
        told += (
            " The training images were prepared as all others are, without random crops and flips"
            " (`data.augment=false`)."
        )
    if data.get("permute_labels") is not None:
        told += (
            " **The training labels were permuted at random among the images, so that the network"
            f" knows nothing about the classes (`data.permute_labels={data['permute_labels']}`).**"
        )
    if data.get("fast_decode"):
        told += (
            " The training images were decoded faster, with slightly other pixels"
            " (`data.fast_decode=true`); all others exactly."
        )
    return told


def _splits(facts: Mapping[str, Any]) -> list[tuple[str, ...]]:
    learned = facts.get("learned_from")
    below = "" if learned is None else " of the classifier below"
    use = {
        "train": f"weights{below}, from {_supervision('train', facts)}",
        "val": _use_of_val(facts),
        "test": "final figures, read once",
    }
    rows = [
        (
            name_split(s),
            *(f"{s[kind]:,}" for kind in ("images", "boxes", "masks")),
            "weights, from its masks, or else its boxes" if s == learned else use[s["split"]],
        )
        for s in facts["splits"]
    ]
    return [("split", "images", "boxes", "masks", "for"), *rows]


def _supervision(name: str, facts: Mapping[str, Any]) -> str:
    """Say what was known of the images of a split beside their boxes and masks."""
    split = next((s for s in facts["splits"] if s["split"] == name), {})
    labels = split.get("labels")
    if labels is None:
        return "its labels alone"
    rest = "the classes that the classifier predicts"
    return f"{labels:,} labels and, of the other images, {rest}" if labels else rest


def _use_of_val(facts: Mapping[str, Any]) -> str:
    """Say what the split has chosen."""
    by = "its boxes" if facts.get("threshold_chosen_by") == "boxes" else _supervision("val", facts)
    chose = "the checkpoint and, by" if facts["metrics"].get("val") else "by"
    return f"choice of {chose} {by}, of the box threshold"


def _selection(facts: Mapping[str, Any]) -> str:
    if facts["epoch"] is None:
        return "Nothing was recorded of how the weights were chosen."
    epoch = f"Epoch {facts['epoch'] + 1}"
    if not facts["metrics"].get("val"):
        return f"{epoch}, {facts['not_chosen']}." if "not_chosen" in facts else f"{epoch}."
    ((name, value),) = facts["metrics"]["val"].items()
    seen = facts["selected_by"]
    return (
        f"{epoch}, chosen by `{name}` of its own map on {name_split(seen)}: {100 * value:.1f} %. "
        f"Its choice and that of the box threshold saw {seen['boxes']:,} boxes and "
        f"{seen['masks']:,} masks of {name_split(seen)}."
    )


def _tested(results: Mapping[str, Mapping[str, float]] | None, not_tested: str) -> list[str]:
    if not results:
        return [not_tested]
    signs = Signs("↑", "↓", "±")
    names, *rows = table_rows(results, signs=signs)
    by_figure = zip(names, *rows, strict=True)  # on end: a page is narrow
    return [
        f"{signs.heading('Test split')}; `native` is the model's own map. `full_image` and "
        "`centered_box` are the floors: boxes that do not look at the image.",
        markdown_table([tuple(row) for row in by_figure]),
    ]


def _loading(place: str, before: str) -> str:
    return f"""\
{before}; nothing but tensors and plain values is read from it:

```python
from learned_saliency import load

model = load("{place}")
(found,) = model(["photo.jpg"])
found.map, found.box, found.predicted[0].name  # (H, W) in [0, 1]; x0 y0 x1 y1; the class
```

```bash
python predict.py checkpoint={place} images=PHOTOS out=MAPS
python evaluate.py checkpoint={place}
python export.py checkpoint={place} format=onnx
```"""


def _origin(facts: Mapping[str, Any], place: str) -> str:
    versions = ", ".join(f"{package} {number}" for package, number in facts["versions"].items())
    return (
        f"Seed {facts['config']['seed']}, {datetime.now(UTC):%Y-%m-%d}, with {versions}. "
        f"The whole configuration is in {place}."
    )


def _verified(facts: Mapping[str, Any]) -> list[str]:
    """Tell how an exported model was compared with its checkpoint, if it was."""
    found = facts.get("verified")
    if found is None:
        return []
    worst = max(found["largest_difference"].values())
    return [
        f"The files were loaded again and compared with the checkpoint on {found['images']} images "
        f"({escaped(found['source'])}): probabilities and maps differ by at most {worst:.1e}."
    ]

"""Origin of the metrics in words: subject, choices and warnings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from learned_saliency.metrics import FLOORS, Figure
from learned_saliency.pipeline.reports.bootstrap import Interval
from learned_saliency.pipeline.reports.floors import list_below_floors
from learned_saliency.pipeline.reports.image_scores import Column
from learned_saliency.pipeline.reports.page.blocks import Block, Items, Table
from learned_saliency.pipeline.reports.saved import SavedEvaluation
from learned_saliency.pipeline.reports.supervision import name_split, told_supervision
from learned_saliency.pipeline.reports.training import told_rise, told_training

_BY_BEST_THRESHOLD = ("max_box_acc", "top1_loc", "top5_loc", "box_acc")


def find_title(saved: SavedEvaluation, names: Mapping[str, str]) -> str:
    """Name what was tested, and on what."""
    record = saved.record
    if "model" in record:
        subject = str(record["model"])
    elif "checkpoint" in record:
        subject = _place(record["checkpoint"])
    elif "classifier" in record:
        subject = str(record["classifier"])
    else:
        subject = f"Maps of {', '.join(m for m in saved.results if m not in FLOORS)}"
    data = record.get("data", names.get("data"))
    return f"{subject} on {data}, {saved.split}" if data else f"{subject}, {saved.split}"


def list_facts(saved: SavedEvaluation, names: Mapping[str, str]) -> dict[str, object]:
    """List what the page's head tells; what nobody recorded is left out."""
    record, tested = saved.record, saved.record.get("tested_on", {})
    versions = record.get("versions", {})
    found = {
        "Split": saved.split,
        "Images": tested.get("images"),
        "Samples": tested.get("samples"),
        "Boxes": tested.get("boxes"),
        "Masks": tested.get("masks"),
        "Data": record.get("data", names.get("data")),
        "Model": record.get("model"),
        "Backbone": names.get("backbone"),
        "Checkpoint": _place(record["checkpoint"]) if "checkpoint" in record else None,
        "Classifier": record.get("classifier"),
        "Weights": _place(record["weights"]) if "weights" in record else None,
        "Layer": record.get("layer"),
        "Training": told_training(record["training"]) if "training" in record else None,
        "Seed": record.get("seed"),
        "Versions": ", ".join(f"{name} {number}" for name, number in versions.items()) or None,
    }
    return {name: value for name, value in found.items() if value is not None}


def describe_choices(saved: SavedEvaluation) -> list[Block]:
    """Say what was chosen on what."""
    record, said = saved.record, []
    if "selection" in record:
        said += _selection(record["selection"])
    elif record.get("box_threshold") is not None and saved.rows:
        said.append(
            f"Boxes are drawn around the largest region above {record['box_threshold']:.3f} of a "
            "map's maximum, which was set before this test."
        )
    said += _regrets(record.get("regret", {}))
    names = [n for n in _found(saved) if n.startswith(_BY_BEST_THRESHOLD)]
    if names:
        said.append(
            f"As in the benchmark, these metrics choose their threshold on the tested images "
            f"themselves: {', '.join(names)}."
        )
    if set(FLOORS) & saved.results.keys():
        said.append(
            "full_image and centered_box are floors: maps that do not look at the image; the "
            "centered box has the best size for the tested images."
        )
    said += _explained(record)
    blocks: list[Block] = [Items(said)] if said else []
    if record.get("splits"):
        blocks.append(_splits(record["splits"], record.get("learned_from")))
    return blocks


def _selection(selection: Mapping[str, Any]) -> list[str]:
    """Describe the choice of checkpoint and threshold of a training."""
    split = name_split({"split": "val"} | dict(selection))
    seen = (
        f"this saw {selection.get('boxes', 0)} boxes and {selection.get('masks', 0)} masks of "
        f"{selection.get('images', '?')} images"
    )
    if selection.get("monitor") is None:
        said = ["No metric chose the checkpoint."]
    else:
        asked = selection.get("asked")
        of_key = f" (monitor={asked})" if asked not in (None, selection["monitor"]) else ""
        value = selection.get("value")
        told = "" if value is None else f", {100 * value:.1f} %"
        said = [f"{selection['monitor']} on {split}{told}, chose the checkpoint{of_key}; {seen}."]
    if selection.get("threshold") is not None:
        by = selection.get("threshold_by")
        how = f"the boxes of {split}" if by == "boxes" else f"{by} on {split}, without a box"
        said.append(
            f"Boxes are drawn around the largest region above {selection['threshold']:.3f} of a "
            f"map's maximum; {how} chose this threshold."
        )
    return said


def _regrets(regret: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [
        f"The {what} was chosen without boxes: its {of['metric']} on {of['split']} is "
        f"{100 * of['regret']:.1f} points below the best one's."
        for what, of in regret.items()
        if {"metric", "split", "regret"} <= of.keys()
    ]


def _explained(record: Mapping[str, Any]) -> list[str]:
    classes = {
        "label": "the true class of each image",
        "predicted": "the class that the network predicts",
    }
    said = []
    if record.get("explained") in classes and {"checkpoint", "classifier"} & record.keys():
        said.append(f"The maps explain {classes[record['explained']]}.")
    target = record.get("target")
    if isinstance(target, Mapping):
        said += [f"{method} explains the {word}." for method, word in target.items()]
    elif target is not None:
        said.append(f"Post-hoc methods explain the {target}.")
    return said


def _splits(splits: list[Mapping[str, Any]], learned: Mapping[str, Any] | None) -> Table:
    use = {
        "train": "weights" if learned is None else "weights of the classifier below",
        "val": "choice of checkpoint and threshold",
        "test": "the metrics of this page",
    }
    kinds = ("images", "boxes", "masks")
    rows = [
        [
            name_split(s),
            *(str(s.get(kind, "-")) for kind in kinds),
            "weights, from its masks or boxes" if s == learned else use.get(s["split"], ""),
        ]
        for s in splits
    ]
    return Table("Splits", ["split", *kinds, "for"], rows, note="Ground truth of each split.")


def find_warnings(
    saved: SavedEvaluation, figures: Mapping[str, Figure], intervals: Mapping[Column, Interval]
) -> list[str]:
    """List what a reader of the metrics must not miss."""
    record, said = saved.record, []
    if "learned_from" in record:
        said.append(
            f"The model was trained on {told_supervision(record['learned_from'])}: its own map is "
            "a supervised bound, not the result of a weakly supervised method."
        )
    if "rising" in record:
        told = told_rise(record["rising"])
        said.append(f"{told[0].upper()}{told[1:]}.")
    if "limit" in record:
        limit = record["limit"]
        said.append(f"A part of the split was tested: at most {limit} images (limit={limit}).")
    if "limit_test_batches" in record:
        limit = record["limit_test_batches"]
        said.append(f"A part of the split was tested (trainer.limit_test_batches={limit}).")
    if saved.split != "test":
        said.append(f"These metrics are of the split {saved.split}, not of test.")
    if not saved.rows:
        said.append("No images were tested one by one: there are no intervals and no gallery.")
    return said + list_below_floors(saved.results, figures, intervals)


def _found(saved: SavedEvaluation) -> list[str]:
    return list(dict.fromkeys(name for values in saved.results.values() for name in values))


def _place(path: object) -> str:
    """Name a run or a checkpoint without the folders above it, which are the machine's business."""
    parts = PurePath(str(path)).parts
    return "/".join(parts[-3:] if "checkpoints" in parts[-2:-1] else parts[-1:])

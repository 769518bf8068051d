"""Regret of choices without boxes: checkpoints and box thresholds, beside the choice by boxes.

Trains a model with all criteria of `configs/config.yaml: zerobox` logged, its boxes hidden from
training and selection. After each epoch of each stage the boxes of val and test are read for the
record alone. A table then says what each criterion would have chosen on val, and what that is worth
on test. results/zerobox.md has the protocol and what came of it.

    python benchmarks/zerobox.py OUT --seeds 0 1 2 model=fcam WORDS    # trains, OUT/records.jsonl
    python benchmarks/zerobox.py OUT --table                           # the table alone
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar
from unittest.mock import patch

import lightning as L
import numpy as np
import torch

from learned_saliency.datamodules import WSOLDataModule
from learned_saliency.metrics import Localization
from learned_saliency.pipeline.cli import compose_checked
from learned_saliency.pipeline.runs import CLASSIFIER
from learned_saliency.pipeline.training import stage as stages
from learned_saliency.pipeline.training import train
from learned_saliency.pipeline.training.best import KeepBest
from learned_saliency.trainers import CRITERIA, NATIVE, SaliencyModule, gives_threshold

_ALL = ",".join(CRITERIA)
_LABELS_ONLY = [
    "recipe.monitor=zerobox",
    "recipe.classifier_monitor=accuracy",
    "pictures.images=0",
]
_BOXES, _LAST, _ACCURACY = "boxes", "last epoch", "accuracy"
_CHOOSERS = (_BOXES, *CRITERIA, _ACCURACY, _LAST)


class Recording(KeepBest):
    """Keeper of the best checkpoint that notes each epoch's metrics of val and test by boxes."""

    notes: ClassVar[list[dict[str, Any]]] = []

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Keep the epoch, then note it."""
        super().on_train_epoch_end(trainer, module)
        logged = {k: float(v) for k, v in trainer.callback_metrics.items() if "val/native/" in k}
        val = module.validation_scores.scores[NATIVE]["boxes"]
        self.notes.append(
            {
                "stage": self.path.parent.name,
                "epoch": trainer.current_epoch,
                "val": {name.rpartition("/")[2]: value for name, value in logged.items()},
                "val_threshold": float(val.compute()["best_threshold"]),
                **_test(module, trainer.datamodule),
            }
        )


@torch.no_grad()
def _test(module: SaliencyModule, data: WSOLDataModule) -> dict[str, Any]:
    """Measure the native maps on test; leave the module as it is."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    metric = Localization().to(module.device)
    for batch in data.test_dataloader():
        images, labels = batch["image"].to(module.device), batch["label"].to(module.device)
        found = module.explain(images, labels)
        metric.update(found.saliency, batch["boxes"], found.logits, labels)
    for part, mode in modes.items():
        part.training = mode
    curve = metric.curves()["largest_contour_50"].tolist()
    values = {name: float(value) for name, value in metric.compute().items()}
    return {"test": values, "test_curve": curve}


@contextmanager
def _recorded() -> Iterator[list[dict[str, Any]]]:
    Recording.notes = []
    with patch.object(stages, "KeepBest", Recording):
        yield Recording.notes


def record(out: Path, seed: int, words: list[str]) -> None:
    """Train one seed and append its epochs to the records."""
    path = out / "records.jsonl"
    if path.is_file() and any(f'"seed": {seed},' in line for line in path.open()):
        return
    words = [*words, *_LABELS_ONLY, f"zerobox.also=[{_ALL}]", f"seed={seed}"]
    config = compose_checked([*words, f"output_dir={out}/seed{seed}"])
    with _recorded() as notes:
        train(config)
    with path.open("a") as file:
        for note in notes:
            model = "cam" if note["stage"] == CLASSIFIER else config.model.name
            file.write(json.dumps({"seed": seed, "model": model, **note}) + "\n")


def _runs(out: Path) -> dict[str, list[list[dict[str, Any]]]]:
    """Read the epochs of each run by model."""
    runs = defaultdict(lambda: defaultdict(list))
    for line in (out / "records.jsonl").open():
        note = json.loads(line)
        runs[note["model"]][note["seed"]].append(note)
    return {model: [seeds[seed] for seed in sorted(seeds)] for model, seeds in runs.items()}


def _chosen(notes: list[dict[str, Any]], chooser: str) -> dict[str, Any]:
    """Choose an epoch as a run does: the first with the highest value on val."""
    if chooser == _LAST:
        return notes[-1]
    name = {_BOXES: "max_box_acc"}.get(chooser, chooser)
    return max(notes, key=lambda note: note["val"][name])  # the first of equal ones


def _chooses(chooser: str, runs: list[list[dict[str, Any]]]) -> bool:
    """Tell whether the values of a chooser differ; the accuracy of a frozen classifier does not."""
    if chooser in (_BOXES, _LAST):
        return True
    return any(note["val"][chooser] != notes[0]["val"][chooser] for notes in runs for note in notes)


def _threshold(note: dict[str, Any], chooser: str) -> dict[str, float]:
    """Compare the threshold of a chooser, in the epoch that it chose, with the best on test."""
    curve = np.array(note["test_curve"])
    own = note["val_threshold"] if chooser == _BOXES else note["val"].get(f"{chooser}_threshold")
    own = 0.5 if own is None else own
    at = min(round(own * len(curve)), len(curve) - 1)
    highest = np.flatnonzero(curve == curve.max()) / len(curve)
    return {
        "distance": float(np.abs(highest - own).min()),
        "regret": float(curve.max() - curve[at]),
    }


def table(out: Path) -> str:
    """Tabulate, by model, the means over seeds with the single seeds in brackets, in percent."""
    rows = ["| model | chosen by | epochs | MaxBoxAccV2 | regret | threshold off by | costs |"]
    rows.append("| --- | --- | --- | --- | --- | --- | --- |")
    by_model = _runs(out)
    for model, runs in by_model.items():
        rows += [_row(model, chooser, runs) for chooser in _CHOOSERS if _chooses(chooser, runs)]
    every = [notes for runs in by_model.values() for notes in runs]
    everywhere = [c for c in _CHOOSERS if all(_chooses(c, runs) for runs in by_model.values())]
    rows += [_row("all", chooser, every, single=False) for chooser in everywhere]
    return "\n".join(rows)


def _row(model: str, chooser: str, runs: list[list[dict[str, Any]]], single: bool = True) -> str:
    """Tabulate what a chooser came to, with the single runs or without."""
    chosen = [_chosen(notes, chooser) for notes in runs]
    best = [_chosen(notes, _BOXES) for notes in runs]
    value = [100 * note["test"]["max_box_acc_v2"] for note in chosen]
    regret = [100 * b["test"]["max_box_acc_v2"] - v for b, v in zip(best, value, strict=True)]
    epochs = " ".join(str(note["epoch"] + 1) for note in chosen) if single else ""
    cells = [model, chooser, epochs, _mean(value, single), _mean(regret, single), "", ""]
    if chooser == _BOXES or (chooser in CRITERIA and gives_threshold(chooser)):
        found = [_threshold(note, chooser) for note in chosen]
        cells[-2] = _mean([each["distance"] for each in found], single, 2)
        cells[-1] = _mean([100 * each["regret"] for each in found], single)
    return f"| {' | '.join(cells)} |"


def _mean(values: list[float], single: bool, digits: int = 1) -> str:
    each = ", ".join(f"{value:.{digits}f}" for value in values)
    return f"{fmean(values):.{digits}f}" + (f" ({each})" if single else "")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="folder of the runs and of records.jsonl")
    parser.add_argument("words", nargs="*", help="words of train.py")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--table", action="store_true", help="print the table alone")
    arguments = parser.parse_intermixed_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if not arguments.table:
        for seed in arguments.seeds:
            record(arguments.out, seed, arguments.words)
    print(table(arguments.out))

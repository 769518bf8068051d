"""Study of localization by subset of classes, trained and not (paper 004, Tab. 3)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path
from string import ascii_uppercase
from typing import NamedTuple

import matplotlib.figure
import torch
from matplotlib.patches import Rectangle
from omegaconf import DictConfig
from torch import Tensor
from torchmetrics import MeanMetric

from learned_saliency.datamodules import Size, WSOLBatch, WSOLDataModule
from learned_saliency.metrics import Figure, MaskLocalization
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.evaluation.studies.base import (
    Outcome,
    Setting,
    Study,
    labeled,
    tested_maps,
)
from learned_saliency.pipeline.evaluation.studies.plots import save_figure
from learned_saliency.pipeline.runs import load_module, read_checkpoint
from learned_saliency.storage import write_csv
from learned_saliency.trainers import SaliencyModule

_COLUMNS = 8  # subsets that a table has a column for; those of more are in the files alone
_TEXTS = 24  # subsets whose numbers are written into the picture

Values = dict[str, dict[str, dict[str, float]]]  # by row, by subset: le, f1, accuracy


class Row(NamedTuple):
    """A row of the table: a network with the classes that it was trained on.

    Attributes:
        module: The trained module.
        trained: Numbers of its classes; None for all.
    """

    module: SaliencyModule
    trained: frozenset[int] | None


class Subsets(Study):
    """Localization error of each subset of the classes (paper 004, Sec. 5 and Tab. 3).

    The classes, in their order, are cut into subsets A, B, C and so on; each has ``le_A``, the
    localization error of `metrics.MaskLocalization` (the box around the largest part of the map,
    cut at its mean), and in the files F1 and the classifier's accuracy. Whether a subset was
    trained on is marked: a model of `train.py data.classes=[...]` saw only these. Other runs can be
    rows of the same table by their native maps, as in Tab. 3, whose rows are trainings on ever more
    subsets.

    Maps explain what the test explains.

    Args:
        sizes: Number of classes of each subset; the paper has 50, 50, 100, 300, 300 and 200. None
            for each class alone.
        runs: Further runs or checkpoints of this project, with the same classes.

    Raises:
        ValueError: If a size is below 1.
    """

    name = "subsets"
    needs_labels = True
    needs_network = False  # no method is run here; `check_module` asks for the classifier

    def __init__(self, sizes: Sequence[int] | None = None, runs: Sequence[str] = ()) -> None:
        if sizes is not None and (not sizes or min(sizes) < 1):
            raise ValueError(f"sizes must be at least 1 each, got {list(sizes)}")
        self.sizes = sizes
        self.runs = [runs] if isinstance(runs, str) else list(runs)
        self._config: DictConfig | None = None
        self._rows: dict[str, Row] = {}
        self._subsets: dict[str, range] = {}

    def check(self, config: DictConfig) -> None:
        """Check that the runs can be read."""
        self._config = config
        for run in self.runs:
            read_checkpoint(run, "best.ckpt")

    def check_module(self, module: SaliencyModule) -> None:
        """Refuse maps alone: the classifier's accuracy stands beside them."""
        if not module.has_scores:
            raise UserError(
                "studies=[subsets]: has the classifier's accuracy, and there are maps alone; name "
                "the network that they explain, checkpoint=RUN."
            )

    def check_data(self, data: WSOLDataModule) -> None:
        """Cut the classes into subsets, and load the further runs.

        Raises:
            UserError: If there are no boxes, the sizes do not add up, or a run has other classes
                or other images.
        """
        split = self._config.split
        if not data.has_boxes(split):
            raise UserError(
                f"studies=[subsets]: measures boxes, which {split} does not have; leave it out."
            )
        self._subsets = class_subsets(self.sizes, data.num_classes)
        for run in self.runs:
            checkpoint = read_checkpoint(run, "best.ckpt")
            if checkpoint.num_classes != data.num_classes:
                raise UserError(
                    f"studies.subsets.runs: {run} knows {checkpoint.num_classes} classes, but the "
                    f"data set has {data.num_classes}."
                )
            size = Size.of(checkpoint.config.data.crop_size)
            if size != data.crop_size:
                raise UserError(
                    f"studies.subsets.runs: {run} was trained on images of {size} pixels, "
                    f"not {data.crop_size}."
                )
            name = _free_name(Path(run), self._rows)
            module = load_module(checkpoint).eval()
            self._rows[name] = Row(module, _trained(checkpoint.config))

    def run(self, setting: Setting) -> Outcome:
        """Measure the maps of each subset's images."""
        module, trained = setting.module, _trained(setting.config)
        rows = {name: Row(module, trained) for name in module.map_names} | self._rows
        for row in self._rows.values():
            row.module.to(module.device)
        scores = {
            name: {
                subset: {
                    "boxes": MaskLocalization().to(module.device),
                    "accuracy": MeanMetric().to(module.device),
                }
                for subset in self._subsets
            }
            for name in rows
        }
        for number, batch in enumerate(labeled(setting.batches(scores))):
            setting.note(f"batch {number + 1}")
            for name, (saliency, logits) in self._explained(setting, batch).items():
                right = module.activation.decides(logits, batch["label"])
                self._count(scores[name], saliency, right, batch)
        found = {
            name: {subset: _values(**metrics) for subset, metrics in of_row.items()}
            for name, of_row in scores.items()
        }
        shown = len(self._subsets) <= _COLUMNS
        figures = {f"le_{subset}": Figure(False, headline=shown) for subset in self._subsets}
        marked = {name: marks(row.trained, self._subsets) for name, row in rows.items()}
        files = {
            "subsets.csv": partial(
                write_subsets, found=found, subsets=self._subsets, marked=marked
            ),
            "pictures/subsets.png": partial(plot_subsets, found=found, marked=marked),
        }
        return Outcome(subset_figures(found), figures, files)

    def _explained(self, setting: Setting, batch: WSOLBatch) -> dict[str, tuple[Tensor, Tensor]]:
        """Compute maps (B, H, W) and logits (B, C) of each row."""
        module, images = setting.module, batch["image"]
        labels = batch["label"] if module.explained == "label" else None
        maps, logits = tested_maps(module, batch)
        found = {name: (saliency, logits) for name, saliency in maps.items()}
        for name, row in self._rows.items():
            own = row.module
            seen = (images * module.std + module.mean - own.mean) / own.std
            explanation = own.explain(seen, labels)
            found[name] = explanation.saliency, explanation.logits
        return found

    def _count(
        self,
        scores: Mapping[str, Mapping[str, MaskLocalization | MeanMetric]],
        saliency: Tensor,
        right: Tensor,
        batch: WSOLBatch,
    ) -> None:
        """Count a batch of one row in each subset."""
        labels = batch["label"]
        for subset, classes in self._subsets.items():
            members = (labels >= classes.start) & (labels < classes.stop)
            if members.any():
                boxes = [b for b, m in zip(batch["boxes"], members.tolist(), strict=True) if m]
                scores[subset]["boxes"].update(saliency[members], boxes)
                scores[subset]["accuracy"].update(right[members].float())


def class_subsets(sizes: Sequence[int] | None, num_classes: int) -> dict[str, range]:
    """Cut the classes into subsets A, B and so on, or by number where each class is alone.

    Args:
        sizes: Numbers of classes, or None.
        num_classes: Number of classes C.

    Raises:
        UserError: If the sizes do not add up to C, or there are more than the alphabet has letters.
    """
    if sizes is None:
        return {str(number): range(number, number + 1) for number in range(num_classes)}
    if sum(sizes) != num_classes:
        raise UserError(
            f"studies.subsets.sizes: add up to {sum(sizes)}, but there are {num_classes} classes."
        )
    if len(sizes) > len(ascii_uppercase):
        raise UserError(f"studies.subsets.sizes: at most {len(ascii_uppercase)} subsets.")
    bounds = pairwise(accumulate(sizes, initial=0))
    return {letter: range(*ends) for letter, ends in zip(ascii_uppercase, bounds, strict=False)}


def marks(trained: frozenset[int] | None, subsets: Mapping[str, range]) -> dict[str, str]:
    """Say of each subset whether ``"all"``, ``"some"`` or ``"none"`` of its classes was trained."""
    found = {}
    for subset, classes in subsets.items():
        count = len(classes) if trained is None else sum(number in trained for number in classes)
        found[subset] = "all" if count == len(classes) else "some" if count else "none"
    return found


def _trained(config: DictConfig) -> frozenset[int] | None:
    """Read the classes that a training was restricted to; None for all."""
    classes = config.data.get("classes")
    return None if classes is None else frozenset(classes)


def _free_name(run: Path, taken: Mapping[str, Row]) -> str:
    """Name a row after a run's folder, with a number where the name is taken."""
    name = run.stem if run.suffix == ".ckpt" else run.name
    numbers = (f"{name}-{number}" for number in range(2, len(taken) + 3))
    return next(free for free in (name, *numbers) if free not in taken)


def _values(boxes: MaskLocalization, accuracy: MeanMetric) -> dict[str, float]:
    """Compute the values of a cell; with several processes every one has to call this."""
    found = {name: float(value) for name, value in boxes.compute().items()}
    return {"le": found["le"], "f1": found["f1"], "accuracy": float(accuracy.compute())}


def subset_figures(found: Values) -> dict[str, dict[str, float]]:
    """Name the localization errors of each row, ``le_A`` and so on; none of subsets not seen."""
    return {
        name: {
            f"le_{subset}": values["le"]
            for subset, values in of_row.items()
            if not math.isnan(values["le"])
        }
        for name, of_row in found.items()
    }


def write_subsets(
    path: Path,
    found: Values,
    subsets: Mapping[str, range],
    marked: Mapping[str, Mapping[str, str]],
) -> None:
    """Write one row per network or method and subset as CSV."""
    rows = []
    for name, of_row in found.items():
        for subset, values in of_row.items():
            classes = subsets[subset]
            cells = {k: "" if math.isnan(v) else f"{v:.6f}" for k, v in values.items()}
            about = {"first_class": classes.start, "last_class": classes.stop - 1}
            about |= {"trained_classes": marked[name][subset]}
            rows.append({"method": name, "subset": subset} | about | cells)
    write_csv(path, list(rows[0]), rows)


def plot_subsets(path: Path, found: Values, marked: Mapping[str, Mapping[str, str]]) -> None:
    """Draw the localization errors as a matrix (Tab. 3) as PNG; trained subsets have a frame."""
    names, subsets = list(found), list(next(iter(found.values())))
    errors = torch.tensor([[100 * found[n][s]["le"] for s in subsets] for n in names])
    size = (max(4.5, 0.62 * len(subsets) + 2.5), 0.55 * len(names) + 1.7)
    figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
    axis = figure.subplots()
    drawn = axis.imshow(errors.numpy(), cmap="viridis_r", vmin=0, vmax=100, aspect="auto")
    for row, name in enumerate(names):
        for column, subset in enumerate(subsets):
            value = float(errors[row, column])
            if len(subsets) <= _TEXTS and not math.isnan(value):
                color = "white" if value > 50 else "black"
                axis.text(column, row, f"{value:.0f}", ha="center", va="center", color=color)
            if marked[name][subset] != "none":
                style = "-" if marked[name][subset] == "all" else ":"
                frame = Rectangle((column - 0.45, row - 0.42), 0.9, 0.84, fill=False)
                frame.set(edgecolor="tab:red", linewidth=1.5, linestyle=style)
                axis.add_patch(frame)
    axis.set_yticks(range(len(names)), names)
    axis.set_xticks(range(len(subsets)), subsets)
    axis.set(xlabel="subset of the classes (red: trained on)")
    figure.colorbar(drawn, label="localization error, %")
    save_figure(figure, path)

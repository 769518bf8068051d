"""Study of which classes are told by something else than their objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from learned_saliency.datamodules import WSOLBatch, WSOLDataModule
from learned_saliency.metrics import Figure
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.evaluation.studies.base import (
    Outcome,
    Setting,
    Study,
    regions_of,
    tested_maps,
)
from learned_saliency.pipeline.evaluation.studies.shortcut_features import (
    FeatureTable,
    lab_colors,
)
from learned_saliency.pipeline.evaluation.studies.shortcut_findings import (
    ClassFinding,
    Findings,
    find_shortcuts,
    flagged,
)
from learned_saliency.pipeline.evaluation.studies.shortcut_report import (
    draw_class,
    told,
    write_shortcuts,
)
from learned_saliency.pipeline.evaluation.studies.shortcut_tests import Rule
from learned_saliency.trainers import SaliencyModule, gathered, place

_EXAMPLES = 5  # images of each cluster in a picture
_PICTURES = 10  # pictures per method, of the flagged classes with the smallest p


class Shortcuts(Study):
    """Classes whose evidence lies off the object or in one place, as a shortcut's does.

    The evidence of a map is what it has above its own mean, scaled to the sum 1. Each class is
    compared with all others:

    - Where there are masks or boxes, a class is flagged if its share of evidence on the object is
      at most ``ratio`` times that of the other classes' images with objects of like area (fifths of
      the areas), and a one-sided permutation of the labels within those fifths finds it smaller.
    - Where there are none, a class is flagged if one of the eight outer cells of a 3 x 3 grid holds
      at least ``excess`` more of its evidence, as a share of it, than of the other classes', and a
      permutation of the labels finds the largest excess of the eight greater.

    "Finds" means p <= 1 - ``confidence`` after Holm's correction over the tested classes of the
    method, so that ``confidence`` is that of not flagging any class where classes do not differ.
    Classes do differ in any network, by what their objects look like; ``ratio`` and ``excess`` say
    from when on that matters. Both tests are in the table where there is truth.

    Within each class, maps are parted by place, extent and color, see `clusters`. A class with
    fewer than ``least`` maps that are not flat is not tested, but described. Flat maps are counted
    and belong to no cluster. Maps explain what the test explains; given maps without a network
    count for the true class.

    Args:
        confidence: See above, in [0.5, 0.9999].
        ratio: See above, in (0, 1).
        excess: See above, in (0, 1).
        least: See above, at least 2.
        seed: Seed of the permutations.

    Raises:
        ValueError: If an option is out of range.
    """

    name = "shortcuts"
    needs_network = False
    figures: Mapping[str, Figure] = {
        "shortcut_classes": Figure(False, short="shortcuts", unit="classes"),
        "shortcut_on_object": Figure(True, headline=False),
        "shortcut_flat": Figure(False, headline=False),
    }

    def __init__(
        self,
        confidence: float = 0.95,
        ratio: float = 0.6,
        excess: float = 0.2,
        least: int = 8,
        seed: int = 0,
    ) -> None:
        if not 0.5 <= confidence <= 0.9999:
            raise ValueError(f"confidence must be in [0.5, 0.9999], got {confidence}")
        for name, value in (("ratio", ratio), ("excess", excess)):
            if not 0 < value < 1:
                raise ValueError(f"{name} must be in (0, 1), got {value}")
        if least < 2:
            raise ValueError(f"least must be at least 2, got {least}")
        self.rule = Rule(confidence, ratio, excess, least)
        self.seed = seed
        self._split = ""
        self._asks_labels = False

    def check(self, config: DictConfig) -> None:
        """Remember the split."""
        self._split = config.split

    def check_module(self, module: SaliencyModule) -> None:
        """Note whether the classes can only be the true ones."""
        self._asks_labels = not module.has_scores

    def check_data(self, data: WSOLDataModule) -> None:
        """Check that the classes of the maps are known, and that there are two at least.

        Raises:
            UserError: If they are not.
        """
        if self._asks_labels and not data.num_labeled(self._split):
            raise UserError(
                f"studies=[shortcuts]: compares classes, but no image of {self._split} has a label "
                "and there is no network; leave the study out."
            )
        if len(data.class_names) < 2:
            raise UserError(
                "studies=[shortcuts]: compares each class with the others, and there is only one; "
                "leave the study out."
            )

    def run(self, setting: Setting) -> Outcome:
        """Describe all maps, compare the classes, and part each into clusters."""
        module, data = setting.module, setting.data
        truth = data.has_boxes(self._split) or data.has_masks(self._split)
        table = FeatureTable(module.map_names)
        for number, batch in enumerate(setting.batches({}, maps=table)):
            setting.note(f"batch {number + 1}")
            maps, logits = tested_maps(module, batch)
            regions = regions_of(batch) if truth else None
            colors = lab_colors(module.colors(batch["image"]))
            table.add(batch["index"], self._classes(module, batch, logits), maps, colors, regions)
        maps = table.result()
        found = {}
        if place().rank == 0:
            for name, of_method in maps.items():
                setting.note(f"{name}, comparison of the classes")
                found[name] = find_shortcuts(of_method, self.rule, self.seed)
        found = gathered(found)[0]
        results = {name: _figures(of_method) for name, of_method in found.items()}
        names = data.class_names
        files = {"shortcuts.csv": partial(write_shortcuts, findings=found, names=names)}
        if place().rank == 0:
            files |= _pictures(setting, found)
        return Outcome(results, self.figures, files, told(found, names))

    def _classes(self, module: SaliencyModule, batch: WSOLBatch, logits: Tensor) -> Tensor:
        """Return the class (B,) that each map explains."""
        if self._asks_labels:
            return batch["label"]
        labels = batch["label"] if module.explained == "label" else None
        return module.known_targets(labels, logits)


def _figures(findings: Mapping[int, ClassFinding]) -> dict[str, float]:
    """Summarize a method by the names of `Shortcuts.figures`."""
    clusters = [cluster for finding in findings.values() for cluster in finding.clusters]
    measured = [c for c in clusters if np.isfinite(c.means["on_object"])]
    sizes = [len(cluster.images) for cluster in measured]
    flat = sum(finding.test.flat for finding in findings.values())
    count = flat + sum(len(cluster.images) for cluster in clusters)
    figures = {
        "shortcut_classes": float(len(flagged(findings))),
        "shortcut_flat": flat / count if count else float("nan"),
    }
    if measured:
        shares = [cluster.means["on_object"] for cluster in measured]
        figures["shortcut_on_object"] = float(np.average(shares, weights=sizes))
    return figures


def _pictures(setting: Setting, found: Findings) -> dict[str, Callable[[Path], None]]:
    """Explain some images of each flagged class again and make a picture of its clusters."""
    files = {}
    for name, of_method in found.items():
        chosen = sorted(flagged(of_method), key=lambda label: of_method[label].test.chance)
        for label in chosen[:_PICTURES]:
            setting.note(f"{name}, picture of class {label}")
            finding = of_method[label]
            examples = [
                _explained(setting, name, cluster.images[:_EXAMPLES].tolist())
                for cluster in finding.clusters
            ]
            files[f"pictures/shortcuts_{name}_{label}.png"] = partial(
                draw_class, finding=finding, examples=examples
            )
    return files


@torch.no_grad()
def _explained(setting: Setting, method: str, places: list[int]) -> list[tuple[Any, Any]]:
    """Return images uint8 (H, W, 3) and maps (H, W) by one method, by their places in the split."""
    module = setting.module
    dataset = setting.data.dataloader(setting.config.split).dataset
    batch = setting.to_device(dataset.__getitems__(places))
    maps = tested_maps(module, batch)[0][method].cpu().numpy()
    colors = module.colors(batch["image"]).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return list(zip(colors, maps, strict=True))

"""Benchmarks of their own beside the figures of a test: ``benchmarks=[cues,removal]``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from learned_saliency.attribution import PostHocMethod
from learned_saliency.datamodules import WSOLBatch, WSOLDataModule
from learned_saliency.metrics import binarize
from learned_saliency.pipeline.cli import UserError, nearest
from learned_saliency.pipeline.evaluation.studies.bank import (
    bank_accuracies,
    bank_figures,
    build_bank,
    check_bank,
    draw_variants,
    write_accuracies,
)
from learned_saliency.pipeline.evaluation.studies.cues import (
    check_parts,
    cue_localization,
    draw_cues,
    write_pairs,
)
from learned_saliency.pipeline.evaluation.studies.removal import (
    Explainer,
    plot_removal,
    removal_figures,
    remove_and_classify,
    write_curves,
)
from learned_saliency.trainers import NATIVE, SaliencyModule, spread

_SECONDS = 20.0  # between lines of progress


class Outcome(NamedTuple):
    """What a benchmark found.

    Attributes:
        results: Figures by method, fractions.
        written: Its files.
    """

    results: dict[str, dict[str, float]]
    written: list[Path]


class Setting(NamedTuple):
    """What a benchmark runs on.

    Attributes:
        config: The evaluation's configuration; a benchmark's options are in the node of its name.
        module: The trained module, in evaluation mode and on its device.
        data: The data, set up.
        folder: Where to write.
        note: Called with what is being computed.
    """

    config: DictConfig
    module: SaliencyModule
    data: WSOLDataModule
    folder: Path
    note: Callable[[str], None]

    def batches(self) -> Iterator[WSOLBatch]:
        """Batches of the evaluated split on the module's device."""
        for batch in self.data.dataloader(self.config.split):
            yield self.module.transfer_batch_to_device(batch, self.module.device, 0)


def run_cues(setting: Setting) -> Outcome:
    """Cue localization of all methods with class-wise maps (paper 001, Tab. 1).

    Raises:
        UserError: If the data set has no parts or no method has class-wise maps.
    """
    module, folder = setting.module, setting.folder
    parts = setting.data.parts()
    methods = _class_wise(module)
    if not methods:
        raise UserError(
            "benchmarks=[cues] needs maps that depend on the class, which the native map of this "
            "model does not: name a method, e.g. methods=[cam]."
        )
    options = setting.config.cues
    found = cue_localization(
        module.classifier, setting.batches(), parts, methods, note=setting.note, **options
    )
    written = [folder / "cues.csv", folder / "pictures" / "cues.png"]
    write_pairs(written[0], found, parts.names)
    draw_cues(written[1], found, lambda image: module.colors(image.to(module.device)))
    return Outcome(found.results, [path for path in written if path.is_file()])


def run_removal(setting: Setting) -> Outcome:
    """Remove-and-classify with all methods (paper 001, Fig. 5)."""
    module, options = setting.module, setting.config.removal
    curves = remove_and_classify(
        module.classifier,
        setting.batches(),
        _explainers(module),
        fractions=list(options.fractions),
        seed=options.seed,
        note=setting.note,
    )
    written = [setting.folder / "removal.csv", setting.folder / "pictures" / "removal.png"]
    write_curves(written[0], curves)
    plot_removal(written[1], curves)
    return Outcome(removal_figures(curves), written)


def run_bank(setting: Setting) -> Outcome:
    """Accuracy of other classifiers on masked images, for all methods (paper 004, Fig. 2 and 3).

    Raises:
        UserError: If a classifier cannot be loaded or has other classes than the data set.
    """
    module, options = setting.module, setting.config.bank
    bank = build_bank(options.classifiers, setting.data.num_classes, module.device)
    methods, colors = _explainers(module), {"mean": module.mean, "std": module.std}
    found = bank_accuracies(
        bank,
        module.classifier,
        setting.batches(),
        methods,
        alpha=options.alpha,
        note=setting.note,
        **colors,
    )
    written = [setting.folder / "bank.csv"]
    write_accuracies(written[0], found)
    count = setting.config.pictures.images
    if count:
        batch = spread(setting.data.dataloader(setting.config.split), count)
        batch = module.transfer_batch_to_device(batch, module.device, 0)
        for name, method in methods.items():
            with torch.no_grad():
                maps = method(module.classifier, batch["image"], batch["label"])
            written.append(setting.folder / "pictures" / f"masked_{name}.png")
            draw_variants(written[-1], batch["image"], binarize(maps, options.alpha), **colors)
    return Outcome(bank_figures(found), written)


BENCHMARKS: dict[str, Callable[[Setting], Outcome]] = {
    "bank": run_bank,
    "cues": run_cues,
    "removal": run_removal,
}


def check_benchmarks(config: DictConfig) -> None:
    """Check what can be checked before a long run.

    Raises:
        UserError: If a benchmark does not exist or the data set has not what it needs.
    """
    for name in config.benchmarks:
        if name not in BENCHMARKS:
            known = list(BENCHMARKS)
            raise UserError(
                f"benchmarks: none is named '{name}'{nearest(name, known)}; there are: "
                f"{', '.join(known)}."
            )
    if "bank" in config.benchmarks:
        check_bank(config.bank.classifiers)
    if "cues" in config.benchmarks:
        check_parts(config.data.get("parts"))


def run_benchmarks(
    config: DictConfig,
    module: SaliencyModule,
    data: WSOLDataModule,
    folder: Path,
    device: torch.device,
) -> Outcome:
    """Run the benchmarks that ``config.benchmarks`` names, in one process.

    Args:
        config: The evaluation's configuration.
        module: What is evaluated; it is left in evaluation mode on ``device``.
        data: The data, set up.
        folder: Where to write.
        device: Where to compute.

    Returns:
        The figures of all of them by method, and their files.

    Raises:
        UserError: If a benchmark does not exist or does not fit model or data.
    """
    check_benchmarks(config)
    module.to(device).eval()
    setting = Setting(config, module, data, folder, _Lines())
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    results: dict[str, dict[str, float]] = {}
    written: list[Path] = []
    for name in config.benchmarks:
        found = BENCHMARKS[name](setting)
        for method, values in found.results.items():
            results.setdefault(method, {}).update(values)
        written += found.written
    return Outcome(results, written)


def _class_wise(module: SaliencyModule) -> dict[str, PostHocMethod]:
    """Methods with maps for every class: of the native maps those that the module names ``cam``."""
    own = getattr(module, "cam", None)
    return ({} if own is None else {NATIVE: own}) | module.methods


def _explainers(module: SaliencyModule) -> dict[str, Explainer]:
    """All methods; the native map is that of the class alone where there is one."""
    found: dict[str, Explainer] = dict(_class_wise(module))
    if NATIVE in module.map_names and NATIVE not in found:

        def native(classifier: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
            return module.saliency(images, targets)

        found = {NATIVE: native} | found
    return found


class _Lines:
    """Says now and then on stderr what is being computed."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, what: str) -> None:
        if time.monotonic() - self._last >= _SECONDS:
            self._last = time.monotonic()
            print(what, file=sys.stderr, flush=True)

"""Tests the maps of a trained model or of any classifier, and writes what came out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch.utils.data import DataLoader

from learned_saliency.datamodules import WSOLDataModule
from learned_saliency.metrics import Figure
from learned_saliency.pipeline.cli import UserError, check_complete, nearest
from learned_saliency.pipeline.evaluation.studies import Study, build_studies, run_studies
from learned_saliency.pipeline.reports import Results, plot_curves, write_results
from learned_saliency.pipeline.runs import (
    Checkpoint,
    build_classifier,
    build_data,
    build_evaluation,
    build_trainer,
    create_folder,
    load_module,
    read_checkpoint,
)
from learned_saliency.trainers import (
    NATIVE,
    TEST_FIGURES,
    ContactSheet,
    Dashboard,
    ImageTable,
    PostHocModule,
    Report,
    SaliencyModule,
    progress_bar,
)

CONFIG_NAME = "evaluate"
_STAGES = {"val": "validate", "test": "test"}  # what Lightning calls the use of a split
_SECONDS = 20.0  # between lines of progress
_ABSENT = object()


class Evaluated(NamedTuple):
    """What an evaluation leaves.

    Attributes:
        folder: Where it was written.
        results: Figures by method, fractions.
        figures: What is declared of them.
        written: The files.
    """

    folder: Path
    results: Results
    figures: Mapping[str, Figure]
    written: list[Path]


def hydra_words(arguments: Sequence[str]) -> list[str]:
    """Write the words of evaluate.py's command line as Hydra wants them.

    ``data.root`` does not exist where the data set is the checkpoint's.
    """
    data_chosen = any(word.startswith("data=") for word in arguments)
    words = []
    for word in arguments:
        if word.startswith("data.") and not data_chosen:
            word = f"+{word}"
        words.append(word)
    return words


def evaluate(config: DictConfig) -> Evaluated:
    """Test all configured methods in one pass over a split, then run the studies.

    Raises:
        UserError: If the configuration, a checkpoint, the weights or a method do not fit.
        DataError: If the data set is wrong.
    """
    if (config.checkpoint is None) == (config.classifier is None):
        raise UserError(
            "give either checkpoint=RUN_OR_FILE or classifier=torchvision:NAME layer=...; "
            "`python evaluate.py --help` shows more."
        )
    if config.studies_only and not config.studies:
        raise UserError("studies_only=true leaves nothing to do: name some, studies=[removal].")
    if config.split not in _STAGES:
        raise UserError(f"split={config.split} is no split to evaluate: it is test or val.")
    checkpoint = read_checkpoint(config.checkpoint, "best.ckpt") if config.checkpoint else None
    config = with_data(config, checkpoint)
    options = build_evaluation(config)
    studies = build_studies(config)
    data = build_data(config, _STAGES[config.split])
    options |= {"mean": data.mean, "std": data.std}
    if checkpoint is not None:
        _warn_of_other_classes(checkpoint, data)
        module = load_module(checkpoint, **options)
    else:
        module = _foreign(config, options)
    if config.box_threshold is not None:
        module.box_threshold.fill_(config.box_threshold)
    for study in studies:
        study.check_module(module)
    _try_on_one_image(module, data, config.split)
    return _test(config, module, data, studies)


def with_data(config: DictConfig, checkpoint: Checkpoint | None) -> DictConfig:
    """The configuration with the data set of the checkpoint where none was chosen.

    Raises:
        UserError: If there is none, a key of it does not exist, or a value is missing.
    """
    given = config.get("data") or OmegaConf.create()
    if "_target_" not in given:
        if checkpoint is None:
            raise UserError("data=... has no value: with classifier=... choose a data set: wsol.")
        data = _adapted(checkpoint, given)  # some methods refer to it
        config = OmegaConf.create(OmegaConf.to_container(config) | {"data": data})
    check_complete(config)
    return config


def _adapted(checkpoint: Checkpoint, given: DictConfig) -> DictConfig:
    """The data set of a checkpoint with some of its values replaced."""
    own = checkpoint.config.data
    for key in _leaves(given):
        if OmegaConf.select(own, key, default=_ABSENT) is _ABSENT:
            known = list(_leaves(own))
            raise UserError(f"data.{key} is no key of the configuration{nearest(key, known)}.")
    return OmegaConf.merge(own, given)


def _leaves(node: DictConfig, prefix: str = "") -> list[str]:
    found: list[str] = []
    for key, value in node.items_ex(resolve=False):
        name = f"{prefix}{key}"
        found += _leaves(value, f"{name}.") if isinstance(value, DictConfig) else [name]
    return found


def _warn_of_other_classes(checkpoint: Checkpoint, data: WSOLDataModule) -> None:
    """Warn where class names say that a label means something else than in training."""
    trained, given = checkpoint.class_names, data.class_names
    numbers = [str(label) for label in range(max(len(trained), len(given)))]
    if trained == numbers[: len(trained)] or given == numbers[: len(given)]:
        return  # a data set without names
    for label, (theirs, ours) in enumerate(zip(trained, given, strict=False)):
        if theirs != ours:
            warnings.warn(
                f"label {label} is '{ours}' in the data, but '{theirs}' to the checkpoint: the "
                "figures compare different classes.",
                stacklevel=2,
            )
            return


def _foreign(config: DictConfig, options: dict[str, Any]) -> SaliencyModule:
    if NATIVE in config.methods:
        raise UserError(
            f"methods: '{NATIVE}' is the map of a trained model; {config.classifier} has none."
        )
    if not options["methods"]:
        raise UserError("methods: name at least one method.")
    return PostHocModule(classifier=build_classifier(config), **options)


def _try_on_one_image(module: SaliencyModule, data: WSOLDataModule, split: str) -> None:
    """Run every method once: what does not fit the classifier shows before the long run.

    Raises:
        UserError: If the data set has more classes than the classifier, or a method does not fit.
    """
    batch = data.dataloader(split).dataset.__getitems__([0])
    module.eval()
    for names in [[], *([name] for name in module.methods)]:
        try:
            with torch.no_grad():
                logits = module.maps(batch["image"], None, names)[1]
        except ValueError as error:
            what = f"methods: '{names[0]}' does not fit" if names else "the data does not fit"
            raise UserError(f"{what} this classifier: {error}") from None
    if data.num_classes > logits.shape[1]:
        raise UserError(
            f"{data.metadata}: has labels of {data.num_classes} classes, but the classifier knows "
            f"{logits.shape[1]}."
        )


class _Split(L.LightningDataModule):
    """One split of a data set, as the test split."""

    def __init__(self, data: WSOLDataModule, split: str) -> None:
        super().__init__()
        self.data = data
        self.split = split

    def test_dataloader(self) -> DataLoader:
        self.data.trainer = self.trainer  # knows the device
        return self.data.dataloader(self.split)


def _test(
    config: DictConfig, module: SaliencyModule, data: WSOLDataModule, studies: list[Study]
) -> Evaluated:
    folder = create_folder(config)
    options = (config.get("logger") or {}).values()
    loggers: list[Dashboard] = [instantiate(logger, run_dir=folder) for logger in options]
    try:
        for logger in loggers:
            logger.log_config(OmegaConf.to_container(config, resolve=True))
        evaluated = _score(config, module, data, studies, folder, loggers)
    except BaseException:
        for logger in loggers:
            logger.finish(failed=True)
        raise
    for logger in loggers:
        logger.finish()
    return evaluated


def _score(
    config: DictConfig,
    module: SaliencyModule,
    data: WSOLDataModule,
    studies: list[Study],
    folder: Path,
    loggers: list[Dashboard],
) -> Evaluated:
    table = folder / "images.csv"
    sheet = ContactSheet(folder / "pictures" / "maps.png", config.pictures.images)
    trainer = build_trainer(
        config,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        callbacks=[
            ImageTable(table),
            sheet,
            progress_bar("evaluate", _SECONDS),
        ],
    )
    if not config.studies_only:
        trainer.test(module, datamodule=_Split(data, config.split), verbose=False)
    if trainer.interrupted:
        raise KeyboardInterrupt
    written: list[Path] = []
    figures = dict(TEST_FIGURES)
    results: dict[str, dict[str, float]] = {k: dict(v) for k, v in module.results.items()}
    if trainer.is_global_zero:
        device = trainer.strategy.root_device
        further = run_studies(studies, config, module, data, folder, device)
        figures |= further.figures
        for name, values in further.results.items():
            results.setdefault(name, {}).update(values)
        curves = folder / "pictures" / "curves.png"
        plot_curves(curves, *module.curves)
        record = _record(config, module, data)
        pictures = [path for path in (curves, sheet.path) if path.is_file()]
        written = write_results(folder, results, record, config.split)
        written += [table] if table.is_file() else []
        written += pictures + further.written
        names = data.class_names
        report = Report(config.split, results, *module.curves, sheet.examples, names, pictures)
        _show(report, loggers)
    return Evaluated(folder, results, figures, written)


def _show(report: Report, loggers: list[Dashboard]) -> None:
    """Log what came out, under the names that training gives the figures of its test."""
    figures = {
        f"{report.split}/{method}/{name}": value
        for method, values in report.results.items()
        for name, value in values.items()
    }
    for logger in loggers:
        logger.log_metrics(figures, 0)
        logger.log_report(report)
        logger.save()


def _record(config: DictConfig, module: SaliencyModule, data: WSOLDataModule) -> dict[str, Any]:
    """What the figures belong to."""
    source = {key: config[key] for key in ("checkpoint", "classifier", "weights", "layer")}
    source["limit_test_batches"] = config.trainer.get("limit_test_batches")
    return {
        **{key: str(value) for key, value in source.items() if value is not None},
        "explained": module.explained,
        "mask_color": config.evaluate.mask_color,
        "mean": list(data.mean),
        "std": list(data.std),
        "box_threshold": float(module.box_threshold),
        "tested_on": data.supervision(config.split),
    }

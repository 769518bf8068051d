"""Test of the maps of a trained model or of any classifier, and its results on disk."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
from hydra.utils import instantiate
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from torch.utils.data import DataLoader

from learned_saliency.datamodules import WSOLDataModule
from learned_saliency.errors import Stopped
from learned_saliency.metrics import Figure
from learned_saliency.pipeline.cli import UserError, check_complete, check_values, nearest
from learned_saliency.pipeline.evaluation.inputs import trained_options
from learned_saliency.pipeline.evaluation.studies import Study, build_studies, run_studies
from learned_saliency.pipeline.evaluation.unfinished import (
    drop_if_nothing_is_done,
    open_folder,
    remove,
    unfinished,
)
from learned_saliency.pipeline.reports import Results, plot_curves, write_intervals, write_results
from learned_saliency.pipeline.runs import (
    Checkpoint,
    Subject,
    build_data,
    build_evaluation,
    build_explained,
    build_trainer,
    check_hardware,
    check_limits,
    check_measurements,
    has_function,
    known_names,
    located_data,
    method_names,
    read_subject,
    subject_record,
    target_record,
    try_methods,
    with_class_files,
)
from learned_saliency.trainers import (
    TEST_FIGURES,
    ContactSheet,
    Dashboard,
    ImageTable,
    JournaledTest,
    KeepSignals,
    Report,
    SaliencyModule,
    progress_bar,
)

CONFIG_NAME = "evaluate"
_STAGES = {"val": "validate", "test": "test"}  # Lightning's names for the use of a split
_SECONDS = 20.0  # between lines of progress
_ABSENT = object()


class EvaluationResult(NamedTuple):
    """Result of an evaluation.

    Attributes:
        folder: Folder of the written files.
        results: Metrics by method, fractions.
        figures: Declarations of these metrics.
        written: Paths of the files.
    """

    folder: Path
    results: Results
    figures: Mapping[str, Figure]
    written: list[Path]


def evaluate(
    config: DictConfig,
    opened: Callable[[Path], None] = lambda folder: None,
    given: Collection[str] = (),
) -> EvaluationResult:
    """Test all configured methods in one pass over a split, then run the studies.

    Args:
        config: See ``configs/evaluate.yaml``.
        opened: Called with the folder before the work begins.
        given: Keys such as ``data.crop_size`` that a person gave a value, which therefore counts
            more than the one that the checkpoint was trained with; see `trained_options`.

    Raises:
        UserError: If the configuration, a checkpoint, the weights or a method do not fit.
        DataError: If the data set is wrong.
    """
    if config.studies_only and not config.studies:
        raise UserError("studies_only=true leaves nothing to do: name some, studies=[removal].")
    check_values(config)
    subject = read_subject(config, "evaluate.py")
    _check_function(config)
    chosen = "_target_" in (config.get("data") or {})
    config = with_data(with_class_files(config), subject.checkpoint)
    check_values(config)  # with those of the checkpoint
    check_hardware(config.trainer)
    options = build_evaluation(config, _class_names(config, subject))
    studies = build_studies(config)
    own = trained_options(chosen, config, subject, given)
    data = build_data(config, _STAGES[config.split], limit=config.limit, **own)
    check_limits(config.trainer, data, {"test": config.split})
    supervision = data.supervision(config.split)
    truth = {need for need in ("boxes", "masks") if supervision[need]}
    check_measurements(options["faithfulness"], truth | {"method"})
    options |= {"mean": data.mean, "std": data.std}
    module = build_explained(config, subject, method_names(config), **options)
    _check_studies(studies, module, data, config.split)
    _try_on_one_image(module, data, config.split)
    file = config.weights if subject.checkpoint is None else subject.checkpoint.path
    path = None if file is None else Path(file).expanduser()
    folder = open_folder(config, path, supervision)
    opened(folder)
    return _test(config, module, data, studies, folder)


def _class_names(config: DictConfig, subject: Subject) -> list[str] | None:
    """Find the names of the explained network's classes, where they are known beforehand."""
    return known_names(config) if subject.checkpoint is None else subject.checkpoint.class_names


def _check_function(config: DictConfig) -> None:
    """Check that nothing is asked for that needs classes where ``target`` names a function.

    Raises:
        UserError: If it is.
    """
    if has_function(config) and config.studies:
        raise UserError(
            f"studies=[{','.join(config.studies)}]: look at classes, but target={config.target} "
            "gives scores of its own; leave one of them out."
        )


def _check_studies(
    studies: Sequence[Study], module: SaliencyModule, data: WSOLDataModule, split: str
) -> None:
    """Check that module and data suit the studies.

    Raises:
        UserError: If they do not.
    """
    for study in studies:
        if study.needs_labels and not data.num_labeled(split):
            raise UserError(
                f"studies=[{study.name}]: compares with true classes, but no image of {split} has "
                "one that the network knows; leave the study out."
            )
        study.check_module(module)
        study.check_data(data)


def with_data(config: DictConfig, checkpoint: Checkpoint | None) -> DictConfig:
    """Return the configuration with the checkpoint's data set where none was chosen.

    Raises:
        UserError: If there is no data set, a key of it does not exist, or a value is missing.
    """
    given = config.get("data") or OmegaConf.create()
    if "_target_" not in given:
        if checkpoint is None:
            raise UserError("data=... has no value: with classifier=... choose a data set: wsol.")
        data = _adapted(checkpoint, given)  # some methods refer to it
        now = {"data": data, "output_dir": config.output_dir}  # the folder that was announced
        config = OmegaConf.create(OmegaConf.to_container(config) | now)
    check_complete(config)
    return config


def _adapted(checkpoint: Checkpoint, given: DictConfig) -> DictConfig:
    """Return the data set of a checkpoint, here, with some of its values replaced."""
    own = checkpoint.config.data
    for key in _leaves(given):
        if OmegaConf.select(own, key, default=_ABSENT) is _ABSENT:
            known = list(_leaves(own))
            raise UserError(f"data.{key} is no key of the configuration{nearest(key, known)}.")
    names = given.get("class_names")
    if names is not None and len(names) != checkpoint.num_classes:
        raise UserError(
            f"data.class_names: names {len(names)} classes, but {checkpoint.path} knows "
            f"{checkpoint.num_classes}."
        )
    if isinstance(own.class_names, str) and "class_names" not in given:
        raise UserError(
            f"{checkpoint.path}: names a file of class names; give your own by "
            "data.class_names=FILE."
        )
    return located_data(own, given, checkpoint.path)


def _leaves(node: DictConfig, prefix: str = "") -> list[str]:
    found: list[str] = []
    for key, value in node.items_ex(resolve=False):
        name = f"{prefix}{key}"
        found += _leaves(value, f"{name}.") if isinstance(value, DictConfig) else [name]
    return found


def _try_on_one_image(module: SaliencyModule, data: WSOLDataModule, split: str) -> None:
    """Run every method on the first image of a split; see `try_methods`.

    Raises:
        UserError: If the data set has more classes than the classifier, or a method does not fit.
    """
    batch = data.dataloader(split).dataset.__getitems__([0])
    known = try_methods(module, batch["image"], what="data")
    if not module.has_classes and module.explained == "predicted":
        return  # labels are of other things than the scores
    if data.num_classes > known and not module.has_classes:
        raise UserError(
            f"target: gives {known} scores, but {data.metadata} has labels of {data.num_classes} "
            "classes; evaluate.explained=predicted explains the largest score, whatever the label."
        )
    if data.num_classes > known:
        raise UserError(
            f"{data.metadata}: has labels of {data.num_classes} classes, but the classifier knows "
            f"{known}."
        )


class _Split(L.LightningDataModule):
    """Data module whose test split is one split of another data module."""

    def __init__(self, data: WSOLDataModule, split: str) -> None:
        super().__init__()
        self.data = data
        self.split = split
        self.done: Set[int] = frozenset()

    def leave_out(self, done: Set[int]) -> None:
        """Leave out the images at these places."""
        self.done = done

    def test_dataloader(self) -> DataLoader:
        self.data.trainer = self.trainer  # the trainer knows the device
        return self.data.dataloader(self.split, self.done)


def _test(
    config: DictConfig,
    module: SaliencyModule,
    data: WSOLDataModule,
    studies: list[Study],
    folder: Path,
) -> EvaluationResult:
    """Score the maps; close the loggers and keep what is done, however it ends."""
    options = (config.get("logger") or {}).values() if rank_zero_only.rank == 0 else ()
    loggers: list[Dashboard] = [instantiate(logger, run_dir=folder) for logger in options]
    try:
        for logger in loggers:
            logger.log_config(OmegaConf.to_container(config, resolve=True))
        evaluated = _score(config, module, data, studies, folder, loggers)
    except BaseException as error:
        for logger in loggers:
            logger.finish(failed=True)
        if rank_zero_only.rank == 0 and not isinstance(error, Stopped):
            drop_if_nothing_is_done(folder)
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
) -> EvaluationResult:
    """Test the module and run the studies in all processes; the first one writes the results."""
    kept = unfinished(folder)
    table = ImageTable(folder / "images.csv", kept / "test")
    pictures = folder / "pictures"
    sheet = ContactSheet(pictures / "maps.png", config.pictures.images, data.class_names)
    tested = _Split(data, config.split)
    journal = JournaledTest(kept / "test", tested.leave_out, table, sheet)
    bar = progress_bar("evaluate", _SECONDS)
    trainer = build_trainer(
        config,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        callbacks=[KeepSignals(), table, sheet, journal, bar],
    )
    if config.studies_only:
        trainer.limit_test_batches = 0  # the processes meet, and nothing is tested
    trainer.test(module, datamodule=tested, verbose=False)
    if trainer.interrupted:
        raise KeyboardInterrupt
    folder = trainer.strategy.broadcast(folder)
    device = trainer.strategy.root_device
    further = run_studies(studies, config, module, data, folder, unfinished(folder), device)
    results: dict[str, dict[str, float]] = {k: dict(v) for k, v in module.results.items()}
    for name, values in further.results.items():
        results.setdefault(name, {}).update(values)
    figures = TEST_FIGURES | further.figures
    written: list[Path] = []
    if trainer.is_global_zero:
        plot_curves(pictures / "curves.png", *module.curves, module.floors)
        drawn = [path for path in (pictures / "curves.png", sheet.path) if path.is_file()]
        written = write_results(folder, results, _record(config, module, data), config.split)
        if table.path.is_file():
            written += [table.path]
            written += [write_intervals(table.path, folder / "intervals.csv", config.seed)]
        written += drawn + further.written
        names = data.class_names
        report = Report(config.split, results, *module.curves, sheet.examples, names, drawn)
        _show(report, loggers)
        remove(folder)
    return EvaluationResult(folder, results, figures, written)


def _show(report: Report, loggers: list[Dashboard]) -> None:
    """Log the results under the names that training gives the metrics of its test."""
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
    """Record the origin of the metrics."""
    limit = config.trainer.get("limit_test_batches")
    return {
        **subject_record(config),
        **({} if limit is None else {"limit_test_batches": str(limit)}),
        **({} if config.limit is None else {"limit": config.limit}),
        "explained": module.explained if data.num_labeled(config.split) else "predicted",
        **target_record(config, module.methods),
        "mask_color": config.evaluate.mask_color,
        "mean": list(data.mean),
        "std": list(data.std),
        "box_threshold": float(module.box_threshold),
        "tested_on": data.supervision(config.split),
    }

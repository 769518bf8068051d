"""Training of a model stage by stage, its test, and the folder with all results."""

from __future__ import annotations

import shlex
import shutil
import signal
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from learned_saliency.errors import Stopped
from learned_saliency.pipeline.cli import UserError, find_resume_point, origin_of
from learned_saliency.pipeline.reports import (
    Results,
    classes_record,
    model_card_path,
    plot_curves,
    read_intervals,
    read_results,
    told_below_floors,
    write_model_card,
    write_per_image,
    write_report_files,
    write_results,
)
from learned_saliency.pipeline.runs import (
    FIRST_STAGE,
    build_network,
    package_versions,
    read_checkpoint,
    stage_config,
    target_record,
    without_pretraining,
    write_record,
)
from learned_saliency.pipeline.training import slurm
from learned_saliency.pipeline.training.checks import stage_key
from learned_saliency.pipeline.training.plan import Plan, make_plan
from learned_saliency.pipeline.training.resume import is_finished
from learned_saliency.pipeline.training.selection import BY_BOXES
from learned_saliency.pipeline.training.stage import (
    TrainedStage,
    drop_rows,
    fit_stage,
    open_loggers,
)
from learned_saliency.pipeline.training.trial import naming_part
from learned_saliency.trainers import (
    NATIVE,
    TEST_FIGURES,
    ContactSheet,
    Dashboard,
    Gallery,
    ImageTable,
    Report,
)


class TrainingResult(NamedTuple):
    """Result of a training.

    Attributes:
        folder: The run's folder.
        results: Metrics on the test split by method, fractions; empty without a test.
        written: Paths in the folder to look at.
        val: Metrics of the native map on `val` in the epoch that is kept, by name; empty where
            nothing was trained.
    """

    folder: Path
    results: Results
    written: list[Path]
    val: dict[str, float] = {}  # noqa: RUF012 - nobody changes it


def train(config: DictConfig, named: Collection[str] = ()) -> TrainingResult:
    """Train the configured model, test it and write the results.

    For a model that is built on a classifier (``model.first_stage``) the classifier is trained
    first, unless ``classifier`` names one. ``resume`` continues an interrupted run in its own
    folder.

    Args:
        config: The configuration.
        named: Keys that the user has given; other keys of the data set's images are those of a
            classifier from outside, if ``classifier`` names one.

    Raises:
        UserError: If the configuration or a checkpoint is wrong, before any training.
        DataError: If the data set is wrong, likewise.
    """
    try:
        slurm.listen()
        return _train(config, named)
    except Stopped as stopped:
        if rank_zero_only.rank == 0 and stopped.signal == signal.SIGUSR1:
            slurm.requeue()
        raise


def _train(config: DictConfig, named: Collection[str]) -> TrainingResult:
    point = find_resume_point(config.resume) if config.resume else None
    resumed = read_checkpoint(point.checkpoint) if point and point.checkpoint else None
    if point and rank_zero_only.rank == 0:
        at = f"goes on at {point.checkpoint}" if resumed else "has no checkpoint yet and begins"
        print(f"{point.folder}: the training {at}", file=sys.stderr)
    if resumed is not None and is_finished(config, resumed, point.folder):
        return _finished(config, point.folder)
    if resumed is not None and resumed.stage and (point.folder / "checkpoints/last.ckpt").is_file():
        raise UserError(
            f"resume={point.checkpoint}: the run has begun its next stage, which would be lost: "
            f"resume={point.folder} goes on with that; classifier={point.checkpoint} begins a new "
            "run on this classifier."
        )
    plan = make_plan(config, resumed, named)
    try:
        return _run(plan)
    except Stopped as stopped:
        words = shlex.quote(f"resume={plan.folder}")
        raise Stopped(stopped.signal, f"to go on: python train.py {words}") from None


def _finished(config: DictConfig, folder: Path) -> TrainingResult:
    """Say that nothing is left to do; return what is there."""
    key = origin_of(config, "model.epochs")
    print(
        f"{folder}: nothing is left to do, its epochs are trained; {key}=... goes on to more than "
        f"{config.model.epochs}.",
        file=sys.stderr,
    )
    results = read_results(folder) if config.test else {}
    names = ("report.html", "results.json", "results.csv", "metrics.csv", "pictures")
    return TrainingResult(folder, results, [folder / n for n in names if (folder / n).exists()])


class _TestFiles(NamedTuple):
    """Writers of what a test leaves beside its metrics."""

    sheet: ContactSheet
    table: ImageTable
    gallery: Gallery


def _run(plan: Plan) -> TrainingResult:
    if rank_zero_only.rank == 0:
        slurm.note_run(plan.folder)
    path, pictures = plan.folder / "pictures" / "test_maps.png", plan.config.pictures
    files = _TestFiles(
        ContactSheet(path, pictures.images, plan.data.class_names),
        ImageTable(plan.folder / "images.csv", plan.folder / "unfinished"),
        Gallery(pictures.gallery),
    )
    opened: list[Dashboard] = []
    try:
        trained = _fit_stages(plan, files, opened)
        result = _test(plan, trained, files) if plan.config.test else _untested(plan, trained)
    except BaseException:
        _close(opened, failed=True)
        raise
    _close(opened)
    return result


def _fit_stages(plan: Plan, files: _TestFiles, opened: list[Dashboard]) -> TrainedStage:
    """Fit the remaining stages; each but the last gives the classifier of the next."""
    model, classifier, resumed = plan.config.model, plan.classifier, plan.resumed
    if plan.goes_on and rank_zero_only.rank == 0:
        write_record(plan.folder, plan.record)  # first: the rows will be missed from here on
        drop_rows(plan.folder, resumed)
    for stage in plan.stages:
        # Initial weights depend on the run's seed alone, not on what ran before.
        L.seed_everything(plan.config.seed, workers=True, verbose=False)
        begun = resumed is not None  # its weights are in the checkpoint
        described = stage_config(without_pretraining(model) if begun else model, stage)
        with naming_part(stage_key(stage), ".network"):  # the trial left its pretrained weights out
            network = build_network(described, plan.data.num_classes, classifier)
        if stage and not model[FIRST_STAGE].epochs:  # a classifier that comes trained
            classifier = network
            continue
        loggers = open_loggers(plan, stage, resumed)
        opened += loggers
        trained = fit_stage(plan, stage, network, resumed, loggers, list(files))
        classifier, resumed = trained.module.network, None
        if stage:  # the last stage's is stored with the metrics of its test
            _store(trained)
    return trained


def _test(plan: Plan, trained: TrainedStage, files: _TestFiles) -> TrainingResult:
    """Score the module on the test split, once, and write the results."""
    module, trainer, best, facts, *_ = trained
    if trainer.is_global_zero:
        shutil.rmtree(files.table.parts, ignore_errors=True)  # the parts of a test that was ended
    trainer.strategy.barrier()
    trainer.test(module, datamodule=plan.data, verbose=False)
    written = [best, plan.folder / "metrics.csv", plan.folder / "pictures"]
    if trainer.is_global_zero:
        curves = plan.folder / "pictures" / "test_curves.png"
        plot_curves(curves, *module.curves, module.floors)
        facts["metrics"]["test"] = module.results
        card = write_model_card(best, facts)
        record = _record(plan, trained)
        written = [*write_results(plan.folder, module.results, record), card, *written]
        sheet, names = files.sheet, plan.data.class_names
        write_per_image(plan.folder, files.gallery.images, names, plan.config.seed)
        if told := told_below_floors(module.results, TEST_FIGURES, read_intervals(plan.folder)):
            print(f"{facts['method']}: warning: {told}", file=sys.stderr)
        reports = write_report_files(plan.folder)
        written = [*reports, *written]
        shutil.rmtree(files.table.parts, ignore_errors=True)
        pictures = [path for path in (curves, sheet.path) if path.is_file()]
        shown = sheet.examples, names, pictures, next(iter(reports), None)
        report = Report("test", module.results, *module.curves, *shown)
        write_record(plan.folder, plan.record, tested=True)
        for logger in trainer.loggers:
            logger.log_report(report)
        _store(trained)
    return TrainingResult(plan.folder, module.results, written, trained.val)


def _untested(plan: Plan, trained: TrainedStage) -> TrainingResult:
    _store(trained)
    written = [trained.best, plan.folder / "metrics.csv", plan.folder / "pictures"]
    return TrainingResult(plan.folder, {}, written, trained.val)


def _record(plan: Plan, trained: TrainedStage) -> dict[str, Any]:
    """Record the origin of the metrics of a test."""
    chosen, choice = trained.facts["metrics"]["val"], trained.choice
    regret = {} if not trained.regret else {"regret": _regret(trained)}
    learned = plan.learned[""].learned_from
    experiment = plan.record["experiment"]
    return {
        **({} if experiment is None else {"experiment": experiment}),
        "model": plan.config.model.name,
        "data": plan.config.data.name,
        "seed": plan.config.seed,
        "checkpoint": str(trained.best.relative_to(plan.folder)),
        "selection": {
            "monitor": next(iter(chosen), None),
            "asked": choice.asked,
            "value": next(iter(chosen.values()), None),
            "threshold": trained.facts["box_threshold"],
            "threshold_by": trained.facts["threshold_chosen_by"],
            **choice.supervision,
        },
        **{key: trained.facts[key] for key in ("training", "rising") if trained.facts[key]},
        **({} if learned is None else {"learned_from": learned}),
        **regret,
        "explained": trained.module.explained if plan.data.num_labeled("test") else "predicted",
        **target_record(plan.config, trained.module.methods),
        "tested_on": plan.data.supervision("test"),
        **classes_record(plan.data.class_names, trained.module.class_precision),
        "splits": trained.facts["splits"],
        "versions": package_versions(),
    }


def _regret(trained: TrainedStage) -> dict[str, Any]:
    """Compare a choice without boxes with the choice by boxes, in MaxBoxAcc.

    The checkpoint is compared on ``val``, whose boxes would have chosen it; the threshold on
    ``test`` with the best one there, which nothing chooses.
    """
    threshold = trained.facts["box_threshold"]
    found = {"checkpoint": {"split": "val", "metric": BY_BOXES, **trained.regret}}
    boxes, _ = trained.module.curves
    if NATIVE in boxes:
        accuracy = boxes[NATIVE]["largest_contour_50"]
        places = boxes[NATIVE]["thresholds"]
        at = int(torch.searchsorted(places, threshold + 1e-6, right=True)) - 1
        chosen, best = float(accuracy[at]), float(accuracy.max())
        found["threshold"] = {"split": "test", "metric": BY_BOXES, "chosen": chosen}
        found["threshold"] |= {"best": best, "regret": best - chosen}
    return found


def _store(trained: TrainedStage) -> None:
    """Store the checkpoint and its card on the dashboards."""
    _, trainer, best, facts, *_ = trained
    if not trainer.is_global_zero:
        return
    aliases = ["best", f"epoch-{facts['epoch'] + 1}"]
    for logger in trainer.loggers:
        logger.log_checkpoint(facts["method"], [best, model_card_path(best)], aliases, facts)


def _close(loggers: list[Dashboard], failed: bool = False) -> None:
    for logger in loggers:
        logger.finish(failed)

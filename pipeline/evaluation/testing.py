"""Pass over the split and what is written of it: table, rows of images, pictures, dashboards."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from learned_saliency.attribution import FoldedBatchNorm
from learned_saliency.datamodules import WSOLDataModule
from learned_saliency.errors import Stopped
from learned_saliency.metrics import Figure
from learned_saliency.pipeline.evaluation.bundle import WrittenBundle, write_evaluation
from learned_saliency.pipeline.evaluation.data import EvaluatedSplit
from learned_saliency.pipeline.evaluation.given_maps import maps_record
from learned_saliency.pipeline.evaluation.kept import KeptMethods
from learned_saliency.pipeline.evaluation.studies import Study, run_studies
from learned_saliency.pipeline.evaluation.unfinished import (
    drop_if_nothing_is_done,
    remove,
    unfinished,
)
from learned_saliency.pipeline.reports import (
    Results,
    classes_record,
    figures_record,
    plot_curves,
    read_intervals,
    told_below_floors,
    write_per_image,
    write_report_files,
    write_results,
)
from learned_saliency.pipeline.runs import (
    Explaining,
    MapEffect,
    build_trainer,
    explaining_record,
    package_versions,
    subject_record,
    target_record,
)
from learned_saliency.trainers import (
    TEST_FIGURES,
    ContactSheet,
    Dashboard,
    Gallery,
    ImageTable,
    JournaledTest,
    KeepSignals,
    MapParts,
    Report,
    SaliencyModule,
    progress_bar,
)

_SECONDS = 20.0  # between lines of progress


class EvaluationResult(NamedTuple):
    """Result of an evaluation.

    Attributes:
        folder: Folder of the written files.
        results: Metrics by method, fractions.
        figures: Declarations of these metrics.
        written: Paths of the files.
        bundle: The bundle, where one was asked for.
    """

    folder: Path
    results: Results
    figures: Mapping[str, Figure]
    written: list[Path]
    bundle: WrittenBundle | None = None


def test_and_write(
    config: DictConfig,
    module: SaliencyModule,
    data: WSOLDataModule,
    studies: list[Study],
    folder: Path,
    kept: KeptMethods,
    learned: Mapping[str, Any],
) -> EvaluationResult:
    """Score the maps; close the loggers and keep what is done, however it ends.

    Args:
        config: The evaluation's configuration.
        module: The module that explains.
        data: The data set.
        studies: The chosen studies.
        folder: Where the results go.
        kept: Work of earlier evaluations.
        learned: What the results have to record of a training that saw boxes or masks.
    """
    options = (config.get("logger") or {}).values() if rank_zero_only.rank == 0 else ()
    loggers: list[Dashboard] = [instantiate(logger, run_dir=folder) for logger in options]
    try:
        for logger in loggers:
            logger.log_config(OmegaConf.to_container(config, resolve=True))
        evaluated = _score(config, module, data, studies, folder, kept, loggers, learned)
    except BaseException as error:
        for logger in loggers:
            logger.finish(failed=True)
        if rank_zero_only.rank == 0 and not isinstance(error, Stopped):
            drop_if_nothing_is_done(folder)
        raise
    for logger in loggers:
        logger.finish()
    return evaluated


class _Parts(NamedTuple):
    """Callbacks that keep what a test finds, image by image; the journal stands behind the others.

    Attributes:
        table: Table of the images.
        sheet: Contact sheet.
        gallery: Pictures of the page.
        maps: Maps of the bundle; None without one.
        journal: Journal of the others.
        tested: The data without the images that are done.
    """

    table: ImageTable
    sheet: ContactSheet
    gallery: Gallery
    maps: MapParts | None
    journal: JournaledTest
    tested: EvaluatedSplit

    @classmethod
    def of(
        cls, config: DictConfig, data: WSOLDataModule, folder: Path, kept: KeptMethods
    ) -> _Parts:
        """Make them for an evaluation in a folder."""
        work = unfinished(folder) / "test"
        table = ImageTable(folder / "images.csv", work)
        path = folder / "pictures" / "maps.png"
        sheet = ContactSheet(path, config.pictures.images, data.class_names)
        gallery = Gallery(config.pictures.gallery)
        maps = None if config.bundle is None else MapParts(work)
        tested = EvaluatedSplit(data, config.split)
        everything = frozenset(range(len(data.image_ids(config.split))))
        known = kept.taken, everything
        journal = JournaledTest(work, tested.leave_out, table, sheet, gallery, *known, maps)
        return cls(table, sheet, gallery, maps, journal, tested)

    def callbacks(self) -> list[Callback]:
        """List the callbacks in their order."""
        maps = [] if self.maps is None else [self.maps]
        return [KeepSignals(), self.table, self.sheet, self.gallery, *maps, self.journal]


def _score(
    config: DictConfig,
    module: SaliencyModule,
    data: WSOLDataModule,
    studies: list[Study],
    folder: Path,
    kept: KeptMethods,
    loggers: list[Dashboard],
    learned: Mapping[str, Any],
) -> EvaluationResult:
    """Test the module and run the studies in all processes; the first one writes the results."""
    parts = _Parts.of(config, data, folder, kept)
    trainer = build_trainer(
        config,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        callbacks=[*parts.callbacks(), progress_bar("evaluate", _SECONDS)],
    )
    if config.studies_only:
        trainer.limit_test_batches = 0  # the processes meet, and nothing is tested
    effect, folded = _explaining(config, module, data, trainer.strategy.root_device, kept)
    trainer.test(module, datamodule=parts.tested, verbose=False)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if folded is not None:
        folded.undo()  # studies look at the network as it is
    folder = trainer.strategy.broadcast(folder)
    device = trainer.strategy.root_device
    further = run_studies(studies, config, module, data, folder, unfinished(folder), device)
    results = _joined(module.results, further.results)
    written, bundle = list[Path](), None
    if trainer.is_global_zero:
        curves, sheet = folder / "pictures" / "curves.png", parts.sheet
        plot_curves(curves, *module.curves, module.floors)
        drawn = [path for path in (curves, sheet.path) if path.is_file()]
        record = _record(config, module, data, effect) | learned | figures_record(further.figures)
        written = write_results(folder, results, record, config.split)
        written += write_per_image(folder, parts.gallery.images, data.class_names, config.seed)
        figures, intervals = TEST_FIGURES | further.figures, read_intervals(folder)
        if told := told_below_floors(results, figures, intervals):
            print(f"evaluate.py: warning: {told}", file=sys.stderr)
        reports = write_report_files(folder)
        written = reports + written + drawn + further.written
        shown = sheet.examples, data.class_names, drawn, next(iter(reports), None)
        _show(Report(config.split, results, *module.curves, *shown), loggers)
        kept.write(folder, parts.journal.kept)
        bundle = write_evaluation(config, module, data, folder, parts.maps)
        remove(folder)
    return EvaluationResult(folder, results, TEST_FIGURES | further.figures, written, bundle)


def _joined(results: Results, further: Results) -> Results:
    """Join the metrics of the test and of the studies by method."""
    rows = dict.fromkeys([*results, *further])
    return {name: {**results.get(name, {}), **further.get(name, {})} for name in rows}


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


def _explaining(
    config: DictConfig,
    module: SaliencyModule,
    data: WSOLDataModule,
    device: torch.device,
    kept: KeptMethods,
) -> tuple[MapEffect | None, FoldedBatchNorm | None]:
    """Apply the options of explaining; say how they change the maps of the first images."""
    options = Explaining.of(config)
    if config.studies_only or not options.words or not module.has_scores:
        return None, None
    dataset = data.dataloader(config.split).dataset
    batch = dataset.__getitems__(list(range(min(data.eval_batch_size, len(dataset)))))
    module.to(device)
    if rank_zero_only.rank == 0 and (warning := options.warning(device)) is not None:
        print(f"evaluate.py: {warning}", file=sys.stderr, flush=True)
    labels = batch["label"].to(device) if module.explained == "label" else None
    names = [name for name in module.methods if name not in kept.taken]
    effect, folded = options.compare(module, batch["image"].to(device), labels, names)
    if rank_zero_only.rank == 0:
        print(f"evaluate.py: {options}: {effect.line()}", file=sys.stderr)
    return effect, folded


def _record(
    config: DictConfig, module: SaliencyModule, data: WSOLDataModule, effect: MapEffect | None
) -> dict[str, Any]:
    """Record the origin of the metrics."""
    limit = config.trainer.get("limit_test_batches")
    return {
        **subject_record(config),
        **({} if limit is None else {"limit_test_batches": str(limit)}),
        **({} if config.limit is None else {"limit": config.limit}),
        "explained": module.explained if data.num_labeled(config.split) else "predicted",
        **target_record(config, module.methods),
        **maps_record(config, module.given),
        **explaining_record(Explaining.of(config), effect),
        "mask_color": config.evaluate.mask_color,
        "mean": list(data.mean),
        "std": list(data.std),
        "box_threshold": float(module.box_threshold),
        "tested_on": data.supervision(config.split),
        **classes_record(data.class_names, module.class_precision),
        "versions": package_versions(),
    }

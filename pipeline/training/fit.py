"""Trains a model stage by stage, tests it, and leaves a folder that says all about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from omegaconf import DictConfig, OmegaConf
from torch import nn

from learned_saliency.datamodules import WSOLDataModule
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.reports import (
    Results,
    model_card_path,
    plot_curves,
    write_model_card,
    write_results,
)
from learned_saliency.pipeline.runs import (
    FIRST_STAGE,
    AtomicCheckpointIO,
    Checkpoint,
    RunRecord,
    build_data,
    build_evaluation,
    build_module,
    build_network,
    build_trainer,
    checkpoint_facts,
    create_folder,
    load_network,
    load_weights,
    read_checkpoint,
)
from learned_saliency.trainers import (
    NATIVE,
    ContactSheet,
    Dashboard,
    Divergence,
    Pictures,
    Report,
    SaliencyModule,
    Throughput,
    progress_bar,
)


class Run(NamedTuple):
    """What a training leaves.

    Attributes:
        folder: The run's folder.
        results: Figures on the test split by method, fractions.
        written: What to look at in the folder.
    """

    folder: Path
    results: Results
    written: list[Path]


class Fitted(NamedTuple):
    """A trained stage.

    Attributes:
        module: With its best weights.
        trainer: That trained it.
        best: Its best checkpoint.
        facts: What is to be known about that one, for its model card.
    """

    module: SaliencyModule
    trainer: L.Trainer
    best: Path
    facts: dict[str, Any]


def train(config: DictConfig) -> Run:
    """Train the configured model, test it and write the results.

    A model that is built on a classifier (``model.classifier``) has that one trained first, unless
    ``classifier`` names a checkpoint. ``resume`` continues an interrupted run in its own folder.

    Raises:
        UserError: If the configuration or a checkpoint is wrong, before any training.
        DataError: If the data set is wrong, likewise.
    """
    _check_clipping(config)
    resumed = read_checkpoint(config.resume) if config.resume else None
    given = _given_classifier(config) if config.classifier else None
    evaluation = build_evaluation(config)
    data = build_data(config)
    check_selection(config.model, data)
    for checkpoint in (resumed, given):
        if checkpoint is not None:
            _check_classes(checkpoint, data)
    folder = resumed.run_folder if resumed else create_folder(config)
    training = Training(config, data, folder, evaluation)
    try:
        run = training.run(resumed, load_network(given) if given else None)
    except BaseException:
        training.close(failed=True)
        raise
    training.close()
    return run


class Training:
    """The stages of a run, over one data module and in one folder."""

    def __init__(
        self,
        config: DictConfig,
        data: WSOLDataModule,
        folder: Path,
        evaluation: dict[str, Any],
    ) -> None:
        self.config = config
        self.data = data
        self.folder = folder
        self.evaluation = evaluation
        self.sheet = ContactSheet(folder / "pictures" / "test_maps.png", config.pictures.images)
        self._opened: list[Dashboard] = []

    def run(self, resumed: Checkpoint | None, classifier: nn.Module | None) -> Run:
        """Fit the stages that are left, then test the best checkpoint of the last one."""
        model, classes = self.config.model, self.data.num_classes
        on_first = FIRST_STAGE in model and not (resumed is not None and not resumed.stage)
        if on_first and classifier is None:
            self._seed()
            classifier = build_network(model[FIRST_STAGE], classes)
            if model[FIRST_STAGE].epochs:  # none for a classifier that comes trained
                classifier = self.fit(FIRST_STAGE, classifier, resumed).module.network
            resumed = None
        self._seed()
        network = build_network(model, classes, classifier)
        return self.test(self.fit("", network, resumed))

    def close(self, failed: bool = False) -> None:
        """Close the loggers."""
        for logger in self._opened:
            logger.finish(failed)

    def _seed(self) -> None:
        """Make initial weights depend on the run's seed alone, not on what ran before."""
        L.seed_everything(self.config.seed, workers=True, verbose=False)

    def fit(self, stage: str, network: nn.Module, resumed: Checkpoint | None) -> Fitted:
        """Train one stage, go back to its best checkpoint and write that one's model card.

        Args:
            stage: Key of the stage in the model's configuration; empty for the last one.
            network: What is trained.
            resumed: Checkpoint of this stage to go on from.
        """
        model = self.config.model[stage] if stage else self.config.model
        module = build_module(model, network, **({} if stage else self.evaluation))
        if resumed is not None:
            load_weights(module, resumed)  # says what does not fit better than Lightning
        best, last = self._checkpoints(stage, model.monitor)
        trainer = build_trainer(
            self.config,
            max_epochs=model.epochs,
            default_root_dir=self.folder,
            plugins=[AtomicCheckpointIO()],
            logger=self._loggers(stage, resumed),
            callbacks=[best, last, *self._callbacks(stage, model)],
        )
        for logger in trainer.loggers:
            logger.log_config(OmegaConf.to_container(self.config, resolve=True))
        trainer.fit(
            module,
            datamodule=self.data,
            ckpt_path=resumed.path if resumed else None,
            weights_only=True,
        )
        if trainer.interrupted:
            raise KeyboardInterrupt
        trainer.strategy.barrier()
        path = Path(best.best_model_path or last.best_model_path)
        checkpoint = read_checkpoint(path)
        load_weights(module, checkpoint)
        facts = checkpoint_facts(checkpoint) | {
            "metrics": {"val": _score(best)},
            "parameters": sum(p.numel() for p in network.parameters()),
            "splits": [self.data.supervision(split) for split in ("train", "val", "test")],
            "stage": stage,
        }
        fitted = Fitted(module, trainer, path, facts)
        if trainer.is_global_zero:
            write_model_card(path, facts)
            if stage:  # the last one's is stored with the figures of its test
                self._store(fitted)
        return fitted

    def test(self, fitted: Fitted) -> Run:
        """Score the module on the test split, once, and write what came out."""
        module, trainer, best, facts = fitted
        trainer.test(module, datamodule=self.data, verbose=False)
        written = [best, self.folder / "metrics.csv", self.folder / "pictures"]
        if trainer.is_global_zero:
            record = {
                "model": self.config.model.name,
                "data": self.config.recipe.data,
                "seed": self.config.seed,
                "checkpoint": str(best.relative_to(self.folder)),
                "selection": {
                    "monitor": self.config.model.monitor,
                    **self.data.supervision("val"),
                },
                "tested_on": self.data.supervision("test"),
            }
            curves = self.folder / "pictures" / "test_curves.png"
            plot_curves(curves, *module.curves)
            facts["metrics"]["test"] = module.results
            written = [
                *write_results(self.folder, module.results, record),
                write_model_card(best, facts),
                *written,
            ]
            self._report(fitted, [p for p in (curves, self.sheet.path) if p.is_file()])
            self._store(fitted)
        return Run(self.folder, module.results, written)

    def _report(self, fitted: Fitted, pictures: list[Path]) -> None:
        """Show on the dashboards what came out of the test."""
        module, names = fitted.module, self.data.class_names
        examples = self.sheet.examples
        report = Report("test", module.results, *module.curves, examples, names, pictures)
        for logger in fitted.trainer.loggers:
            logger.log_report(report)

    def _store(self, fitted: Fitted) -> None:
        """Store the checkpoint and its card on the dashboards."""
        _, trainer, best, facts = fitted
        aliases = ["best", f"epoch-{facts['epoch'] + 1}"]
        for logger in trainer.loggers:
            logger.log_checkpoint(facts["method"], [best, model_card_path(best)], aliases, facts)

    def _checkpoints(self, stage: str, monitor: str) -> tuple[ModelCheckpoint, ModelCheckpoint]:
        """The best and the last one, written at an epoch's end after all that the module does."""
        options = {
            "dirpath": self.folder / "checkpoints" / stage,
            "enable_version_counter": False,
            "save_on_train_epoch_end": True,
        }
        monitor = f"val/{NATIVE}/{monitor}"
        return (
            ModelCheckpoint(filename="best", monitor=monitor, mode="max", **options),
            ModelCheckpoint(filename="last", **options),
        )

    def _loggers(self, stage: str, resumed: Checkpoint | None) -> list[Dashboard]:
        step = _logged_steps(resumed) if resumed else None
        loggers = [
            instantiate(logger, run_dir=self.folder, stage=stage, resume_step=step)
            for logger in self.config.logger.values()
        ]
        self._opened += loggers
        return loggers

    def _callbacks(self, stage: str, model: DictConfig) -> list[Callback]:
        return [
            Divergence(),
            RunRecord(self.config, stage, self.data),
            Throughput(),
            self.sheet,
            Pictures(
                self.folder / "pictures" / stage,
                count=self.config.pictures.images,
                methods=list(model.pictures),
            ),
            progress_bar(stage or model.name),
        ]


def _score(best: ModelCheckpoint) -> dict[str, float]:
    """What the checkpoint was chosen by, on ``val``: the figure's name and value."""
    name = str(best.monitor).rpartition("/")[2]
    return {} if best.best_model_score is None else {name: float(best.best_model_score)}


def check_selection(model: DictConfig, data: WSOLDataModule) -> None:
    """Check that ``val`` has the supervision that chooses the checkpoint of each stage.

    Raises:
        UserError: If the monitored metric needs boxes or masks that the split lacks.
    """
    for stage in [model[FIRST_STAGE], model] if FIRST_STAGE in model else [model]:
        name = stage.monitor
        if name == "pxap" and not data.has_masks("val"):
            raise UserError("model.monitor=pxap needs masks, but the split `val` has none.")
        if name not in ("pxap", "accuracy", "top5_accuracy") and not data.has_boxes("val"):
            raise UserError(
                f"model.monitor={name} needs boxes, but the split `val` has none: choose by "
                "model.monitor=pxap (masks) or model.monitor=accuracy (labels alone)."
            )


def _check_clipping(config: DictConfig) -> None:
    """Check that the trainer does not clip gradients of a model that steps by itself."""
    limit = config.trainer.get("gradient_clip_val")
    if limit is not None and "gradient_clip" in config.model.module:
        raise UserError(
            f"trainer.gradient_clip_val={limit}: model={config.model.name} clips by itself; "
            "set model.module.gradient_clip."
        )


def _logged_steps(checkpoint: Checkpoint) -> int:
    """Steps as loggers count them: batches, where several optimizers step in one of them, too."""
    return checkpoint.content["loops"]["fit_loop"]["epoch_loop.state_dict"]["_batches_that_stepped"]


def _given_classifier(config: DictConfig) -> Checkpoint:
    """The checkpoint that ``classifier`` names, checked to be what the model is built on."""
    if FIRST_STAGE not in config.model:
        raise UserError(f"classifier=... is given, but model={config.model.name} is built on none.")
    given = read_checkpoint(config.classifier)
    wanted = config.model[FIRST_STAGE].name
    if given.model.name != wanted:
        raise UserError(
            f"classifier={given.path}: holds a '{given.model.name}' model, not a '{wanted}' one."
        )
    theirs, ours = ({**c.backbone, "pretrained": None} for c in (given.config, config))
    if theirs != ours:
        raise UserError(
            f"classifier={given.path}: its backbone is {given.config.backbone.name} with other "
            f"settings than the configured {config.backbone.name}: choose the same backbone=..."
        )
    return given


def _check_classes(checkpoint: Checkpoint, data: WSOLDataModule) -> None:
    if checkpoint.num_classes != data.num_classes:
        raise UserError(
            f"{checkpoint.path}: was trained on {checkpoint.num_classes} classes, but the data set "
            f"has {data.num_classes}."
        )

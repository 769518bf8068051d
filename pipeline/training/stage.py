"""Stage of a training, in which a module is fitted and goes back to its best checkpoint."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from omegaconf import DictConfig, OmegaConf
from torch import nn

from learned_saliency.pipeline.reports import write_model_card
from learned_saliency.pipeline.runs import (
    AtomicCheckpointIO,
    Checkpoint,
    RunRecord,
    build_module,
    build_trainer,
    checkpoint_facts,
    load_weights,
    read_checkpoint,
    stage_config,
)
from learned_saliency.pipeline.training.plan import Plan
from learned_saliency.trainers import (
    MONITORS,
    NATIVE,
    Dashboard,
    Divergence,
    Pictures,
    SaliencyModule,
    Throughput,
    progress_bar,
)


class TrainedStage(NamedTuple):
    """A trained stage.

    Attributes:
        module: The module with its best weights.
        trainer: The trainer that trained the module.
        best: Path of the stage's best checkpoint.
        facts: Facts about the best checkpoint, for its model card.
    """

    module: SaliencyModule
    trainer: L.Trainer
    best: Path
    facts: dict[str, Any]


def fit_stage(
    plan: Plan,
    stage: str,
    network: nn.Module,
    resumed: Checkpoint | None,
    loggers: list[Dashboard],
    callbacks: list[Callback],
) -> TrainedStage:
    """Train one stage, go back to its best checkpoint and write the checkpoint's model card.

    Args:
        plan: The training.
        stage: `runs.CLASSIFIER`, or empty for the model itself.
        network: The network to train.
        resumed: Checkpoint of this stage to go on from.
        loggers: See `open_loggers`.
        callbacks: Further callbacks.
    """
    model = stage_config(plan.config.model, stage)
    module = build_module(model, network, **({} if stage else plan.evaluation))
    if resumed is not None:
        load_weights(module, resumed)  # its error names misfits better than Lightning's
    best, last = _checkpoints(plan.folder / "checkpoints" / stage, model.monitor)
    trainer = build_trainer(
        plan.config,
        max_epochs=model.epochs,
        default_root_dir=plan.folder,
        plugins=[AtomicCheckpointIO()],
        logger=loggers,
        callbacks=[best, last, *_callbacks(plan, stage, model), *callbacks],
    )
    for logger in trainer.loggers:
        logger.log_config(OmegaConf.to_container(plan.config, resolve=True))
    path = resumed.path if resumed else None
    trainer.fit(module, datamodule=plan.data, ckpt_path=path, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    trainer.strategy.barrier()
    checkpoint = read_checkpoint(best.best_model_path or last.best_model_path)
    load_weights(module, checkpoint)
    facts = _facts(plan, stage, checkpoint, best) | {
        "parameters": sum(p.numel() for p in network.parameters())
    }
    if trainer.is_global_zero:
        write_model_card(checkpoint.path, facts)
        _tell_choice(stage or model.name, facts, model.epochs)
    return TrainedStage(module, trainer, checkpoint.path, facts)


def _tell_choice(name: str, facts: dict[str, Any], epochs: int) -> None:
    """Say on stderr which epoch is kept, and by what."""
    for metric, value in facts["metrics"]["val"].items():
        print(
            f"{name}: epoch {facts['epoch'] + 1} of {epochs} is kept, chosen by {metric} of its "
            f"own map on val: {100 * value:.1f} %",
            file=sys.stderr,
        )


def open_loggers(plan: Plan, stage: str, resumed: Checkpoint | None) -> list[Dashboard]:
    """Make the loggers of a stage, which go on where a resumed run has stopped."""
    step = _logged_steps(resumed) if resumed else None
    return [
        instantiate(logger, run_dir=plan.folder, stage=stage, resume_step=step)
        for logger in plan.config.logger.values()
    ]


def _logged_steps(checkpoint: Checkpoint) -> int:
    """Count steps as loggers do: by batches, also where several optimizers step per batch."""
    return checkpoint.content["loops"]["fit_loop"]["epoch_loop.state_dict"]["_batches_that_stepped"]


def _checkpoints(folder: Path, monitor: str) -> tuple[ModelCheckpoint, ModelCheckpoint]:
    """Make the callbacks of the best and the last checkpoint, written at the end of an epoch."""
    options = {"dirpath": folder, "enable_version_counter": False, "save_on_train_epoch_end": True}
    mode = "min" if MONITORS[monitor].higher_is_better is False else "max"
    return (
        ModelCheckpoint(filename="best", monitor=f"val/{NATIVE}/{monitor}", mode=mode, **options),
        ModelCheckpoint(filename="last", **options),
    )


def _callbacks(plan: Plan, stage: str, model: DictConfig) -> list[Callback]:
    pictures = plan.folder / "pictures" / stage
    count, methods = plan.config.pictures.images, list(model.pictures)
    return [
        Divergence(),
        RunRecord(plan.config, plan.composed, stage, plan.data),
        Throughput(),
        Pictures(pictures, count, methods, plan.data.class_names),
        progress_bar(stage or model.name),
    ]


def _facts(plan: Plan, stage: str, checkpoint: Checkpoint, best: ModelCheckpoint) -> dict[str, Any]:
    """Collect the facts about a stage's best checkpoint."""
    monitor = str(best.monitor).rpartition("/")[2]
    score = {} if best.best_model_score is None else {monitor: float(best.best_model_score)}
    splits = [split for split in ("train", "val", "test") if plan.data.has_split(split)]
    return checkpoint_facts(checkpoint) | {
        "metrics": {"val": score},
        "splits": [plan.data.supervision(split) for split in splits],
        "stage": stage,
    }

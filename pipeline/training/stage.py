"""Stage of a training, in which a module is fitted and goes back to its best checkpoint."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from torch import nn

from learned_saliency.datamodules import COLORS
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.reports import name_split, write_model_card
from learned_saliency.pipeline.runs import (
    CLASSIFIER,
    FIRST_STAGE,
    Checkpoint,
    DurableCheckpointIO,
    RunRecord,
    build_module,
    build_trainer,
    checkpoint_facts,
    given_part,
    load_weights,
    read_checkpoint,
    stage_config,
    without_pretraining,
)
from learned_saliency.pipeline.training.averaging import average, check_average
from learned_saliency.pipeline.training.best import KeepBest
from learned_saliency.pipeline.training.keeping import EPOCH, KeepLast, read_position
from learned_saliency.pipeline.training.length import count_steps, training_facts, warn_of_rise
from learned_saliency.pipeline.training.plan import Plan
from learned_saliency.pipeline.training.selection import BY_BOXES, Choice, build_scores, choose
from learned_saliency.trainers import (
    METRICS_FILE,
    MONITORS,
    NATIVE,
    CompiledTraining,
    Dashboard,
    Divergence,
    KeepFeatures,
    MetricsFile,
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
        choice: What has chosen the checkpoint and the box threshold.
        regret: What the choice costs in the metric of `val` that the boxes would choose by; empty
            where they chose, or are not there.
        val: Metrics of the native map on `val` in the kept epoch by name; empty where no epoch was
            validated.
    """

    module: SaliencyModule
    trainer: L.Trainer
    best: Path
    facts: dict[str, Any]
    choice: Choice
    regret: dict[str, float]
    val: dict[str, float]


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
        check_average(resumed, module, model)
    choice, data = _choose(plan, stage, model, module), plan.learned[stage]
    (best, last), budget = _checkpoints(plan, stage, choice), count_steps(plan.config, stage)
    module.keep_files(plan.folder / "checkpoints" / stage)
    trainer = build_trainer(
        plan.config,
        max_epochs=model.epochs,
        default_root_dir=plan.folder,
        plugins=[DurableCheckpointIO(module.drop_files)],
        logger=loggers,
        callbacks=[best, last, budget, *_callbacks(plan, stage, model, choice), *callbacks],
    )
    _check_processes(resumed, trainer.world_size)
    for logger in trainer.loggers:
        logger.log_config(OmegaConf.to_container(plan.config, resolve=True))
    with last.stopping():
        trainer.fit(module, datamodule=data, ckpt_path=resumed and resumed.path, weights_only=True)
    trainer.strategy.barrier()
    checkpoint = _read_best(plan, best, stage or model.name)
    load_weights(module, checkpoint)
    facts = _facts(plan, stage, checkpoint, best, choice, network)
    facts |= training_facts(plan.config, checkpoint, best, choice, budget)
    if trainer.is_global_zero:
        write_model_card(checkpoint.path, facts)
        _tell_choice(stage or model.name, facts, model.epochs)
        warn_of_rise(stage or model.name, facts, plan.folder)
    val = {name.rpartition("/")[2]: value for name, value in best.values.items()}
    return TrainedStage(module, trainer, checkpoint.path, facts, choice, best.regret(), val)


def _choose(plan: Plan, stage: str, model: DictConfig, module: SaliencyModule) -> Choice:
    """Decide what chooses, say it, and let the module count the criteria that were asked for."""
    options, data = plan.config.zerobox, plan.learned[stage]
    choice = choose(str(model.monitor), data, options, module.constant_monitors)
    module.zerobox = build_scores(choice, options, data.count("val"), plan.config.seed)
    if rank_zero_only.rank == 0:
        print(f"{stage or model.name}: {choice.told()}", file=sys.stderr)
    return choice


def _read_best(plan: Plan, best: KeepBest, name: str) -> Checkpoint:
    """Read the best checkpoint of a stage.

    Raises:
        UserError: If the training was too short for one.
    """
    if not best.path.is_file():
        raise UserError(
            f"trainer.max_time={plan.config.trainer.get('max_time')}: ended the training of {name} "
            f"before its first epoch; give more, and go on by resume={plan.folder}."
        )
    return read_checkpoint(best.path)


def _tell_choice(name: str, facts: dict[str, Any], epochs: int) -> None:
    """Say on stderr which epoch is kept, and by what."""
    reason = facts.get("not_chosen", "")
    for metric, value in facts["metrics"]["val"].items():
        place = name_split(facts.get("selected_by") or {"split": "val"})
        reason = f"chosen by {metric} of its own map on {place}: {100 * value:.1f} %"
    kept = f"{name}: epoch {facts['epoch'] + 1} of {epochs} is kept"
    print(f"{kept}, {reason}", file=sys.stderr)


def open_loggers(plan: Plan, stage: str, resumed: Checkpoint | None) -> list[Dashboard]:
    """Make the loggers of a stage, which go on where a resumed run has stopped."""
    step = _logged_steps(resumed) if resumed else 0 if plan.goes_on else None
    return [
        instantiate(logger, run_dir=plan.folder, stage=stage, resume_step=step)
        for logger in plan.config.logger.values()
    ]


def drop_rows(folder: Path, resumed: Checkpoint | None) -> None:
    """Drop the rows of ``metrics.csv`` that a run will log again that goes on."""
    position = read_position(resumed) if resumed else None
    path = folder / METRICS_FILE
    if position is not None and position.rows is not None and path.is_file():
        MetricsFile(path).keep(position.rows)


def _logged_steps(checkpoint: Checkpoint) -> int:
    """Count steps as loggers do: by batches, also where several optimizers step per batch."""
    loop = checkpoint.content["loops"]["fit_loop"]["epoch_loop.state_dict"]
    position = read_position(checkpoint)
    within = position is not None and position.within != EPOCH
    return loop["_batches_that_stepped"] + within  # the last batch is not counted yet


def _check_processes(resumed: Checkpoint | None, processes: int) -> None:
    """Check that a training goes on within an epoch with as many processes as it had."""
    position = None if resumed is None else read_position(resumed)
    if position is None or position.within == EPOCH or len(position.random) == processes:
        return
    raise UserError(
        f"{resumed.path}: lies within an epoch of a training by {len(position.random)} processes "
        f"and goes on with as many, not with {processes}; set trainer.devices."
    )


def _checkpoints(plan: Plan, stage: str, choice: Choice) -> tuple[KeepBest, KeepLast]:
    """Make the callbacks of the best and the last checkpoint."""
    folder = plan.folder / "checkpoints" / stage
    return (
        KeepBest(
            folder / "best.ckpt",
            f"val/{NATIVE}/{choice.monitor}",
            MONITORS[choice.monitor].higher_is_better,
            f"val/{NATIVE}/{BY_BOXES}" if choice.regrets else None,
        ),
        KeepLast(folder / "last.ckpt", plan.folder, plan.config.trainer.get("checkpoint_minutes")),
    )


def _callbacks(plan: Plan, stage: str, model: DictConfig, choice: Choice) -> list[Callback]:
    pictures = plan.folder / "pictures" / stage
    count, methods = plan.config.pictures.images, list(model.pictures)
    return [
        Divergence(),
        RunRecord(plan.record, stage, plan.learned[stage], choice.supervision),
        Throughput(),
        Pictures(pictures, count, methods, plan.data.class_names),
        *_feature_cache(plan, stage, model),
        progress_bar(stage or model.name),
        *_compiled(plan),
        *average(model),  # after all that looks at the network in validation
    ]


def _compiled(plan: Plan) -> list[CompiledTraining]:
    mode = plan.config.trainer.get("compile")  # runs of before have no such key
    return [] if mode is None else [CompiledTraining(mode)]


def _feature_cache(plan: Plan, stage: str, model: DictConfig) -> list[KeepFeatures]:
    """Make the callback that keeps features, if they are to be kept."""
    folder = plan.config.get("feature_cache")
    if folder is None:
        return []
    network = stage_config(model, CLASSIFIER if FIRST_STAGE in model else "").network
    trunk = without_pretraining(network.get("backbone", network))
    left_out = {"frozen", "trainable"}  # what is trained changes no feature
    left_out |= {"in_chans"} if trunk.get("in_chans") == COLORS else set()  # so named before
    named = sorted(trunk.keys() - left_out)
    options = OmegaConf.to_yaml(OmegaConf.masked_copy(trunk, named))
    data = plan.learned[stage]
    images = sum(data.supervision(split)["images"] for split in ("train", "val"))
    return [KeepFeatures(folder, options, images, stage or model.name)]


def _facts(
    plan: Plan,
    stage: str,
    checkpoint: Checkpoint,
    best: KeepBest,
    choice: Choice,
    network: nn.Module,
) -> dict[str, Any]:
    """Collect the facts about a stage's best checkpoint."""
    data = plan.learned[stage]
    names = [split for split in ("train", "val", "test") if data.has_split(split)]
    splits = [data.supervision(name) for name in names]
    if data.learned_from is not None and given_part(plan.config.model) is None:
        splits.insert(0, plan.data.supervision("train"))
    return checkpoint_facts(checkpoint) | {
        "metrics": {"val": {} if best.score is None else {choice.monitor: best.score}},
        "not_chosen": "the last one: nothing chose it, as no epoch was validated",
        "splits": splits,
        "threshold_chosen_by": choice.threshold or "boxes",
        "stage": stage,
        "parameters": sum(p.numel() for p in network.parameters()),
    }

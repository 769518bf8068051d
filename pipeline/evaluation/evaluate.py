"""Test of the maps of a trained model, of any classifier or of any tool."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from learned_saliency.pipeline.cli import check_values, has_network
from learned_saliency.pipeline.evaluation.bundle import check_bundle
from learned_saliency.pipeline.evaluation.checks import (
    check_asked,
    check_figures,
    check_names,
    check_studies,
    check_truth,
    check_unlearned,
    try_explaining,
    try_on_one_image,
)
from learned_saliency.pipeline.evaluation.data import with_data
from learned_saliency.pipeline.evaluation.given_maps import maps_digest, open_maps
from learned_saliency.pipeline.evaluation.inputs import trained_options, with_channels
from learned_saliency.pipeline.evaluation.kept import find_kept
from learned_saliency.pipeline.evaluation.studies import build_studies
from learned_saliency.pipeline.evaluation.testing import EvaluationResult, test_and_write
from learned_saliency.pipeline.evaluation.unfinished import open_folder
from learned_saliency.pipeline.reports import told_supervision
from learned_saliency.pipeline.runs import (
    Explaining,
    Subject,
    build_data,
    build_evaluation,
    build_explained,
    check_dashboards,
    check_hardware,
    check_limits,
    known_names,
    learned_record,
    method_names,
    read_subject,
    with_class_files,
    with_precision,
)

CONFIG_NAME = "evaluate"
_SEEN = ("mean", "std", "shown_channels")  # what a module knows of its images
_STAGES = {"val": "validate", "test": "test"}  # Lightning's names for the use of a split


def evaluate(
    config: DictConfig,
    opened: Callable[[Path], None] = lambda folder: None,
    given: Collection[str] = (),
) -> EvaluationResult:
    """Test all configured methods and maps in one pass over a split, then run the studies.

    Args:
        config: See ``configs/evaluate.yaml``.
        opened: Called with the folder before the work begins.
        given: Keys such as ``data.crop_size`` that a person gave a value, which therefore counts
            more than the one that the checkpoint was trained with; see `trained_options`.

    Raises:
        UserError: If the configuration, a checkpoint, the weights, a method or a map do not fit.
        DataError: If the data set is wrong.
    """
    check_asked(config, given)
    check_bundle(config)
    check_values(config)
    alone = bool(config.maps) and not has_network(config)
    subject = Subject(None, False) if alone else read_subject(config, "evaluate.py")
    chosen = "_target_" in (config.get("data") or {})
    config = with_precision(with_data(with_class_files(config), subject.checkpoint))
    config = with_channels(chosen, config, subject, given)
    check_values(config)  # with those of the checkpoint
    check_dashboards(config)
    check_hardware(config.trainer)
    options = build_evaluation(config, _class_names(config, subject))
    options |= {"faithfulness": []} if alone else {}
    studies = build_studies(config)
    own = trained_options(chosen, config, subject, given)
    data = build_data(config, _STAGES[config.split], limit=config.limit, **own)
    maps = open_maps(config, data)
    check_names(maps, method_names(config), studies)
    check_limits(config.trainer, data, {"test": config.split})
    options |= {"given": maps, "seed": config.seed} | {key: getattr(data, key) for key in _SEEN}
    module = build_explained(config, subject, method_names(config), **options)
    check_unlearned(config, module, subject)
    check_truth(module, data)
    check_figures(module, data, config.split, options["faithfulness"])
    check_studies(studies, module, data, config.split)
    kept = find_kept(config, module, data, subject)
    try_on_one_image(module, data, config.split, kept.taken)
    try_explaining(Explaining.of(config), module, data, config.split)
    images = data.supervision(config.split) | maps_digest(maps) | {"taken": list(kept.taken)}
    folder = open_folder(config, _weights(config, subject), images)
    opened(folder)
    return test_and_write(config, module, data, studies, folder, kept, _learned(subject))


def _weights(config: DictConfig, subject: Subject) -> Path | None:
    """Return the file that the network's weights come from."""
    file = config.weights if subject.checkpoint is None else subject.checkpoint.path
    return None if file is None else Path(file).expanduser()


def _learned(subject: Subject) -> dict[str, Any]:
    """Record, and say, that boxes or masks have trained the native map, if they have."""
    if not subject.native:
        return {}
    record = learned_record(subject.checkpoint)
    for learned in record.values():
        if rank_zero_only.rank == 0:
            seen = told_supervision(learned)
            print(f"evaluate.py: trained on {seen}: a supervised bound", file=sys.stderr)
    return record


def _class_names(config: DictConfig, subject: Subject) -> list[str] | None:
    """Find the names of the explained network's classes, where they are known beforehand."""
    return known_names(config) if subject.checkpoint is None else subject.checkpoint.class_names

"""Bundle of an evaluation: what asks for one, and how it is described."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from omegaconf import DictConfig, OmegaConf

from learned_saliency.datamodules import WSOLDataModule
from learned_saliency.errors import SurroundingsError
from learned_saliency.pipeline.cli import UserError, check_new_file
from learned_saliency.pipeline.evaluation.unfinished import advice
from learned_saliency.pipeline.runs import Facts, package_versions, write_bundle
from learned_saliency.trainers import MapParts, RecordedImage, SaliencyModule

_LEFT_OUT = ("output_dir", "bundle", "logger", "reuse")  # say where, not what


class WrittenBundle(NamedTuple):
    """Bundle on disk.

    Attributes:
        path: Its file.
        sha256: SHA-256 of the file, hexadecimal.
    """

    path: Path
    sha256: str


def check_bundle(config: DictConfig) -> None:
    """Check that a bundle is not there yet, and that nothing it cannot hold is asked for.

    Raises:
        UserError: If not.
    """
    if config.bundle is None:
        return
    check_new_file("bundle", config.bundle, ".zip")  # an earlier job of a sweep may have made it
    if config.studies_only:
        raise UserError(
            f"bundle={config.bundle}: holds the maps of a test, which studies_only=true leaves "
            "out; give one of them."
        )
    if config.reuse not in (None, False, "false"):
        raise UserError(
            f"bundle={config.bundle}: holds maps that are computed anew, which reuse="
            f"{config.reuse} would spare; give one of them."
        )


def write_evaluation(
    config: DictConfig,
    module: SaliencyModule,
    data: WSOLDataModule,
    folder: Path,
    maps: MapParts | None,
) -> WrittenBundle | None:
    """Write the bundle of a finished evaluation, where one was asked for.

    Args:
        config: The configuration, with ``bundle``.
        module: The tested module.
        data: The tested data.
        folder: Folder of the evaluation, with its tables.
        maps: Files of the tested images with their maps; None where no bundle was asked for.

    Raises:
        SurroundingsError: If the file cannot be written; the evaluation can go on later.
    """
    images = [] if maps is None else maps.images()
    if not images:  # no batch was tested: trainer.limit_test_batches=0
        return None
    path = Path(config.bundle).expanduser().resolve()
    values = OmegaConf.to_container(config, resolve=True)
    text = OmegaConf.to_yaml({key: v for key, v in values.items() if key not in _LEFT_OUT})
    facts = _facts(config, module, data, images[0])
    try:
        return WrittenBundle(path, write_bundle(path, folder, text, facts, images))
    except OSError as error:
        raise SurroundingsError(
            f"bundle={config.bundle}: could not be written ({error.strerror or error}); the "
            f"metrics are in {folder}; when there is room for the bundle, {advice(folder)}"
        ) from None


def _facts(
    config: DictConfig, module: SaliencyModule, data: WSOLDataModule, first: RecordedImage
) -> Facts:
    """Describe a bundle, as far as one of its images tells."""
    scored = module.test_scores.errors is not None
    truth = {
        **{"boxes": first.boxes, "masks": first.mask, "seen": first.seen, "samples": first.source},
        "multilabel": first.labels if module.has_classes else None,
        "values": first.values if scored else None,
    }
    return Facts(
        split=config.split,
        methods=module.map_names,
        class_names=list(data.class_names),
        input_size=first.size,
        logits=first.logits[1] // 4,
        **{key: value is not None for key, value in truth.items()},
        box_threshold=float(module.box_threshold),
        explained=module.explained,
        has_classes=module.has_classes,
        has_scores=module.has_scores,
        batch_size=data.eval_batch_size,
        versions=package_versions() | {"numpy": np.__version__, "opencv": cv2.__version__},
        members={},
        activation=module.activation.value,
    )

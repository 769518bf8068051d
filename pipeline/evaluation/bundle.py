"""Bundle of an evaluation: what asks for one, and how it is described."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from omegaconf import DictConfig, OmegaConf

from learned_saliency.datamodules import WSOLDataModule
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.runs import Facts, package_versions, write_bundle
from learned_saliency.trainers import MapParts, SaliencyModule

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
    """Check that nothing is asked for beside a bundle that it cannot hold.

    Raises:
        UserError: If there is.
    """
    if config.bundle is None:
        return
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
    """
    if maps is None:
        return None
    images = maps.images()
    path = Path(config.bundle).expanduser().resolve()
    values = OmegaConf.to_container(config, resolve=True)
    text = OmegaConf.to_yaml({key: v for key, v in values.items() if key not in _LEFT_OUT})
    facts = Facts(
        split=config.split,
        methods=module.map_names,
        class_names=list(data.class_names),
        input_size=images[0].size,
        logits=images[0].logits[1] // 4,
        boxes=images[0].boxes is not None,
        masks=images[0].mask is not None,
        seen=images[0].seen is not None,
        box_threshold=float(module.box_threshold),
        explained=module.explained,
        has_classes=module.has_classes,
        has_scores=module.has_scores,
        batch_size=data.eval_batch_size,
        versions=package_versions() | {"numpy": np.__version__, "opencv": cv2.__version__},
        members={},
    )
    return WrittenBundle(path, write_bundle(path, folder, text, facts, images))

"""Checks of what a file of fewer bits needs, and the photographs for it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from omegaconf import DictConfig

from learned_saliency.datamodules import content_digest
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.export.formats import Format
from learned_saliency.pipeline.export.images import (
    Files,
    files_of_data,
    files_of_folder,
    missing_images,
)
from learned_saliency.pipeline.export.source import ExportSource

LEAST = 5  # photographs, to find ranges or to report on
_ANY_CHANNELS = 0  # before the checkpoint is read, which tells their number


class Plan(NamedTuple):
    """Photographs for a file of fewer bits.

    Attributes:
        calibration: Those on which int8 finds the ranges of values; None for float16.
        report: Those that the file is compared on, none of them among the former; None where no
            report is wanted.
    """

    calibration: Files | None
    report: Files | None


def check_precision(config: DictConfig, written: Format) -> None:
    """Check the keys of ``precision`` before any work.

    Raises:
        UserError: If the format has no such precision, or a key of calibration is missing or does
            not suit it.
    """
    precision = config.precision
    if precision not in written.precisions:
        raise UserError(
            f"precision={precision}: format={config.format} has float32 alone; "
            "format=onnx has float16 and int8."
        )
    if precision == "int8" and config.calibration is None:
        raise UserError(
            "precision=int8: needs calibration=FOLDER with photographs like those that the file "
            "will see, on which the ranges of its values are found."
        )
    if precision != "int8" and config.calibration is not None:
        raise UserError(
            f"calibration={config.calibration}: serves precision=int8 alone; leave it out, or add "
            "precision=int8."
        )
    if precision == "int8":
        _calibration(config, _ANY_CHANNELS)


def plan(config: DictConfig, source: ExportSource) -> Plan | None:
    """Choose the photographs to calibrate and to report on.

    Images of the report are those of ``verify_images`` or of the data set, apart from any that is
    byte for byte one of those that serve calibration.

    Returns:
        The photographs; None with ``precision=float32``.

    Raises:
        UserError: If too few are there.
    """
    if config.precision == "float32":
        return None
    calibration = _calibration(config, source.channels) if config.precision == "int8" else None
    report = _report(config, source, calibration) if config.verify else None
    return Plan(calibration, report)


def _calibration(config: DictConfig, channels: int) -> Files:
    files = files_of_folder("calibration", config.calibration, channels)
    count = config.calibration_images
    if len(files.paths) < count:
        raise UserError(
            f"calibration={files.source}: holds {len(files.paths)} images, fewer than "
            f"calibration_images={count}; add some, or lower that number (not below {LEAST})."
        )
    order = np.random.default_rng(config.calibration_seed).permutation(len(files.paths))
    return Files([files.paths[i] for i in sorted(order[:count])], files.source)


def _report(config: DictConfig, source: ExportSource, calibration: Files | None) -> Files:
    precision = config.precision
    if config.verify_images is not None:
        files = files_of_folder("verify_images", config.verify_images, source.channels)
    else:
        found = files_of_data(source.data)
        if found is None:
            raise UserError(
                f"precision={precision}: {missing_images(source.data)} to compare the file with "
                "float32 on; verify_images=FOLDER names some, verify=false leaves the comparison "
                "out."
            )
        files = found
    used = {content_digest(path) for path in calibration.paths} if calibration else set()
    order = np.random.default_rng(config.calibration_seed).permutation(len(files.paths))
    kept: list[int] = []
    for place in order:
        if len(kept) == config.report_images:
            break
        if not used or content_digest(files.paths[place]) not in used:
            kept.append(int(place))
    if len(kept) < LEAST:
        others = " that did not serve calibration" if used else ""
        raise UserError(
            f"precision={precision}: {files.source} holds {len(kept)} images{others}, and the "
            f"comparison with float32 needs {LEAST}; verify_images=FOLDER names others."
        )
    kept.sort()
    labels = None if files.labels is None else files.labels[kept]
    return Files([files.paths[i] for i in kept], files.source, labels)

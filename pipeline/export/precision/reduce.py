"""Conversion of an ONNX file to fewer bits, with a report on what that changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig

from learned_saliency.datamodules import Decoding, center_crop_of, read_resized
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.export.formats.onnx import run_onnx
from learned_saliency.pipeline.export.images import Files
from learned_saliency.pipeline.export.precision.float16 import to_float16
from learned_saliency.pipeline.export.precision.int8 import to_int8
from learned_saliency.pipeline.export.precision.plan import Plan
from learned_saliency.pipeline.export.precision.report import report_file, write_report
from learned_saliency.pipeline.export.precision.trial import compare
from learned_saliency.pipeline.export.source import ExportSource

_BATCH = 5


def reduce_precision(
    source: ExportSource, config: DictConfig, plan: Plan, path: Path
) -> dict[str, Any]:
    """Put a file of fewer bits in the place of one in float32, with a report beside it.

    Args:
        source: The model.
        config: Configuration of the export; its ``precision`` is not float32.
        plan: The photographs.
        path: The ONNX file.

    Returns:
        Facts for the JSON: ``precision``, ``calibration`` and, where it is compared, ``report``.

    Raises:
        UserError: If the maps are unusable, or too few classes are still predicted, see `compare`.
    """
    import onnx

    model = onnx.load(path)
    facts: dict[str, Any] = {"precision": config.precision}
    if plan.calibration is None:
        made = to_float16(model)
    else:
        made = to_int8(model, _batches(plan.calibration, source.data))
        facts["calibration"] = {
            "images": len(plan.calibration.paths),
            "source": plan.calibration.source,
            "seed": config.calibration_seed,
        }
    exact = path.with_name(f"float32-{path.name}")
    path.replace(exact)
    onnx.save_model(made, path)
    if plan.report is not None:
        report = compare(run_onnx(exact), run_onnx(path), config.precision, source, plan.report)
        _check(report, config)
        size = {"float32": exact.stat().st_size, config.precision: path.stat().st_size}
        ratio = size[config.precision] / size["float32"]
        facts["report"] = {"bytes": size | {"ratio": ratio}} | report
        write_report(report_file(path), facts)
    exact.unlink()
    return facts


def _batches(files: Files, data: DictConfig) -> Iterator[NDArray[np.float32]]:
    for first in range(0, len(files.paths), _BATCH):
        pixels = [
            read_resized(path, data.crop_size, center_crop_of(data), Decoding.of(data))
            for path in files.paths[first : first + _BATCH]
        ]
        yield np.stack(pixels).astype(np.float32) / 255


def _check(report: dict[str, Any], config: DictConfig) -> None:
    agreement, least = report["top_1_agreement"], config.min_agreement
    if agreement < least:
        remedy = "precision=float16, or photographs for calibration that are closer to the data"
        raise UserError(
            f"the {config.precision} file is not kept: it predicts the class that float32 predicts "
            f"for {agreement:.0%} of {report['images']} images, less than min_agreement={least:g}; "
            + (f"{remedy}, may serve." if config.precision == "int8" else "keep float32.")
        )

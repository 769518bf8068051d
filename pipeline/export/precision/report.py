"""Page beside a file of fewer bits that tells what they change."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from learned_saliency.pipeline.reports import escaped, markdown_table
from learned_saliency.storage import write_text


def report_file(path: Path) -> Path:
    """Name the report beside an exported file."""
    return path.with_name(path.name + ".md")


def write_report(path: Path, facts: Mapping[str, Any]) -> None:
    """Write the report.

    Args:
        path: The page, see `report_file`.
        facts: ``precision``, ``report`` and, for int8, ``calibration``; see `reduce_precision`.
    """
    name, report = facts["precision"], facts["report"]
    size, seconds, accuracy = (report[key] for key in ("bytes", "seconds_per_image", "accuracy"))
    rows = [
        ["", "float32", name],
        ["size", _megabytes(size["float32"]), f"{_megabytes(size[name])}, {size['ratio']:.0%}"],
        ["time per image", _milliseconds(seconds["float32"]), _milliseconds(seconds[name])],
    ]
    if accuracy is not None:
        of = f"accuracy on {accuracy['images']} labeled images"
        rows.append([of, f"{accuracy['float32']:.1%}", f"{accuracy[name]:.1%}"])
    box, maps = report["box"], report["map_difference"]
    compared = [
        ["beside float32", name],
        ["images whose predicted class is the same", f"{report['top_1_agreement']:.1%}"],
        ["largest difference of a map", f"{maps['largest']:.4f}"],
        ["mean difference of a map", f"{maps['mean']:.5f}"],
        [f"mean IoU of boxes at threshold {box['threshold']:.3f}", f"{box['mean_iou']:.3f}"],
        ["images whose boxes have an IoU of 0.5 or more", f"{box['iou_at_least_0.5']:.1%}"],
    ]
    used = facts.get("calibration")
    apart = (
        f" The ranges of its values were found on {used['images']} other images of "
        f"{escaped(used['source'])} (seed {used['seed']})."
        if used
        else ""
    )
    text = (
        f"# {escaped(path.name.removesuffix('.md'))}\n\n"
        f"Compared with the same graph in float32 on {report['images']} images, "
        f"{escaped(report['source'])}.{apart} Maps are in [0, 1]; times are medians of batches of "
        f"one image by onnxruntime, {seconds['threads']} threads of a CPU.\n\n"
        f"{markdown_table(rows)}\n\n{markdown_table(compared)}\n"
    )
    write_text(path, text)


def _megabytes(count: int) -> str:
    return f"{count / 2**20:.2f} MiB"


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"

"""Export of a trained model to a file that needs nothing of this repository, and its trial."""

from __future__ import annotations

import json
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig

from learned_saliency.pipeline.cli import UserError, check_values
from learned_saliency.pipeline.export import box
from learned_saliency.pipeline.export.formats import FORMATS, Format
from learned_saliency.pipeline.export.reading import read_source
from learned_saliency.pipeline.export.source import ExportSource
from learned_saliency.pipeline.export.verify import BATCH_SIZES, differences, find_images
from learned_saliency.pipeline.runs import beside
from learned_saliency.storage import replacing, sha256, write_text

CONFIG_NAME = "export"


class ExportResult(NamedTuple):
    """Result of an export.

    Attributes:
        file: Path of the model.
        facts: Path of the JSON beside it.
        box: Path of the script beside it that puts boxes around maps; None for formats without.
        differences: Largest difference from the checkpoint by output; None where the file was not
            verified.
    """

    file: Path
    facts: Path
    differences: dict[str, float] | None
    box: Path | None = None


def export(config: DictConfig) -> ExportResult:
    """Write the model of a checkpoint in a format, with a JSON that describes it.

    Both files appear when they are complete and, with ``verify``, when the model was found to give
    the same results as the checkpoint.

    Raises:
        UserError: If the configuration or the checkpoint is wrong, the files cannot be written, or
            the model gives other results.
    """
    check_values(config)
    written = FORMATS[config.format]
    written.check(config)
    source = read_source(config, written.has_graph)
    path = _path(config, source, written.suffix)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
            return _export(config, source, written, Path(folder) / path.name, path)
    except OSError as error:
        raise UserError(f"out={path.parent}: cannot be written ({error.strerror}).") from None


def _export(
    config: DictConfig, source: ExportSource, written: Format, made: Path, path: Path
) -> ExportResult:
    images = None
    if config.verify:
        images = find_images(source.data, config.verify_images)
        source.try_method(images.pixels)
    facts = source.facts | {"format": config.format}
    facts |= written.write(source, config, made)
    if written.has_graph:
        facts |= source.interface()
    facts |= {"file": path.name, "sha256": sha256(made)}
    facts["versions"] = facts["versions"] | _versions()
    found = None
    beside(made).write_text(json.dumps(facts))
    made.chmod(beside(made).stat().st_mode & 0o777)  # safetensors hides its files from others
    if images is not None:
        found = differences(written.load(made, config), source.module, source.maps, images.pixels)
        _check(found, config)
        facts["verified"] = {
            "images": len(images.pixels),
            "source": images.source,
            "batch_sizes": list(BATCH_SIZES),
            "largest_difference": found,
        }
    script = None
    if written.has_box:
        script = path.with_name(Path(box.__file__).name)
        facts["box"] = {"script": script.name, "threshold": facts["box_threshold"]}
        write_text(script, Path(box.__file__).read_text())
    write_text(beside(path), json.dumps(facts, indent=2) + "\n")
    with replacing(path) as temporary:
        made.replace(temporary)
    return ExportResult(path, beside(path), found, script)


def _path(config: DictConfig, source: ExportSource, suffix: str) -> Path:
    name = source.name + suffix
    if config.out is None:
        return source.folder / name
    out = Path(config.out).expanduser()
    return out if out.suffix == suffix else out / name


def _versions() -> dict[str, str]:
    found = {}
    for name in FORMATS["onnx"].packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _check(found: dict[str, float], config: DictConfig) -> None:
    for name, value in found.items():
        if not value <= config.tolerance:  # also true for NaN
            raise UserError(
                f"the {config.format} file is not kept: its {name} differ from the checkpoint's by "
                f"up to {value:.1e}, more than tolerance={config.tolerance:.0e}."
            )

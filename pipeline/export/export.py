"""Export of a trained model to a file that needs nothing of this repository, and its trial."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig

from learned_saliency.pipeline.cli import UserError, check_values
from learned_saliency.pipeline.export import box
from learned_saliency.pipeline.export.formats import FORMATS, Format
from learned_saliency.pipeline.export.images import BATCH_SIZES, Images, find_images
from learned_saliency.pipeline.export.precision import (
    Plan,
    check_precision,
    plan,
    reduce_precision,
    report_file,
)
from learned_saliency.pipeline.export.push import push
from learned_saliency.pipeline.export.reading import read_source
from learned_saliency.pipeline.export.source import ExportSource
from learned_saliency.pipeline.export.verify import differences
from learned_saliency.storage import sha256

CONFIG_NAME = "export"
_SCRIPT = Path(box.__file__)


class ExportResult(NamedTuple):
    """Result of an export.

    Attributes:
        file: Path of the model, a file or a folder.
        facts: Path of the JSON that describes it.
        differences: Largest difference from the checkpoint by output, before the precision is
            reduced; None where the file was not verified.
        box: Path of the script beside it that puts boxes around maps; None for formats without.
        report: Path of the comparison with float32; None where there is none.
        address: Address of what was uploaded; empty where nothing was.
    """

    file: Path
    facts: Path
    differences: dict[str, float] | None
    box: Path | None = None
    report: Path | None = None
    address: str = ""


def export(config: DictConfig) -> ExportResult:
    """Write the model of a checkpoint in a format, with a JSON that describes it.

    They appear when they are complete and, with ``verify``, when the model was found to give
    the same results as the checkpoint.

    Raises:
        UserError: If the configuration or the checkpoint is wrong, the files cannot be written or
            uploaded, or the model gives other results.
    """
    check_values(config)
    written = FORMATS[config.format]
    _check_keys(config, written)
    written.check(config)
    check_precision(config, written)
    source = read_source(config, written.has_graph)
    written.check_source(source)
    planned = plan(config, source)
    path = _path(config, source, written.suffix)
    written.check_place(path)
    images = find_images(source.data, config.verify_images) if config.verify else None
    if images is not None:
        source.try_method(images.pixels)
    try:
        with _folder_in(path.parent) as folder:
            made = folder / path.name
            found = _make(config, source, written, planned, images, made)
            written.place(made, path)
    except OSError as error:
        raise UserError(f"out={path.parent}: cannot be written ({error.strerror}).") from None
    address = "" if config.push is None else push(config, path)
    report = report_file(path) if planned is not None and planned.report is not None else None
    script = path.with_name(_SCRIPT.name) if written.has_box else None
    return ExportResult(path, written.facts_file(path), found, script, report, address)


def _check_keys(config: DictConfig, written: Format) -> None:
    """Check that no key is given that goes with another format."""
    for name, other in FORMATS.items():
        for key in other.keys:
            if config[key] and key not in written.keys:
                raise UserError(
                    f"{key}={config[key]}: belongs to format={name}; leave it out, or give that."
                )


@contextmanager
def _folder_in(folder: Path) -> Iterator[Path]:
    """Make a folder to work in below another, which is made, too; a failure leaves nothing."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as made:
            yield Path(made)
    except BaseException:
        for each in missing:
            with suppress(OSError):  # not empty
                each.rmdir()
        raise


def _make(
    config: DictConfig,
    source: ExportSource,
    written: Format,
    planned: Plan | None,
    images: Images | None,
    made: Path,
) -> dict[str, float] | None:
    """Write and try what is exported; return the differences that were found."""
    facts = source.facts | {"format": config.format}
    facts |= written.write(source, config, made)
    if written.has_graph:
        facts |= source.interface()
    model = written.model_file(made)
    facts |= {"file": model.name, "sha256": sha256(model)}
    facts["versions"] = facts["versions"] | _versions()
    written.describe(source, config, made, facts)
    found = None
    if images is not None:
        found = differences(written.load(made, config), source.module, source.maps, images.pixels)
        _check(found, config)
        facts["verified"] = {
            "images": len(images.pixels),
            "source": images.source,
            "batch_sizes": list(BATCH_SIZES),
            "largest_difference": found,
        }
    if planned is not None:
        facts["float32"] = facts.pop("verified", None)
        facts |= reduce_precision(source, config, planned, made)
    if written.has_box:
        script = made.with_name(_SCRIPT.name)
        script.write_text(_SCRIPT.read_text())
        facts["box"] = {"script": script.name, "threshold": facts["box_threshold"]}
    facts |= written.finish(source, config, made) | {"sha256": sha256(model)}
    written.describe(source, config, made, facts)
    return found


def _path(config: DictConfig, source: ExportSource, suffix: str) -> Path:
    precision = "" if config.precision == "float32" else f"-{config.precision}"
    name = source.name + precision + suffix
    if config.out is None:
        return source.folder / name
    out = Path(config.out).expanduser()
    if suffix == "":  # the folder is replaced, and not a link to it
        return out.resolve() if out.is_symlink() else out
    return out if out.suffix == suffix else out / name


def _versions() -> dict[str, str]:
    found = {}
    for name in sorted({*FORMATS["onnx"].packages, *FORMATS["openvino"].packages}):
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

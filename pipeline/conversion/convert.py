"""Conversion of published weights to a run, for evaluation, prediction and export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig, ListConfig, OmegaConf

from learned_saliency.datamodules import read_class_names
from learned_saliency.pipeline.cli import UserError, check_values
from learned_saliency.pipeline.conversion.published import (
    Conversion,
    convert_published,
    count_classes,
    read_published,
)
from learned_saliency.pipeline.runs import (
    Checkpoint,
    build_module,
    check_finite,
    create_folder,
    untrained_network,
    with_class_files,
    write_checkpoint,
)
from learned_saliency.storage import write_text


class ConversionResult(NamedTuple):
    """Result of a conversion.

    Attributes:
        conversion: The matched weights and the rest.
        written: Paths of the run's checkpoint and of the report.
    """

    conversion: Conversion
    written: list[Path]


def convert(config: DictConfig) -> ConversionResult:
    """Write a run with the configured model and published weights.

    Raises:
        UserError: If the files cannot be read, or lack a weight of the model; nothing is written
            then.
        DataError: If the data set's ``class_names.txt`` is malformed.
    """
    check_values(config)
    config = with_class_files(config)
    config = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
    given = config.published
    paths = [Path(p).expanduser() for p in (given if isinstance(given, ListConfig) else [given])]
    state = read_published(paths)
    names = _class_names(config, count_classes(state), paths[0])
    checkpoint = Checkpoint(paths[0], {}, config, "", config.model, len(names), names)
    network = untrained_network(checkpoint)
    conversion = convert_published(state, network)
    if not conversion.complete:
        raise UserError(
            f"{paths[0]}: does not fit model={config.model.name} with backbone="
            f"{config.backbone.name}: {conversion.summary()}."
        )
    check_finite(conversion.state, f"{paths[0]}")
    network.load_state_dict(conversion.state, strict=False)  # counters of batches may be missing
    folder = create_folder(config)
    file = write_checkpoint(config, build_module(config.model, network), names, folder)
    report = folder / "conversion.json"
    content = conversion._asdict() | {"files": [str(path) for path in paths]}
    del content["state"]
    write_text(report, json.dumps(content, indent=2) + "\n")
    return ConversionResult(conversion, [file, report])


def _class_names(config: DictConfig, classes: int | None, path: Path) -> list[str]:
    names = config.data.get("class_names")
    if names is None:
        folder = Path(config.data.metadata).expanduser()
        names = read_class_names(folder / "class_names.txt")
    if names is None and classes is None:
        raise UserError(
            f"{path}: has no classification layer; name its file too: published=[FILE,FOLDER]."
        )
    if names is None:
        names = [str(label) for label in range(classes)]
    if classes is not None and len(names) != classes:
        raise UserError(
            f"{path}: knows {classes} classes, but data={config.data.name} has {len(names)}."
        )
    return list(names)

"""The work of ``learned-saliency data shard``, and what it prints."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from learned_saliency.pipeline.cli import UserError, printable
from learned_saliency.pipeline.data.sharding import write_shards
from learned_saliency.pipeline.data.shardrecord import RECORD
from learned_saliency.pipeline.runs import create_data, make_data, with_class_files


def run(config: DictConfig) -> None:
    """Write a data set as shards; print how many, and the path of the record.

    Raises:
        UserError: If the folder holds other files, or shards of other settings.
    """
    folder = Path(config.out).expanduser().absolute()
    if folder.is_dir() and any(folder.iterdir()) and not (folder / RECORD).is_file():
        raise UserError(
            f"out={config.out}: the folder holds other files (it has no {RECORD}); choose a new "
            "one."
        )
    data = create_data(with_class_files(config))
    if data.reader is not None and not data.read_only:
        make_data(data, None)
    written = write_shards(data, folder, config)
    for split, counts in written.items():
        told = f", {counts.kept} of them were there" if counts.kept else ""
        print(f"{split}: images: {counts.samples}, shards: {counts.shards}{told}")
    print(printable(str(folder / RECORD)))

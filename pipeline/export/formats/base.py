"""Contract of a format of exported files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from omegaconf import DictConfig
from torch import Tensor

from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.export.source import ExportSource
from learned_saliency.pipeline.runs import beside

Runner = Callable[..., dict[str, Tensor]]  # runner(images, labels) or runner(images)


class Format:
    """A format of exported files; one file of this folder each.

    A format may also write a folder. It then says which file in it holds the model and which the
    JSON, and which folders it may replace.

    Attributes:
        suffix: Ending of the file's name, with the dot; empty for a folder.
        has_graph: Whether the file holds the computation, not only weights.
        has_box: Whether the script that puts boxes around maps lies beside the file.
        precisions: Precisions that the file can have, as words of ``precision=``.
        keys: Keys of the configuration that go with this format alone.
        packages: Packages that the format needs, which an extra brings.
        extra: Name of the extra.
    """

    suffix: ClassVar[str]
    has_graph: ClassVar[bool] = True
    has_box: ClassVar[bool] = False
    keys: ClassVar[tuple[str, ...]] = ()
    precisions: ClassVar[tuple[str, ...]] = ("float32",)
    packages: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""

    def check(self, config: DictConfig) -> None:
        """Check packages and keys before any work.

        Raises:
            UserError: If a package is missing or a key does not suit the format.
        """
        for name in self.packages:
            import_package(name, config.format, self.extra)

    def check_source(self, source: ExportSource) -> None:
        """Check that the format can hold a model.

        Raises:
            UserError: If it cannot.
        """

    def write(self, source: ExportSource, config: DictConfig, path: Path) -> dict[str, Any]:
        """Write the file at ``path``; return facts for the JSON beside it.

        Raises:
            UserError: If the format cannot express the model.
        """
        raise NotImplementedError

    def describe(
        self, source: ExportSource, config: DictConfig, path: Path, facts: dict[str, Any]
    ) -> None:
        """Write the JSON, before the file is tried and again with what the trial has found."""
        self.facts_file(path).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

    def load(self, path: Path, config: DictConfig) -> Runner:
        """Load a written file, to try it on images."""
        raise NotImplementedError

    def finish(self, source: ExportSource, config: DictConfig, path: Path) -> dict[str, Any]:
        """Complete the file at ``path`` when it has been tried; return further facts."""
        return {}

    def model_file(self, path: Path) -> Path:
        """Return the file of the model, whose checksum is in the JSON."""
        return path

    def facts_file(self, path: Path) -> Path:
        """Return the file of the JSON."""
        return beside(path)

    def check_place(self, path: Path) -> None:
        """Check that nothing is in the way but an earlier export.

        Raises:
            UserError: If there is.
        """
        for file in (path, self.facts_file(path)):
            if file.is_dir():
                raise UserError(f"out={file}: is a folder; remove it, or name another file.")

    def place(self, made: Path, path: Path) -> None:
        """Move what is complete, and all beside it, from the folder where it was made to ``path``.

        Raises:
            OSError: If it cannot be moved.
        """
        for other in sorted(made.parent.iterdir()):
            if other != made:
                other.replace(path.with_name(other.name))
        made.replace(path)


def import_package(name: str, format: str, extra: str) -> ModuleType:
    """Import a package of an extra.

    Raises:
        UserError: If it is missing.
    """
    try:
        return __import__(name)
    except ImportError:
        raise UserError(
            f"format={format} needs the package {name}: pip install -e '.[{extra}]'."
        ) from None

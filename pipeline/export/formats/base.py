"""Contract of a format of exported files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from omegaconf import DictConfig
from torch import Tensor

from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.export.source import ExportSource

Runner = Callable[..., dict[str, Tensor]]  # runner(images, labels) or runner(images)


class Format:
    """A format of exported files; one file of this folder each.

    Attributes:
        suffix: Ending of the file's name, with the dot.
        has_graph: Whether the file holds the computation, not only weights.
        has_box: Whether the script that puts boxes around maps lies beside the file.
        packages: Packages that the format needs, which an extra brings.
        extra: Name of the extra.
    """

    suffix: ClassVar[str]
    has_graph: ClassVar[bool] = True
    has_box: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""

    def check(self, config: DictConfig) -> None:
        """Check packages and keys before any work.

        Raises:
            UserError: If a package is missing or a key does not suit the format.
        """
        for name in self.packages:
            import_package(name, config.format, self.extra)

    def write(self, source: ExportSource, config: DictConfig, path: Path) -> dict[str, Any]:
        """Write the file at ``path``; return facts for the JSON beside it.

        Raises:
            UserError: If the format cannot express the model.
        """
        raise NotImplementedError

    def load(self, path: Path, config: DictConfig) -> Runner:
        """Load a written file, to try it on images."""
        raise NotImplementedError


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

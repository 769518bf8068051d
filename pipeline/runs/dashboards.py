"""Packages of the dashboards that a command logs to."""

from __future__ import annotations

from importlib.util import find_spec

from hydra.utils import get_class
from omegaconf import DictConfig

from learned_saliency.pipeline.cli import UserError


def check_dashboards(config: DictConfig) -> None:
    """Check, before any work, that the packages of the chosen dashboards are installed.

    Raises:
        UserError: If one is missing; the message names the extra that brings it.
    """
    for name, options in (config.get("logger") or {}).items():
        package = getattr(get_class(options["_target_"]), "package", "")
        if package and find_spec(package) is None:
            raise UserError(
                f"logger={name}: needs the package {package}: pip install -e '.[{package}]'."
            )

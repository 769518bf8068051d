"""Packages of the dashboards that a command logs to."""

from __future__ import annotations

from importlib.util import find_spec

from hydra.utils import get_class
from omegaconf import DictConfig

from learned_saliency.pipeline.cli import UserError


def check_dashboards(config: DictConfig) -> None:
    """Check, before any work, that the packages of the chosen dashboards can be imported.

    Raises:
        UserError: If one is missing or broken; the message names the extra that brings it.
    """
    for name, options in (config.get("logger") or {}).items():
        logger = get_class(options["_target_"])
        package = getattr(logger, "package", "")
        if not package:
            continue
        remedy = f"pip install -e '.[{package}]'"
        if find_spec(package) is None:
            raise UserError(f"logger={name}: needs the package {package}: {remedy}.")
        try:
            logger.load()
        except Exception as error:  # whatever a broken package raises
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise UserError(
                f"logger={name}: the package {package} is installed and cannot be imported "
                f"({reason}); remove it and install it anew: {remedy}."
            ) from None

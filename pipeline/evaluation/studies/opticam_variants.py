"""Opti-CAM in the ways that its study compares: what is configured, and one option changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from learned_saliency.attribution import OptiCAM, RandomStart
from learned_saliency.pipeline.cli import UserError, first_sentence
from learned_saliency.pipeline.runs import build_methods

ZEROS, RANDOM = "zeros", "random"  # words of ``starts`` that are no methods


class Variant(NamedTuple):
    """Opti-CAM with one option changed.

    Attributes:
        factor: The option, ``""`` for what is configured.
        value: Its value.
        method: The method, with as many iterations as any of its rows needs.
        at: Numbers of updates whose maps are tested, ascending.
        iterations: The configured number of them.
        layer: The layer that is explained; None for the configured one.
    """

    factor: str
    value: str
    method: OptiCAM
    at: list[int]
    iterations: int
    layer: str | None = None

    @property
    def name(self) -> str:
        """Name of the row in tables."""
        return f"opticam {self.factor}={self.value}" if self.factor else "opticam as configured"


def build_variants(
    config: DictConfig,
    *,
    layers: Sequence[str],
    iterations: Sequence[int],
    learning_rates: Sequence[float],
    words: Mapping[str, Sequence[str]],
    seed: int,
) -> Iterator[Variant]:
    """Build what is configured, and then each option that differs from it.

    Args:
        config: The evaluation's configuration.
        layers: Layers to explain.
        iterations: Numbers of iterations, also for each learning rate.
        learning_rates: Learning rates.
        words: Values of ``objective``, ``normalization``, ``target`` and ``start``.
        seed: Seed of the random start.

    Raises:
        UserError: If a value is unknown.
    """
    center = _build(config, "", {})
    steps = sorted({*iterations, center.iterations})
    crossed = {"iterations": steps[-1]}
    configured = [center.iterations]
    yield Variant("", "", _build(config, "", crossed), steps, center.iterations)
    for rate in learning_rates:
        if rate != center.learning_rate:
            method = _build(config, "learning_rate", crossed | {"learning_rate": float(rate)})
            yield Variant("learning_rate", f"{rate:g}", method, steps, center.iterations)
    now = {
        "objective": center.objective.objective,
        "normalization": center.objective.normalization,
        "target": center.target,
        "start": config.attribution.opticam.get("start") or ZEROS,
    }
    for factor, values in words.items():
        for value in values:
            if value != now[factor]:
                method = _of_word(config, factor, value, seed)
                yield Variant(factor, value, method, configured, center.iterations)
    for layer in layers:
        if layer != config.layer:
            yield Variant("layer", layer, center, configured, center.iterations, layer)


def _of_word(config: DictConfig, factor: str, value: str, seed: int) -> OptiCAM:
    if factor == "start" and value in (ZEROS, RANDOM):
        method = _build(config, factor, {"start": None})
        method.start = RandomStart(seed) if value == RANDOM else None
        return method
    return _build(config, factor, {factor: value})


def _build(config: DictConfig, factor: str, options: Mapping[str, Any]) -> OptiCAM:
    """Build Opti-CAM as configured, but for some options.

    Raises:
        UserError: If it refuses them; the message names the factor.
    """
    plain = OmegaConf.create(OmegaConf.to_container(config))
    plain.methods = ["opticam"]
    if "target" in options:
        plain.target = options["target"]
        options = {}
    plain.attribution.opticam = OmegaConf.merge(plain.attribution.opticam, options)
    try:
        return build_methods(plain)["opticam"]
    except InstantiationException as error:
        key = f"studies.opticam.{factor}s" if factor else "attribution.opticam"
        raise UserError(f"{key}: {first_sentence(error.__cause__ or error)}.") from None

"""Record of each method of a finished test, which another test takes over."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import add
from typing import Any, TypedDict

from torch import Tensor, nn

from learned_saliency.trainers.base import SaliencyModule
from learned_saliency.trainers.callbacks.contact_sheet import ContactSheet
from learned_saliency.trainers.callbacks.gallery import Gallery
from learned_saliency.trainers.callbacks.image_table import ImageTable
from learned_saliency.trainers.callbacks.journal import MetricTree, State, Sums, each
from learned_saliency.trainers.strategies.processes import gathered, place

_States = dict[str, dict[str, State]]


class KeptMethod(TypedDict):
    """Record of all that a table needs of a method, over all images.

    Attributes:
        figures: Names of the faithfulness metrics that were counted.
        sums: States of the method's metrics.
        shared: States of the metrics that all methods share: of the classifier, floors.
        rows: Rows of ``images.csv``.
        examples: Drawn images by their places in the split, with the overlay of this method alone.
        gallery: Images of the gallery by their places, with the map of this method alone.
    """

    figures: list[str]
    sums: _States
    shared: _States
    rows: list[dict[str, str]]
    examples: dict[str, Any]
    gallery: dict[str, Any]


def method_metrics(module: SaliencyModule, name: str) -> dict[str, MetricTree]:
    """Return the test's metrics of one method."""
    return {
        "scores": module.test_scores.scores[name],
        "faithfulness": module.faithfulness.metrics[name],
    }


def shared_metrics(module: SaliencyModule) -> dict[str, MetricTree]:
    """Return the test's metrics that all methods share."""
    scores = module.test_scores
    parts: dict[str, nn.Module | None] = {
        "accuracy": scores.accuracy,
        "precision": nn.ModuleDict({"classes": scores.precision}),
        "floors": scores.floors,
        "available": scores.available,
    }
    return {name: part for name, part in parts.items() if part is not None}


def computed_metrics(module: SaliencyModule) -> dict[str, MetricTree]:
    """Return the metrics that the batches of a test change: without those of known methods."""
    names = [name for name in module.map_names if name not in module.known]
    return {
        "methods": {name: method_metrics(module, name) for name in names},
        "shared": shared_metrics(module),
    }


def take_methods(
    module: SaliencyModule,
    taken: Mapping[str, KeptMethod],
    table: ImageTable,
    sheet: ContactSheet,
    gallery: Gallery,
) -> None:
    """Add known methods to the metrics, table and pictures of a test, in the first process."""
    for name, method in taken.items():
        Sums(method_metrics(module, name)).take(method["sums"])
        table.taken += method["rows"]
        sheet.take_method(name, method["examples"])
        gallery.take_method(name, method["gallery"])
    if taken and set(module.map_names) <= set(taken):
        Sums(shared_metrics(module)).take(next(iter(taken.values()))["shared"])


def kept_methods(
    module: SaliencyModule, table: ImageTable, sheet: ContactSheet, gallery: Gallery
) -> dict[str, KeptMethod]:
    """Gather what is kept of the methods that a test has computed.

    All processes have to call this; the first one gets it.
    """
    names = [name for name in module.map_names if name not in module.known]
    own = {name: _on_cpu(method_metrics(module, name)) for name in names}
    shares = gathered((own, _on_cpu(shared_metrics(module))))
    if place().rank != 0:
        return {}
    shared = _summed([share for _, share in shares])
    return {
        name: KeptMethod(
            figures=list(module.faithfulness.metrics[name]),
            sums=_summed([share[name] for share, _ in shares]),
            shared=shared,
            rows=[row for row in table.rows if row["method"] == name],
            examples=sheet.of_method(name),
            gallery=gallery.of_method(name),
        )
        for name in names
    }


def _on_cpu(metrics: Mapping[str, MetricTree]) -> _States:
    """Copy the states of metrics to the CPU."""
    return {
        name: {key: each(Tensor.cpu, value) for key, value in states.items()}
        for name, states in Sums(metrics).kept().items()
    }


def _summed(shares: list[_States]) -> _States:
    """Add the states of all processes, which are sums over images, or join them."""
    return {
        name: {key: reduce(add, [share[name][key] for share in shares]) for key in parts}
        for name, parts in shares[0].items()
    }

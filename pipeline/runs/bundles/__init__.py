"""Bundles of evaluations: one file with all maps, their truth and what was measured of them."""

from learned_saliency.pipeline.runs.bundles.bundle import Bundle
from learned_saliency.pipeline.runs.bundles.facts import Facts
from learned_saliency.pipeline.runs.bundles.faults import Fault, find_faults
from learned_saliency.pipeline.runs.bundles.reading import BundleError
from learned_saliency.pipeline.runs.bundles.truth import BundleImage
from learned_saliency.pipeline.runs.bundles.writing import write_bundle

__all__ = ["Bundle", "BundleError", "BundleImage", "Facts", "Fault", "find_faults", "write_bundle"]

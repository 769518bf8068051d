"""Criteria that judge maps by the images' labels alone."""

from learned_saliency.metrics.zerobox.cutout import ZeroBoxCutout, cutout_evidence
from learned_saliency.metrics.zerobox.gain import ZeroBoxGain, kept_probabilities
from learned_saliency.metrics.zerobox.insertion import ZeroBoxInsertion, insertion_minus_deletion
from learned_saliency.metrics.zerobox.pseudo_boxes import ZeroBoxPseudoBoxes, chosen_boxes
from learned_saliency.metrics.zerobox.regions import Regions, find_regions
from learned_saliency.metrics.zerobox.segments import ZeroBoxSegments, explained_by_segments
from learned_saliency.metrics.zerobox.stability import ZeroBoxStability, view_agreement

__all__ = [
    "Regions",
    "ZeroBoxCutout",
    "ZeroBoxGain",
    "ZeroBoxInsertion",
    "ZeroBoxPseudoBoxes",
    "ZeroBoxSegments",
    "ZeroBoxStability",
    "chosen_boxes",
    "cutout_evidence",
    "explained_by_segments",
    "find_regions",
    "insertion_minus_deletion",
    "kept_probabilities",
    "view_agreement",
]

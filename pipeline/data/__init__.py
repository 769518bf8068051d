"""Job of ``learned-saliency data``: a data set is checked before it is trained on."""

from learned_saliency.pipeline.data.command import run
from learned_saliency.pipeline.data.doctor import Examination, examine
from learned_saliency.pipeline.data.findings import Finding, Findings, Severity

__all__ = [
    "Examination",
    "Finding",
    "Findings",
    "Severity",
    "examine",
    "run",
]

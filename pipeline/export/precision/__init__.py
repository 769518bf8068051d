"""Files of fewer bits: float16 and int8, and what they change."""

from learned_saliency.pipeline.export.precision.plan import Plan, check_precision, plan
from learned_saliency.pipeline.export.precision.reduce import reduce_precision
from learned_saliency.pipeline.export.precision.report import report_file

__all__ = [
    "Plan",
    "check_precision",
    "plan",
    "reduce_precision",
    "report_file",
]

"""Reports that a person reads about a run."""

from learned_saliency.pipeline.reports.curves import plot_curves
from learned_saliency.pipeline.reports.model_card import model_card_path, write_model_card
from learned_saliency.pipeline.reports.results import (
    Results,
    format_table,
    table_rows,
    write_results,
)

__all__ = [
    "Results",
    "format_table",
    "model_card_path",
    "plot_curves",
    "table_rows",
    "write_model_card",
    "write_results",
]

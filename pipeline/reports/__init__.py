"""Reports that a person reads about a run."""

from learned_saliency.pipeline.reports.bootstrap import (
    Interval,
    bootstrap_interval,
    intervals,
    write_intervals,
)
from learned_saliency.pipeline.reports.curves import plot_curves
from learned_saliency.pipeline.reports.markdown import escaped, markdown_table
from learned_saliency.pipeline.reports.model_card import (
    card_title,
    hub_card,
    model_card_path,
    write_model_card,
)
from learned_saliency.pipeline.reports.results import (
    Results,
    format_table,
    read_results,
    restored,
    table_rows,
    write_results,
)
from learned_saliency.pipeline.reports.sweeps import (
    SweepRun,
    format_sweep,
    summarize,
    write_sweep,
)
from learned_saliency.pipeline.reports.tables import layout

__all__ = [
    "Interval",
    "Results",
    "SweepRun",
    "bootstrap_interval",
    "card_title",
    "escaped",
    "format_sweep",
    "format_table",
    "hub_card",
    "intervals",
    "layout",
    "markdown_table",
    "model_card_path",
    "plot_curves",
    "read_results",
    "restored",
    "summarize",
    "table_rows",
    "write_intervals",
    "write_model_card",
    "write_results",
    "write_sweep",
]

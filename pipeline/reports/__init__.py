"""Reports that a person reads about a run."""

from learned_saliency.pipeline.reports.bootstrap import (
    Interval,
    bootstrap_interval,
    draws,
    interval_ends,
    intervals,
    read_intervals,
    resampled,
    score_intervals,
    write_intervals,
)
from learned_saliency.pipeline.reports.curves import plot_curves
from learned_saliency.pipeline.reports.gallery import (
    GALLERY_FILE,
    SavedGallery,
    read_gallery,
    write_gallery,
)
from learned_saliency.pipeline.reports.image_scores import (
    TABLE_FILE,
    Column,
    ImageScores,
    read_image_scores,
)
from learned_saliency.pipeline.reports.markdown import escaped, markdown_table
from learned_saliency.pipeline.reports.model_card import (
    card_title,
    hub_card,
    model_card_path,
    write_model_card,
)
from learned_saliency.pipeline.reports.per_image import write_per_image
from learned_saliency.pipeline.reports.results import (
    Results,
    format_table,
    read_results,
    restored,
    table_rows,
    write_results,
)
from learned_saliency.pipeline.reports.saved import SavedEvaluation, bundle_results, read_saved
from learned_saliency.pipeline.reports.sweeps import (
    SweepRun,
    format_sweep,
    summarize,
    write_sweep,
)
from learned_saliency.pipeline.reports.tables import layout

__all__ = [
    "GALLERY_FILE",
    "TABLE_FILE",
    "Column",
    "ImageScores",
    "Interval",
    "Results",
    "SavedEvaluation",
    "SavedGallery",
    "SweepRun",
    "bootstrap_interval",
    "bundle_results",
    "card_title",
    "draws",
    "escaped",
    "format_sweep",
    "format_table",
    "hub_card",
    "interval_ends",
    "intervals",
    "layout",
    "markdown_table",
    "model_card_path",
    "plot_curves",
    "read_gallery",
    "read_image_scores",
    "read_intervals",
    "read_results",
    "read_saved",
    "resampled",
    "restored",
    "score_intervals",
    "summarize",
    "table_rows",
    "write_gallery",
    "write_intervals",
    "write_model_card",
    "write_per_image",
    "write_results",
    "write_sweep",
]

"""Pages to look at: self-contained HTML out of plain parts, and the page of an evaluation."""

from learned_saliency.pipeline.reports.page.blocks import (
    Block,
    Card,
    Cell,
    Chart,
    Details,
    Facts,
    Gallery,
    Head,
    Items,
    Line,
    Panel,
    Picture,
    Section,
    SortKey,
    Table,
    Text,
)
from learned_saliency.pipeline.reports.page.cards import image_card, map_panel, plain_panel
from learned_saliency.pipeline.reports.page.pictures import data_uri, gray_levels, map_layer
from learned_saliency.pipeline.reports.page.rendering import render_page
from learned_saliency.pipeline.reports.page.report import (
    PAGE_FILE,
    write_report,
    write_report_files,
)

__all__ = [
    "PAGE_FILE",
    "Block",
    "Card",
    "Cell",
    "Chart",
    "Details",
    "Facts",
    "Gallery",
    "Head",
    "Items",
    "Line",
    "Panel",
    "Picture",
    "Section",
    "SortKey",
    "Table",
    "Text",
    "data_uri",
    "gray_levels",
    "image_card",
    "map_layer",
    "map_panel",
    "plain_panel",
    "render_page",
    "write_report",
    "write_report_files",
]

"""Parts of ``format=html``: the page's template, style and scripts, and what is put into them."""

from learned_saliency.pipeline.export.page.gallery import find_gallery, gallery_pictures
from learned_saliency.pipeline.export.page.page import build_page, read_graph, read_scripts
from learned_saliency.pipeline.export.page.runtime import WebRuntime, find_runtime

__all__ = [
    "WebRuntime",
    "build_page",
    "find_gallery",
    "find_runtime",
    "gallery_pictures",
    "read_graph",
    "read_scripts",
]

"""Job of ``learned-saliency search``: values of a key are tried and compared."""

from learned_saliency.pipeline.search.choice import Rule, choose
from learned_saliency.pipeline.search.command import run
from learned_saliency.pipeline.search.result import SearchResult
from learned_saliency.pipeline.search.search import search

__all__ = ["Rule", "SearchResult", "choose", "run", "search"]

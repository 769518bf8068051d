"""Images of any size, explained in tiles in bounded memory."""

from learned_saliency.pipeline.prediction.tiles.job import Tiling, check_tiling, first_square

__all__ = ["Tiling", "check_tiling", "first_square"]

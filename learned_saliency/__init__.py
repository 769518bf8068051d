"""Training, evaluation and shipping of learned saliency models.

The rooms are sub-packages: `learned_saliency.attribution`, `learned_saliency.trainers` and so on.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from learned_saliency.pipeline.prediction import (
        ClassScore,
        ImageError,
        ImageSaliency,
        SaliencyPredictor,
        load,
    )

__all__ = ["ClassScore", "ImageError", "ImageSaliency", "SaliencyPredictor", "load"]


def __getattr__(name: str) -> Any:
    """Import a name when it is asked for, with all that it needs."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from learned_saliency.pipeline import prediction

    return getattr(prediction, name)

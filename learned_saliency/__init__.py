"""Training, evaluation and shipping of learned saliency models.

The rooms are sub-packages: `learned_saliency.attribution`, `learned_saliency.trainers` and so on.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from learned_saliency.pipeline.prediction import (
        ClassScore,
        ImageError,
        ImageSaliency,
        SaliencyPredictor,
        load,
    )
    from learned_saliency.trainers import SaliencyCallback, evaluate_maps

__all__ = [
    "ClassScore",
    "ImageError",
    "ImageSaliency",
    "SaliencyCallback",
    "SaliencyPredictor",
    "evaluate_maps",
    "load",
]
# Where names lie that `pipeline.prediction` lacks.
_ROOMS = dict.fromkeys(("SaliencyCallback", "evaluate_maps"), "trainers")


def __getattr__(name: str) -> Any:
    """Import a name when it is asked for, with all that it needs."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = _ROOMS.get(name, "pipeline.prediction")
    return getattr(import_module(f"{__name__}.{room}"), name)

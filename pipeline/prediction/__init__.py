"""Job of ``predict.py``, and `load`: maps, classes and boxes of images."""

from learned_saliency.pipeline.prediction.command import run
from learned_saliency.pipeline.prediction.images import ImageError
from learned_saliency.pipeline.prediction.loading import load
from learned_saliency.pipeline.prediction.outcomes import ClassScore, ImageSaliency
from learned_saliency.pipeline.prediction.predict import predict
from learned_saliency.pipeline.prediction.predictor import SaliencyPredictor

__all__ = [
    "ClassScore",
    "ImageError",
    "ImageSaliency",
    "SaliencyPredictor",
    "load",
    "predict",
    "run",
]

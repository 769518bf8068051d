from pipeline.images import ImageError
from pipeline.inference import ClassScore, ImageSaliency, SaliencyModel
from pipeline.loading import load

__all__ = ["ClassScore", "ImageError", "ImageSaliency", "SaliencyModel", "load"]

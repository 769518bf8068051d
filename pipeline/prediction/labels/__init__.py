"""Objects found in photographs as annotation files of other tools; a format is one file."""

from learned_saliency.pipeline.prediction.labels.base import LabelFormat
from learned_saliency.pipeline.prediction.labels.coco import COCO
from learned_saliency.pipeline.prediction.labels.cvat import CVAT
from learned_saliency.pipeline.prediction.labels.labelstudio import LabelStudio
from learned_saliency.pipeline.prediction.labels.png import PNG
from learned_saliency.pipeline.prediction.labels.voc import VOC
from learned_saliency.pipeline.prediction.labels.yolo import YOLO

FORMATS: dict[str, type[LabelFormat]] = {
    made.name: made for made in (COCO, CVAT, LabelStudio, PNG, VOC, YOLO)
}

__all__ = ["FORMATS"]

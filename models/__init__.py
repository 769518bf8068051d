from models.backbones import MultiScaleBackbone
from models.cam import CAMClassifier
from models.fcam import FCAM, FCAMOutput
from models.unet import UNetDecoder

__all__ = ["FCAM", "CAMClassifier", "FCAMOutput", "MultiScaleBackbone", "UNetDecoder"]

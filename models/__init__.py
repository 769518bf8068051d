from models.backbones import MultiScaleBackbone
from models.calm import CALM, CueDistribution, cue_distribution
from models.cam import CAMClassifier
from models.casm import CASM, CASMOutput, MaskDecoder
from models.fcam import FCAM, FCAMOutput
from models.unet import UNetDecoder

__all__ = [
    "CALM",
    "CASM",
    "FCAM",
    "CAMClassifier",
    "CASMOutput",
    "CueDistribution",
    "FCAMOutput",
    "MaskDecoder",
    "MultiScaleBackbone",
    "UNetDecoder",
    "cue_distribution",
]

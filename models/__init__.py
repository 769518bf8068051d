from learned_saliency.models.backbones import MultiScaleBackbone
from learned_saliency.models.calm import CALM, CueDistribution, cue_distribution
from learned_saliency.models.cam import CAMClassifier
from learned_saliency.models.casm import CASM, CASMOutput, MaskDecoder
from learned_saliency.models.classifier import MultiScaleClassifier
from learned_saliency.models.fcam import FCAM, FCAMOutput
from learned_saliency.models.feature_cache import (
    FeatureCache,
    feature_key,
    is_feature_cache,
    is_frozen,
)
from learned_saliency.models.pyramid import FeaturePyramid
from learned_saliency.models.transformer import TransformerBackbone
from learned_saliency.models.trunk import Trunk
from learned_saliency.models.unet import UNetDecoder

__all__ = [
    "CALM",
    "CASM",
    "FCAM",
    "CAMClassifier",
    "CASMOutput",
    "CueDistribution",
    "FCAMOutput",
    "FeatureCache",
    "FeaturePyramid",
    "MaskDecoder",
    "MultiScaleBackbone",
    "MultiScaleClassifier",
    "TransformerBackbone",
    "Trunk",
    "UNetDecoder",
    "cue_distribution",
    "feature_key",
    "is_feature_cache",
    "is_frozen",
]

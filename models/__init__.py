from learned_saliency.models.acol import ACoL, ACoLOutput
from learned_saliency.models.adl import ADLClassifier, AttentionDropout, drop_mask
from learned_saliency.models.amortized import Amortized, AmortizedOutput
from learned_saliency.models.answers import Answers, SingleLogit, Values
from learned_saliency.models.backbones import MultiScaleBackbone
from learned_saliency.models.calm import CALM, CueDistribution, cue_distribution
from learned_saliency.models.cam import CAMClassifier
from learned_saliency.models.casm import CASM, CASMOutput, MaskDecoder
from learned_saliency.models.channel_weights import ChannelWeights
from learned_saliency.models.classifier import (
    HeadGradients,
    MultiScaleClassifier,
    head_with_gradients,
)
from learned_saliency.models.cutmix import CutMix, MixedImages, cut_box, mix_images
from learned_saliency.models.evidence_decoder import EvidenceDecoder
from learned_saliency.models.fcam import FCAM, FCAMOutput
from learned_saliency.models.feature_cache import (
    FeatureCache,
    feature_key,
    is_feature_cache,
    is_frozen,
)
from learned_saliency.models.finetuned import FineTuned, LinearProbe
from learned_saliency.models.first_layer import (
    adapt_first_layer,
    find_first_layer,
    with_channels,
)
from learned_saliency.models.has import HideAndSeek, hidden_pixels
from learned_saliency.models.pooling import (
    GlobalAverage,
    GlobalMaximum,
    LogSumExp,
    Pooling,
    Wildcat,
)
from learned_saliency.models.pyramid import FeaturePyramid
from learned_saliency.models.question_answering import QuestionAnswering
from learned_saliency.models.rtis import RTIS
from learned_saliency.models.smp_decoder import DECODERS, MissingDecodersError, SMPDecoder
from learned_saliency.models.spg import SPG, SPGOutput
from learned_saliency.models.transformer import TransformerBackbone
from learned_saliency.models.trilite import TriLite, TriLiteOutput, region_features
from learned_saliency.models.trunk import Trunk
from learned_saliency.models.tscam import TSCAM
from learned_saliency.models.unet import UNetDecoder

__all__ = [
    "CALM",
    "CASM",
    "DECODERS",
    "FCAM",
    "RTIS",
    "SPG",
    "TSCAM",
    "ACoL",
    "ACoLOutput",
    "ADLClassifier",
    "Amortized",
    "AmortizedOutput",
    "Answers",
    "AttentionDropout",
    "CAMClassifier",
    "CASMOutput",
    "ChannelWeights",
    "CueDistribution",
    "CutMix",
    "EvidenceDecoder",
    "FCAMOutput",
    "FeatureCache",
    "FeaturePyramid",
    "FineTuned",
    "GlobalAverage",
    "GlobalMaximum",
    "HeadGradients",
    "HideAndSeek",
    "LinearProbe",
    "LogSumExp",
    "MaskDecoder",
    "MissingDecodersError",
    "MixedImages",
    "MultiScaleBackbone",
    "MultiScaleClassifier",
    "Pooling",
    "QuestionAnswering",
    "SMPDecoder",
    "SPGOutput",
    "SingleLogit",
    "TransformerBackbone",
    "TriLite",
    "TriLiteOutput",
    "Trunk",
    "UNetDecoder",
    "Values",
    "Wildcat",
    "adapt_first_layer",
    "cue_distribution",
    "cut_box",
    "drop_mask",
    "feature_key",
    "find_first_layer",
    "head_with_gradients",
    "hidden_pixels",
    "is_feature_cache",
    "is_frozen",
    "mix_images",
    "region_features",
    "with_channels",
]

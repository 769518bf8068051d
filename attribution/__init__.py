"""Post-hoc saliency of any classifier."""

from learned_saliency.attribution.ablationcam import AblationCAM
from learned_saliency.attribution.amortized import Amortized
from learned_saliency.attribution.attnlrp import AttnLRP
from learned_saliency.attribution.calm import (
    CALMConditional,
    CALMCounterfactual,
    CALMJoint,
    CALMSaliency,
    CALMSubset,
)
from learned_saliency.attribution.cam import CAM
from learned_saliency.attribution.core.affine import is_affine
from learned_saliency.attribution.core.classifier import Classifier, SharedFeatures, encode, frozen
from learned_saliency.attribution.core.cut import LayerError
from learned_saliency.attribution.core.deeplift import Contributions, deeplift
from learned_saliency.attribution.core.folding import (
    FoldedBatchNorm,
    FoldingError,
    fold_batchnorm,
)
from learned_saliency.attribution.core.layout import LAYOUTS
from learned_saliency.attribution.core.levels import (
    LeveledClassifier,
    described_levels,
    split_levels,
)
from learned_saliency.attribution.core.method import (
    ChannelWeightedMethod,
    PostHocMethod,
    Query,
    normalize,
    resize,
)
from learned_saliency.attribution.core.outputs import OutputError, Outputs, find_logits
from learned_saliency.attribution.core.recording import recording
from learned_saliency.attribution.core.scales import LevelError
from learned_saliency.attribution.core.scored import ScoredClassifier
from learned_saliency.attribution.core.split import SplitClassifier, split
from learned_saliency.attribution.core.targets import TARGETS
from learned_saliency.attribution.fakecam import FakeCAM
from learned_saliency.attribution.gradcam import GradCAM
from learned_saliency.attribution.gradcampp import GradCAMPlusPlus
from learned_saliency.attribution.gradients import (
    IntegratedGradients,
    SmoothGrad,
    VanillaGradient,
    VarGrad,
)
from learned_saliency.attribution.hirescam import HiResCAM
from learned_saliency.attribution.layercam import LayerCAM
from learned_saliency.attribution.legrad import LeGrad
from learned_saliency.attribution.liftcam import LIFTCAM
from learned_saliency.attribution.objectives import MaskObjective
from learned_saliency.attribution.opticam import OptiCAM, OptiCAMResult, Start
from learned_saliency.attribution.rollout import RawAttention, Rollout
from learned_saliency.attribution.scorecam import ScoreCAM
from learned_saliency.attribution.shapcam import SHAPCAM
from learned_saliency.attribution.smoothgradcampp import SmoothGradCAMPlusPlus
from learned_saliency.attribution.starts import RandomStart
from learned_saliency.attribution.supersets import SupersetAggregation, superset_members
from learned_saliency.attribution.targets import (
    BoxScore,
    EmbeddingSimilarity,
    RawScores,
    RegionScore,
)
from learned_saliency.attribution.tibav import TIBAV
from learned_saliency.attribution.vitreciprocam import ViTReciproCAM
from learned_saliency.attribution.xgradcam import XGradCAM

__all__ = [
    "CAM",
    "LAYOUTS",
    "LIFTCAM",
    "SHAPCAM",
    "TARGETS",
    "TIBAV",
    "AblationCAM",
    "Amortized",
    "AttnLRP",
    "BoxScore",
    "CALMConditional",
    "CALMCounterfactual",
    "CALMJoint",
    "CALMSaliency",
    "CALMSubset",
    "ChannelWeightedMethod",
    "Classifier",
    "Contributions",
    "EmbeddingSimilarity",
    "FakeCAM",
    "FoldedBatchNorm",
    "FoldingError",
    "GradCAM",
    "GradCAMPlusPlus",
    "HiResCAM",
    "IntegratedGradients",
    "LayerCAM",
    "LayerError",
    "LeGrad",
    "LevelError",
    "LeveledClassifier",
    "MaskObjective",
    "OptiCAM",
    "OptiCAMResult",
    "OutputError",
    "Outputs",
    "PostHocMethod",
    "Query",
    "RandomStart",
    "RawAttention",
    "RawScores",
    "RegionScore",
    "Rollout",
    "ScoreCAM",
    "ScoredClassifier",
    "SharedFeatures",
    "SmoothGrad",
    "SmoothGradCAMPlusPlus",
    "SplitClassifier",
    "Start",
    "SupersetAggregation",
    "VanillaGradient",
    "VarGrad",
    "ViTReciproCAM",
    "XGradCAM",
    "deeplift",
    "described_levels",
    "encode",
    "find_logits",
    "fold_batchnorm",
    "frozen",
    "is_affine",
    "normalize",
    "recording",
    "resize",
    "split",
    "split_levels",
    "superset_members",
]

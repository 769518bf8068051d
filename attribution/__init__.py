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
from learned_saliency.attribution.core.activation_statistics import (
    ActivationStatistics,
    activation_statistics,
)
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
from learned_saliency.attribution.core.maps import normalize, resize
from learned_saliency.attribution.core.method import ChannelWeightedMethod, PostHocMethod, Query
from learned_saliency.attribution.core.outputs import OutputError, Outputs, find_logits
from learned_saliency.attribution.core.parts import MeanActivations, PartMaps
from learned_saliency.attribution.core.recording import recording
from learned_saliency.attribution.core.scales import LevelError
from learned_saliency.attribution.core.scored import ScoredClassifier
from learned_saliency.attribution.core.split import SplitClassifier, split
from learned_saliency.attribution.core.targets import TARGETS
from learned_saliency.attribution.deepshapcam import DeepSHAPCAM
from learned_saliency.attribution.eigencam import EigenCAM
from learned_saliency.attribution.ensemble import Ensemble
from learned_saliency.attribution.excitationbackprop import ExcitationBackprop
from learned_saliency.attribution.extremal import ExtremalPerturbation
from learned_saliency.attribution.fakecam import FakeCAM
from learned_saliency.attribution.feedback import Feedback
from learned_saliency.attribution.finercam import FinerCAM
from learned_saliency.attribution.fullgrad import FullGrad
from learned_saliency.attribution.gradcam import GradCAM
from learned_saliency.attribution.gradcampp import GradCAMPlusPlus
from learned_saliency.attribution.gradients import (
    IntegratedGradients,
    SmoothGrad,
    VanillaGradient,
    VarGrad,
)
from learned_saliency.attribution.guidedbackprop import GuidedBackprop
from learned_saliency.attribution.hirescam import HiResCAM
from learned_saliency.attribution.iba import InformationBottleneck
from learned_saliency.attribution.iscam import ISCAM
from learned_saliency.attribution.kernelshapcam import KernelSHAPCAM
from learned_saliency.attribution.layercam import LayerCAM
from learned_saliency.attribution.legrad import LeGrad
from learned_saliency.attribution.liftcam import LIFTCAM
from learned_saliency.attribution.limecam import LIMECAM
from learned_saliency.attribution.lrpcam import LRPCAM
from learned_saliency.attribution.meaningful import MeaningfulPerturbation
from learned_saliency.attribution.objectives import MaskObjective
from learned_saliency.attribution.occlusion import Occlusion
from learned_saliency.attribution.opticam import OptiCAM, OptiCAMResult, Start
from learned_saliency.attribution.reciprocam import ReciproCAM
from learned_saliency.attribution.refinecam import RefineCAM
from learned_saliency.attribution.rise import RISE
from learned_saliency.attribution.rollout import RawAttention, Rollout
from learned_saliency.attribution.scorecam import ScoreCAM
from learned_saliency.attribution.shapcam import SHAPCAM
from learned_saliency.attribution.shapleycam import ShapleyCAM
from learned_saliency.attribution.smoothgradcampp import SmoothGradCAMPlusPlus
from learned_saliency.attribution.sscam import SSCAM
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
    "ISCAM",
    "LAYOUTS",
    "LIFTCAM",
    "LIMECAM",
    "LRPCAM",
    "RISE",
    "SHAPCAM",
    "SSCAM",
    "TARGETS",
    "TIBAV",
    "AblationCAM",
    "ActivationStatistics",
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
    "DeepSHAPCAM",
    "EigenCAM",
    "EmbeddingSimilarity",
    "Ensemble",
    "ExcitationBackprop",
    "ExtremalPerturbation",
    "FakeCAM",
    "Feedback",
    "FinerCAM",
    "FoldedBatchNorm",
    "FoldingError",
    "FullGrad",
    "GradCAM",
    "GradCAMPlusPlus",
    "GuidedBackprop",
    "HiResCAM",
    "InformationBottleneck",
    "IntegratedGradients",
    "KernelSHAPCAM",
    "LayerCAM",
    "LayerError",
    "LeGrad",
    "LevelError",
    "LeveledClassifier",
    "MaskObjective",
    "MeanActivations",
    "MeaningfulPerturbation",
    "Occlusion",
    "OptiCAM",
    "OptiCAMResult",
    "OutputError",
    "Outputs",
    "PartMaps",
    "PostHocMethod",
    "Query",
    "RandomStart",
    "RawAttention",
    "RawScores",
    "ReciproCAM",
    "RefineCAM",
    "RegionScore",
    "Rollout",
    "ScoreCAM",
    "ScoredClassifier",
    "ShapleyCAM",
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
    "activation_statistics",
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

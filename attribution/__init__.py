"""Post-hoc saliency of any classifier."""

from attribution.ablationcam import AblationCAM
from attribution.affine import is_affine
from attribution.base import ChannelWeightedMethod, PostHocMethod, Query, normalize, resize
from attribution.cam import CAM
from attribution.classifier import Classifier, SharedFeatures, encode, frozen
from attribution.deeplift import Contributions, deeplift
from attribution.fakecam import FakeCAM
from attribution.gradcam import GradCAM
from attribution.gradcampp import GradCAMPlusPlus
from attribution.gradients import IntegratedGradients, SmoothGrad, VanillaGradient, VarGrad
from attribution.hirescam import HiResCAM
from attribution.layercam import LayerCAM
from attribution.liftcam import LIFTCAM
from attribution.opticam import OptiCAM, OptiCAMResult
from attribution.rollout import RawAttention, Rollout
from attribution.scorecam import ScoreCAM
from attribution.shapcam import SHAPCAM
from attribution.smoothgradcampp import SmoothGradCAMPlusPlus
from attribution.split import SplitClassifier, split
from attribution.supersets import SupersetAggregation, superset_members
from attribution.xgradcam import XGradCAM

__all__ = [
    "CAM",
    "LIFTCAM",
    "SHAPCAM",
    "AblationCAM",
    "ChannelWeightedMethod",
    "Classifier",
    "Contributions",
    "FakeCAM",
    "GradCAM",
    "GradCAMPlusPlus",
    "HiResCAM",
    "IntegratedGradients",
    "LayerCAM",
    "OptiCAM",
    "OptiCAMResult",
    "PostHocMethod",
    "Query",
    "RawAttention",
    "Rollout",
    "ScoreCAM",
    "SharedFeatures",
    "SmoothGrad",
    "SmoothGradCAMPlusPlus",
    "SplitClassifier",
    "SupersetAggregation",
    "VanillaGradient",
    "VarGrad",
    "XGradCAM",
    "deeplift",
    "encode",
    "frozen",
    "is_affine",
    "normalize",
    "resize",
    "split",
    "superset_members",
]

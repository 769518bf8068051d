from learned_saliency.losses.calm import (
    CALMLoss,
    expectation_maximization,
    location_posterior,
    marginal_likelihood,
)
from learned_saliency.losses.casm import (
    CASMLoss,
    CASMLossTerms,
    casm_classifier_loss,
    mask_size_term,
    negative_cross_entropy,
    negative_entropy,
)
from learned_saliency.losses.class_seeds import class_seeds, joint_seeds
from learned_saliency.losses.cutmix import mixed_cross_entropy
from learned_saliency.losses.dense_crf import DenseCRFLoss, dense_crf
from learned_saliency.losses.fcam import FCAMLoss, FCAMLossTerms, present_regions
from learned_saliency.losses.log_barrier import BarrierTemperature, log_barrier
from learned_saliency.losses.multilabel import classification_loss, multilabel_cross_entropy
from learned_saliency.losses.partial_cross_entropy import IGNORE, partial_cross_entropy
from learned_saliency.losses.regression import standardized_error
from learned_saliency.losses.rtis import AlternativeImages, RTISLoss, RTISLossTerms
from learned_saliency.losses.seed_regions import (
    ForegroundRegions,
    SamplingRegions,
    background_chances,
    foreground_regions,
    sampling_regions,
    scaled_side,
)
from learned_saliency.losses.seeds import SeedSampler
from learned_saliency.losses.size_constraint import size_constraint
from learned_saliency.losses.spg import SPGLoss, SPGLossTerms, guidance_seeds, seed_cross_entropy
from learned_saliency.losses.supervised import SupervisedLoss, box_masks, pixel_cross_entropy
from learned_saliency.losses.trilite import TriLiteLoss, TriLiteLossTerms, adversarial_background
from learned_saliency.ops import otsu_threshold

__all__ = [
    "IGNORE",
    "AlternativeImages",
    "BarrierTemperature",
    "CALMLoss",
    "CASMLoss",
    "CASMLossTerms",
    "DenseCRFLoss",
    "FCAMLoss",
    "FCAMLossTerms",
    "ForegroundRegions",
    "RTISLoss",
    "RTISLossTerms",
    "SPGLoss",
    "SPGLossTerms",
    "SamplingRegions",
    "SeedSampler",
    "SupervisedLoss",
    "TriLiteLoss",
    "TriLiteLossTerms",
    "adversarial_background",
    "background_chances",
    "box_masks",
    "casm_classifier_loss",
    "class_seeds",
    "classification_loss",
    "dense_crf",
    "expectation_maximization",
    "foreground_regions",
    "guidance_seeds",
    "joint_seeds",
    "location_posterior",
    "log_barrier",
    "marginal_likelihood",
    "mask_size_term",
    "mixed_cross_entropy",
    "multilabel_cross_entropy",
    "negative_cross_entropy",
    "negative_entropy",
    "otsu_threshold",
    "partial_cross_entropy",
    "pixel_cross_entropy",
    "present_regions",
    "sampling_regions",
    "scaled_side",
    "seed_cross_entropy",
    "size_constraint",
    "standardized_error",
]

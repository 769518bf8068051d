from losses.calm import CALMLoss, expectation_maximization, location_posterior, marginal_likelihood
from losses.casm import (
    CASMLoss,
    CASMLossTerms,
    casm_classifier_loss,
    mask_size_term,
    negative_cross_entropy,
    negative_entropy,
)
from losses.dense_crf import DenseCRFLoss, dense_crf
from losses.fcam import FCAMLoss, FCAMLossTerms
from losses.log_barrier import BarrierTemperature, log_barrier
from losses.otsu import otsu_threshold
from losses.partial_cross_entropy import IGNORE, partial_cross_entropy
from losses.seeds import SamplingRegions, SeedSampler, sampling_regions
from losses.size_constraint import size_constraint

__all__ = [
    "IGNORE",
    "BarrierTemperature",
    "CALMLoss",
    "CASMLoss",
    "CASMLossTerms",
    "DenseCRFLoss",
    "FCAMLoss",
    "FCAMLossTerms",
    "SamplingRegions",
    "SeedSampler",
    "casm_classifier_loss",
    "dense_crf",
    "expectation_maximization",
    "location_posterior",
    "log_barrier",
    "marginal_likelihood",
    "mask_size_term",
    "negative_cross_entropy",
    "negative_entropy",
    "otsu_threshold",
    "partial_cross_entropy",
    "sampling_regions",
    "size_constraint",
]

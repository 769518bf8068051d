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
    "DenseCRFLoss",
    "FCAMLoss",
    "FCAMLossTerms",
    "SamplingRegions",
    "SeedSampler",
    "dense_crf",
    "log_barrier",
    "otsu_threshold",
    "partial_cross_entropy",
    "sampling_regions",
    "size_constraint",
]

from learned_saliency.metrics.boxes import (
    best_ious,
    box_iou,
    boxes_from_saliency,
    largest_regions,
)
from learned_saliency.metrics.coverage import (
    COVERAGE_THRESHOLDS,
    FORMS,
    TRUTHS,
    CalibrationSums,
    CoverageCalibration,
    calibrated_threshold,
    empty_sums,
    images_needed,
    region,
    smoothed,
)
from learned_saliency.metrics.cue_localization import CueLocalization
from learned_saliency.metrics.faithfulness import (
    AverageDrop,
    AverageDropInDeletion,
    AverageGain,
    AverageIncrease,
    MaskedProbabilities,
    drop,
    drop_in_deletion,
    gain,
    increase,
    masked_probabilities,
)
from learned_saliency.metrics.figures import Figure, declared
from learned_saliency.metrics.floors import FLOORS, LocalizationFloors
from learned_saliency.metrics.insertion_deletion import (
    Deletion,
    Insertion,
    area_under_curves,
    deletion_curves,
    insertion_curves,
)
from learned_saliency.metrics.localization import Localization, MaxBoxAcc, MaxBoxAccV2
from learned_saliency.metrics.map_statistics import MapStatistics
from learned_saliency.metrics.mask_localization import (
    MaskLocalization,
    binarize,
    largest_component_boxes,
    overlap_with_boxes,
)
from learned_saliency.metrics.masked_accuracy import MaskedAccuracy, inpaint, masked_variants
from learned_saliency.metrics.pxap import PrecisionRecall, PxAP
from learned_saliency.metrics.remove_and_classify import (
    FRACTIONS,
    RemovalCurve,
    RemoveAndClassify,
    blurred_hits,
    random_saliency,
    removal_hits,
)

__all__ = [
    "COVERAGE_THRESHOLDS",
    "FLOORS",
    "FORMS",
    "FRACTIONS",
    "TRUTHS",
    "AverageDrop",
    "AverageDropInDeletion",
    "AverageGain",
    "AverageIncrease",
    "CalibrationSums",
    "CoverageCalibration",
    "CueLocalization",
    "Deletion",
    "Figure",
    "Insertion",
    "Localization",
    "LocalizationFloors",
    "MapStatistics",
    "MaskLocalization",
    "MaskedAccuracy",
    "MaskedProbabilities",
    "MaxBoxAcc",
    "MaxBoxAccV2",
    "PrecisionRecall",
    "PxAP",
    "RemovalCurve",
    "RemoveAndClassify",
    "area_under_curves",
    "best_ious",
    "binarize",
    "blurred_hits",
    "box_iou",
    "boxes_from_saliency",
    "calibrated_threshold",
    "declared",
    "deletion_curves",
    "drop",
    "drop_in_deletion",
    "empty_sums",
    "gain",
    "images_needed",
    "increase",
    "inpaint",
    "insertion_curves",
    "largest_component_boxes",
    "largest_regions",
    "masked_probabilities",
    "masked_variants",
    "overlap_with_boxes",
    "random_saliency",
    "region",
    "removal_hits",
    "smoothed",
]

from metrics.boxes import best_ious, box_iou, boxes_from_saliency
from metrics.cue_localization import CueLocalization
from metrics.faithfulness import (
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
from metrics.floors import LocalizationFloors
from metrics.insertion_deletion import (
    Deletion,
    Insertion,
    area_under_curves,
    deletion_curves,
    insertion_curves,
)
from metrics.localization import Localization, MaxBoxAcc, MaxBoxAccV2
from metrics.map_statistics import MapStatistics
from metrics.mask_localization import (
    MaskLocalization,
    binarize,
    largest_component_boxes,
    overlap_with_boxes,
)
from metrics.masked_accuracy import MaskedAccuracy, inpaint, masked_variants
from metrics.pxap import PrecisionRecall, PxAP
from metrics.remove_and_classify import (
    RemovalCurve,
    RemoveAndClassify,
    blurred_hits,
    random_saliency,
    removal_hits,
)

__all__ = [
    "AverageDrop",
    "AverageDropInDeletion",
    "AverageGain",
    "AverageIncrease",
    "CueLocalization",
    "Deletion",
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
    "deletion_curves",
    "drop",
    "drop_in_deletion",
    "gain",
    "increase",
    "inpaint",
    "insertion_curves",
    "largest_component_boxes",
    "masked_probabilities",
    "masked_variants",
    "overlap_with_boxes",
    "random_saliency",
    "removal_hits",
]

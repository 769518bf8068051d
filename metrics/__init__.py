from metrics.boxes import best_ious, boxes_from_saliency
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
from metrics.pxap import PrecisionRecall, PxAP

__all__ = [
    "AverageDrop",
    "AverageDropInDeletion",
    "AverageGain",
    "AverageIncrease",
    "Deletion",
    "Insertion",
    "Localization",
    "LocalizationFloors",
    "MaskedProbabilities",
    "MaxBoxAcc",
    "MaxBoxAccV2",
    "PrecisionRecall",
    "PxAP",
    "area_under_curves",
    "best_ious",
    "boxes_from_saliency",
    "deletion_curves",
    "drop",
    "drop_in_deletion",
    "gain",
    "increase",
    "insertion_curves",
    "masked_probabilities",
]

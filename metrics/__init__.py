from learned_saliency.metrics.activations import (
    ActivationHistogram,
    ThresholdCurve,
    plateau_width,
    shares,
    threshold_curve,
)
from learned_saliency.metrics.adcc import (
    ADCC,
    ARCC,
    Coherency,
    L1Complexity,
    adcc,
    arcc,
    coherency,
    explain_masked,
    l1_complexity,
)
from learned_saliency.metrics.aopc import AOPC, area_over_curves, region_curves
from learned_saliency.metrics.average_precision import ClassAveragePrecision, average_precision
from learned_saliency.metrics.boxes import best_ious, boxes_from_saliency, largest_regions
from learned_saliency.metrics.checks import constant_maps
from learned_saliency.metrics.concentration import (
    Complexity,
    Sparseness,
    gini_index,
    pixel_entropy,
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
from learned_saliency.metrics.crop_saliency import (
    Crops,
    CropSaliency,
    crop_probabilities,
    crop_saliency,
)
from learned_saliency.metrics.cue_localization import CueLocalization
from learned_saliency.metrics.energy import (
    EnergyPointingGame,
    EnergyProportion,
    RelevanceMassAccuracy,
    energy,
)
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
from learned_saliency.metrics.figures import EXCLUSIVE, PRESENCE, VALUES, Figure, declared
from learned_saliency.metrics.floors import FLOORS, LocalizationFloors
from learned_saliency.metrics.image_states import ImageStates
from learned_saliency.metrics.image_terms import ImageTerms
from learned_saliency.metrics.infidelity import (
    Infidelity,
    RemovedSquares,
    infidelity,
    remove_squares,
)
from learned_saliency.metrics.insertion_deletion import (
    Deletion,
    Insertion,
    area_under_curves,
    deletion_curves,
    insertion_curves,
)
from learned_saliency.metrics.localization import Localization, MaxBoxAcc, MaxBoxAccV2
from learned_saliency.metrics.map_similarity import (
    MapSimilarity,
    hog_correlation,
    structural_similarity,
)
from learned_saliency.metrics.map_statistics import MapStatistics
from learned_saliency.metrics.mask_localization import (
    MaskLocalization,
    binarize,
    largest_component_boxes,
    overlap_with_boxes,
)
from learned_saliency.metrics.masked_accuracy import MaskedAccuracy, inpaint, masked_variants
from learned_saliency.metrics.masked_probability import masked_probability
from learned_saliency.metrics.masking import black_level
from learned_saliency.metrics.max_sensitivity import MaxSensitivity, max_sensitivity, noise_changes
from learned_saliency.metrics.overlap_localization import (
    OverlapLocalization,
    boxes_above_mean,
    pixelwise_f1,
)
from learned_saliency.metrics.part_effects import Contrast, PartEffects, find_contrasts
from learned_saliency.metrics.part_fidelity import PartFidelity
from learned_saliency.metrics.part_importance import (
    IMPORTANCES,
    part_importance,
)
from learned_saliency.metrics.pointing import MaskPointingGame, PointingGame, pointing_hits
from learned_saliency.metrics.pxap import PrecisionRecall, PxAP
from learned_saliency.metrics.rank_correlation import rank_correlation
from learned_saliency.metrics.relevance_rank import RelevanceRankAccuracy, rank_accuracy
from learned_saliency.metrics.remove_and_classify import (
    FRACTIONS,
    RemovalCurve,
    RemoveAndClassify,
    blurred_hits,
    random_saliency,
    removal_hits,
)
from learned_saliency.metrics.road import (
    ROAD_FRACTIONS,
    Road,
    RoadLeRF,
    RoadMoRF,
    RoadProbabilities,
    road,
    road_lerf,
    road_morf,
    road_probabilities,
)
from learned_saliency.metrics.truth import box_union, mask_region
from learned_saliency.metrics.value_errors import ValueErrors
from learned_saliency.metrics.weight_similarity import WeightSimilarity, weight_similarity
from learned_saliency.metrics.zerobox import (
    Regions,
    ZeroBoxCutout,
    ZeroBoxGain,
    ZeroBoxInsertion,
    ZeroBoxPseudoBoxes,
    ZeroBoxSegments,
    ZeroBoxStability,
    chosen_boxes,
    cutout_evidence,
    explained_by_segments,
    find_regions,
    insertion_minus_deletion,
    kept_probabilities,
    view_agreement,
)
from learned_saliency.ops import box_iou

__all__ = [
    "ADCC",
    "AOPC",
    "ARCC",
    "COVERAGE_THRESHOLDS",
    "EXCLUSIVE",
    "FLOORS",
    "FORMS",
    "FRACTIONS",
    "IMPORTANCES",
    "PRESENCE",
    "ROAD_FRACTIONS",
    "TRUTHS",
    "VALUES",
    "ActivationHistogram",
    "AverageDrop",
    "AverageDropInDeletion",
    "AverageGain",
    "AverageIncrease",
    "CalibrationSums",
    "ClassAveragePrecision",
    "Coherency",
    "Complexity",
    "Contrast",
    "CoverageCalibration",
    "CropSaliency",
    "Crops",
    "CueLocalization",
    "Deletion",
    "EnergyPointingGame",
    "EnergyProportion",
    "Figure",
    "ImageStates",
    "ImageTerms",
    "Infidelity",
    "Insertion",
    "L1Complexity",
    "Localization",
    "LocalizationFloors",
    "MapSimilarity",
    "MapStatistics",
    "MaskLocalization",
    "MaskPointingGame",
    "MaskedAccuracy",
    "MaskedProbabilities",
    "MaxBoxAcc",
    "MaxBoxAccV2",
    "MaxSensitivity",
    "OverlapLocalization",
    "PartEffects",
    "PartFidelity",
    "PointingGame",
    "PrecisionRecall",
    "PxAP",
    "Regions",
    "RelevanceMassAccuracy",
    "RelevanceRankAccuracy",
    "RemovalCurve",
    "RemoveAndClassify",
    "RemovedSquares",
    "Road",
    "RoadLeRF",
    "RoadMoRF",
    "RoadProbabilities",
    "Sparseness",
    "ThresholdCurve",
    "ValueErrors",
    "WeightSimilarity",
    "ZeroBoxCutout",
    "ZeroBoxGain",
    "ZeroBoxInsertion",
    "ZeroBoxPseudoBoxes",
    "ZeroBoxSegments",
    "ZeroBoxStability",
    "adcc",
    "arcc",
    "area_over_curves",
    "area_under_curves",
    "average_precision",
    "best_ious",
    "binarize",
    "black_level",
    "blurred_hits",
    "box_iou",
    "box_union",
    "boxes_above_mean",
    "boxes_from_saliency",
    "calibrated_threshold",
    "chosen_boxes",
    "coherency",
    "constant_maps",
    "crop_probabilities",
    "crop_saliency",
    "cutout_evidence",
    "declared",
    "deletion_curves",
    "drop",
    "drop_in_deletion",
    "empty_sums",
    "energy",
    "explain_masked",
    "explained_by_segments",
    "find_contrasts",
    "find_regions",
    "gain",
    "gini_index",
    "hog_correlation",
    "images_needed",
    "increase",
    "infidelity",
    "inpaint",
    "insertion_curves",
    "insertion_minus_deletion",
    "kept_probabilities",
    "l1_complexity",
    "largest_component_boxes",
    "largest_regions",
    "mask_region",
    "masked_probabilities",
    "masked_probability",
    "masked_variants",
    "max_sensitivity",
    "noise_changes",
    "overlap_with_boxes",
    "part_importance",
    "pixel_entropy",
    "pixelwise_f1",
    "plateau_width",
    "pointing_hits",
    "random_saliency",
    "rank_accuracy",
    "rank_correlation",
    "region",
    "region_curves",
    "removal_hits",
    "remove_squares",
    "road",
    "road_lerf",
    "road_morf",
    "road_probabilities",
    "shares",
    "smoothed",
    "structural_similarity",
    "threshold_curve",
    "view_agreement",
    "weight_similarity",
]

"""LightningModules, with their callbacks, loggers and strategies."""

from learned_saliency.trainers.amortized import AmortizedModule
from learned_saliency.trainers.base import NATIVE, SaliencyModule
from learned_saliency.trainers.callbacks import (
    STATES_FILE,
    ContactSheet,
    DivergedError,
    Divergence,
    Gallery,
    GalleryImage,
    GalleryMap,
    ImageTable,
    Journal,
    JournaledTest,
    KeepFeatures,
    KeepSignals,
    Kept,
    KeptMethod,
    MetricTree,
    Pictures,
    SaliencyCallback,
    Sums,
    Throughput,
    check_weights,
    listen,
    progress_bar,
    read_image_states,
    spread,
    unkept,
)
from learned_saliency.trainers.calm import CALMModule
from learned_saliency.trainers.cam import CAMModule
from learned_saliency.trainers.casm import CASMModule
from learned_saliency.trainers.casm_pool import SnapshotPool
from learned_saliency.trainers.evaluated_maps import evaluate_maps
from learned_saliency.trainers.faithfulness import TEST_FIGURES, FaithfulnessScores
from learned_saliency.trainers.fcam import FCAMModule
from learned_saliency.trainers.loggers import (
    METRICS_FILE,
    Dashboard,
    MetricsCSV,
    MetricsFile,
    Report,
    TensorBoardDashboard,
    WandbDashboard,
)
from learned_saliency.trainers.map_scores import SCORES
from learned_saliency.trainers.measurements import FIGURES
from learned_saliency.trainers.outputs import (
    EVERY_CLASS,
    ClassMaps,
    Example,
    Explanation,
    GivenMaps,
    NativeMap,
    Prediction,
    PredictionBatch,
    TestOutput,
    is_flat,
)
from learned_saliency.trainers.posthoc import MapsModule, PostHocModule
from learned_saliency.trainers.scores import MONITORS
from learned_saliency.trainers.strategies import (
    LIFELINE,
    ExactEvaluationDDP,
    gathered,
    meet,
    place,
)
from learned_saliency.trainers.testing import EXPLAINED, MASK_COLORS
from learned_saliency.trainers.trial import Trial
from learned_saliency.trainers.trilite import TriLiteModule
from learned_saliency.trainers.zerobox import (
    CRITERIA,
    DEFAULT_CRITERION,
    THRESHOLD_CRITERION,
    ZEROBOX_FIGURES,
    ZeroBoxScores,
    draw_images,
    gives_threshold,
)

__all__ = [
    "CRITERIA",
    "DEFAULT_CRITERION",
    "EVERY_CLASS",
    "EXPLAINED",
    "FIGURES",
    "LIFELINE",
    "MASK_COLORS",
    "METRICS_FILE",
    "MONITORS",
    "NATIVE",
    "SCORES",
    "STATES_FILE",
    "TEST_FIGURES",
    "THRESHOLD_CRITERION",
    "ZEROBOX_FIGURES",
    "AmortizedModule",
    "CALMModule",
    "CAMModule",
    "CASMModule",
    "ClassMaps",
    "ContactSheet",
    "Dashboard",
    "DivergedError",
    "Divergence",
    "ExactEvaluationDDP",
    "Example",
    "Explanation",
    "FCAMModule",
    "FaithfulnessScores",
    "Gallery",
    "GalleryImage",
    "GalleryMap",
    "GivenMaps",
    "ImageTable",
    "Journal",
    "JournaledTest",
    "KeepFeatures",
    "KeepSignals",
    "Kept",
    "KeptMethod",
    "MapsModule",
    "MetricTree",
    "MetricsCSV",
    "MetricsFile",
    "NativeMap",
    "Pictures",
    "PostHocModule",
    "Prediction",
    "PredictionBatch",
    "Report",
    "SaliencyCallback",
    "SaliencyModule",
    "SnapshotPool",
    "Sums",
    "TensorBoardDashboard",
    "TestOutput",
    "Throughput",
    "TriLiteModule",
    "Trial",
    "WandbDashboard",
    "ZeroBoxScores",
    "check_weights",
    "draw_images",
    "evaluate_maps",
    "gathered",
    "gives_threshold",
    "is_flat",
    "listen",
    "meet",
    "place",
    "progress_bar",
    "read_image_states",
    "spread",
    "unkept",
]

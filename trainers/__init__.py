"""LightningModules, with their callbacks, loggers and strategies."""

from learned_saliency.trainers.acol import ACoLModule
from learned_saliency.trainers.amortized import AmortizedModule
from learned_saliency.trainers.base import NATIVE, SaliencyModule
from learned_saliency.trainers.callbacks import (
    STATES_FILE,
    CompiledTraining,
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
    MapParts,
    MetricTree,
    Pictures,
    RecordedImage,
    SaliencyCallback,
    Sums,
    Throughput,
    WeightAverage,
    check_weights,
    draw_image,
    image_rows,
    listen,
    narrowed,
    progress_bar,
    read_image_states,
    spread,
    unkept,
)
from learned_saliency.trainers.calm import CALMModule
from learned_saliency.trainers.cam import CAMModule
from learned_saliency.trainers.casm import CASMModule
from learned_saliency.trainers.casm_pool import SnapshotPool
from learned_saliency.trainers.cutmix import CutMixModule
from learned_saliency.trainers.evaluated_maps import evaluate_maps
from learned_saliency.trainers.faithfulness import TEST_FIGURES, FaithfulnessScores
from learned_saliency.trainers.fcam import FCAMModule
from learned_saliency.trainers.has import HaSModule
from learned_saliency.trainers.loggers import (
    METRICS_FILE,
    Dashboard,
    MetricsCSV,
    MetricsFile,
    MLflowDashboard,
    Report,
    TensorBoardDashboard,
    TrackioDashboard,
    WandbDashboard,
)
from learned_saliency.trainers.map_levels import from_levels
from learned_saliency.trainers.map_scores import SCORES
from learned_saliency.trainers.measurements import FIGURES
from learned_saliency.trainers.outputs import (
    EVERY_CLASS,
    ClassMaps,
    Example,
    Explanation,
    GivenMaps,
    LearnedShare,
    NativeMap,
    Prediction,
    PredictionBatch,
    TestOutput,
    choose_classes,
    is_flat,
)
from learned_saliency.trainers.posthoc import MapsModule, PostHocModule
from learned_saliency.trainers.recorded import RecordedModule
from learned_saliency.trainers.rtis import RTISModule
from learned_saliency.trainers.scores import MONITORS
from learned_saliency.trainers.spg import SPGModule
from learned_saliency.trainers.strategies import (
    LIFELINE,
    ExactEvaluationDDP,
    ShardedTrunkDDP,
    gathered,
    meet,
    place,
)
from learned_saliency.trainers.supervised import SupervisedModule
from learned_saliency.trainers.tasks import TASKS, Task
from learned_saliency.trainers.testing import EXPLAINED, MASK_COLORS
from learned_saliency.trainers.trial import Trial
from learned_saliency.trainers.trilite import TriLiteModule
from learned_saliency.trainers.tscam import TSCAMModule
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
    "TASKS",
    "TEST_FIGURES",
    "THRESHOLD_CRITERION",
    "ZEROBOX_FIGURES",
    "ACoLModule",
    "AmortizedModule",
    "CALMModule",
    "CAMModule",
    "CASMModule",
    "ClassMaps",
    "CompiledTraining",
    "ContactSheet",
    "CutMixModule",
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
    "HaSModule",
    "ImageTable",
    "Journal",
    "JournaledTest",
    "KeepFeatures",
    "KeepSignals",
    "Kept",
    "KeptMethod",
    "LearnedShare",
    "MLflowDashboard",
    "MapParts",
    "MapsModule",
    "MetricTree",
    "MetricsCSV",
    "MetricsFile",
    "NativeMap",
    "Pictures",
    "PostHocModule",
    "Prediction",
    "PredictionBatch",
    "RTISModule",
    "RecordedImage",
    "RecordedModule",
    "Report",
    "SPGModule",
    "SaliencyCallback",
    "SaliencyModule",
    "ShardedTrunkDDP",
    "SnapshotPool",
    "Sums",
    "SupervisedModule",
    "TSCAMModule",
    "Task",
    "TensorBoardDashboard",
    "TestOutput",
    "Throughput",
    "TrackioDashboard",
    "TriLiteModule",
    "Trial",
    "WandbDashboard",
    "WeightAverage",
    "ZeroBoxScores",
    "check_weights",
    "choose_classes",
    "draw_image",
    "draw_images",
    "evaluate_maps",
    "from_levels",
    "gathered",
    "gives_threshold",
    "image_rows",
    "is_flat",
    "listen",
    "meet",
    "narrowed",
    "place",
    "progress_bar",
    "read_image_states",
    "spread",
    "unkept",
]

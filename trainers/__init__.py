from trainers.base import EXPLAINED, NATIVE, SaliencyModule
from trainers.calm import CALMModule
from trainers.cam import CAMModule
from trainers.casm import CASMModule
from trainers.contact_sheet import ContactSheet
from trainers.dashboard import Dashboard, Report
from trainers.distributed import ExactEvaluationDDP
from trainers.divergence import DivergedError, Divergence
from trainers.faithfulness import FIGURES, FaithfulnessScores, Trial
from trainers.fcam import FCAMModule
from trainers.image_table import ImageTable
from trainers.loggers import MetricsCSV
from trainers.outputs import ClassMaps, Example, Explanation, Prediction, Tested
from trainers.pictures import Pictures
from trainers.posthoc import PostHocModule
from trainers.progress import progress_bar
from trainers.snapshots import SnapshotPool
from trainers.tensorboard_dashboard import TensorBoardDashboard
from trainers.throughput import Throughput
from trainers.wandb_dashboard import WandbDashboard

__all__ = [
    "EXPLAINED",
    "FIGURES",
    "NATIVE",
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
    "ImageTable",
    "MetricsCSV",
    "Pictures",
    "PostHocModule",
    "Prediction",
    "Report",
    "SaliencyModule",
    "SnapshotPool",
    "TensorBoardDashboard",
    "Tested",
    "Throughput",
    "Trial",
    "WandbDashboard",
    "progress_bar",
]

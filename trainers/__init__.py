from trainers.base import EXPLAINED, NATIVE, SaliencyModule
from trainers.calm import CALMModule
from trainers.cam import CAMModule
from trainers.casm import CASMModule
from trainers.contact_sheet import ContactSheet
from trainers.distributed import ExactEvaluationDDP
from trainers.faithfulness import FIGURES, FaithfulnessScores, Trial
from trainers.fcam import FCAMModule
from trainers.image_table import ImageTable
from trainers.loggers import MetricsCSV, WandbDashboard
from trainers.outputs import Explanation, Prediction, Tested
from trainers.pictures import Pictures
from trainers.posthoc import PostHocModule
from trainers.progress import progress_bar
from trainers.snapshots import SnapshotPool

__all__ = [
    "EXPLAINED",
    "FIGURES",
    "NATIVE",
    "CALMModule",
    "CAMModule",
    "CASMModule",
    "ContactSheet",
    "ExactEvaluationDDP",
    "Explanation",
    "FCAMModule",
    "FaithfulnessScores",
    "ImageTable",
    "MetricsCSV",
    "Pictures",
    "PostHocModule",
    "Prediction",
    "SaliencyModule",
    "SnapshotPool",
    "Tested",
    "Trial",
    "WandbDashboard",
    "progress_bar",
]

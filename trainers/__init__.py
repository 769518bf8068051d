from trainers.base import NATIVE, Explanation, Prediction, SaliencyModule
from trainers.cam import CAMModule
from trainers.distributed import ExactEvaluationDDP
from trainers.fcam import FCAMModule
from trainers.loggers import MetricsCSV, WandbDashboard
from trainers.pictures import Pictures
from trainers.progress import progress_bar

__all__ = [
    "NATIVE",
    "CAMModule",
    "ExactEvaluationDDP",
    "Explanation",
    "FCAMModule",
    "MetricsCSV",
    "Pictures",
    "Prediction",
    "SaliencyModule",
    "WandbDashboard",
    "progress_bar",
]

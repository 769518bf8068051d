"""Loggers of the curves and pictures of a run."""

from learned_saliency.trainers.loggers.dashboard import Dashboard, Report
from learned_saliency.trainers.loggers.metrics_csv import METRICS_FILE, MetricsCSV, MetricsFile
from learned_saliency.trainers.loggers.mlflow import MLflowDashboard
from learned_saliency.trainers.loggers.tensorboard import TensorBoardDashboard
from learned_saliency.trainers.loggers.trackio import TrackioDashboard
from learned_saliency.trainers.loggers.wandb import WandbDashboard

__all__ = [
    "METRICS_FILE",
    "Dashboard",
    "MLflowDashboard",
    "MetricsCSV",
    "MetricsFile",
    "Report",
    "TensorBoardDashboard",
    "TrackioDashboard",
    "WandbDashboard",
]

"""Callbacks that watch a training or a test and write reports of it."""

from learned_saliency.trainers.callbacks.contact_sheet import ContactSheet
from learned_saliency.trainers.callbacks.divergence import DivergedError, Divergence, check_weights
from learned_saliency.trainers.callbacks.image_table import ImageTable
from learned_saliency.trainers.callbacks.journal import Journal, Kept, MetricTree, Sums
from learned_saliency.trainers.callbacks.journaled_test import JournaledTest
from learned_saliency.trainers.callbacks.keep_features import KeepFeatures, unkept
from learned_saliency.trainers.callbacks.keep_signals import KeepSignals
from learned_saliency.trainers.callbacks.kept_methods import KeptMethod
from learned_saliency.trainers.callbacks.pictures import Pictures, spread
from learned_saliency.trainers.callbacks.progress import listen, progress_bar
from learned_saliency.trainers.callbacks.saliency import SaliencyCallback
from learned_saliency.trainers.callbacks.throughput import Throughput

__all__ = [
    "ContactSheet",
    "DivergedError",
    "Divergence",
    "ImageTable",
    "Journal",
    "JournaledTest",
    "KeepFeatures",
    "KeepSignals",
    "Kept",
    "KeptMethod",
    "MetricTree",
    "Pictures",
    "SaliencyCallback",
    "Sums",
    "Throughput",
    "check_weights",
    "listen",
    "progress_bar",
    "spread",
    "unkept",
]

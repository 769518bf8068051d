"""Callbacks that watch a training or a test and write reports of it."""

from learned_saliency.trainers.callbacks.compiled import CompiledTraining
from learned_saliency.trainers.callbacks.contact_sheet import ContactSheet
from learned_saliency.trainers.callbacks.divergence import DivergedError, Divergence, check_weights
from learned_saliency.trainers.callbacks.gallery import Gallery
from learned_saliency.trainers.callbacks.gallery_images import GalleryImage, GalleryMap, draw_image
from learned_saliency.trainers.callbacks.image_states import (
    STATES_FILE,
    narrowed,
    read_image_states,
)
from learned_saliency.trainers.callbacks.image_table import ImageTable, image_rows
from learned_saliency.trainers.callbacks.journal import Journal, Kept, MetricTree, Sums
from learned_saliency.trainers.callbacks.journaled_test import JournaledTest
from learned_saliency.trainers.callbacks.keep_features import KeepFeatures, unkept
from learned_saliency.trainers.callbacks.keep_signals import KeepSignals
from learned_saliency.trainers.callbacks.kept_methods import KeptMethod
from learned_saliency.trainers.callbacks.map_parts import MapParts, RecordedImage
from learned_saliency.trainers.callbacks.pictures import Pictures, spread
from learned_saliency.trainers.callbacks.progress import listen, progress_bar
from learned_saliency.trainers.callbacks.saliency import SaliencyCallback
from learned_saliency.trainers.callbacks.throughput import Throughput
from learned_saliency.trainers.callbacks.weight_average import WeightAverage

__all__ = [
    "STATES_FILE",
    "CompiledTraining",
    "ContactSheet",
    "DivergedError",
    "Divergence",
    "Gallery",
    "GalleryImage",
    "GalleryMap",
    "ImageTable",
    "Journal",
    "JournaledTest",
    "KeepFeatures",
    "KeepSignals",
    "Kept",
    "KeptMethod",
    "MapParts",
    "MetricTree",
    "Pictures",
    "RecordedImage",
    "SaliencyCallback",
    "Sums",
    "Throughput",
    "WeightAverage",
    "check_weights",
    "draw_image",
    "image_rows",
    "listen",
    "narrowed",
    "progress_bar",
    "read_image_states",
    "spread",
    "unkept",
]

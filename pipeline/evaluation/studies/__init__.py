"""Studies beside the metrics of a test: each a class in a file of its own."""

from learned_saliency.pipeline.evaluation.studies.bank import Bank
from learned_saliency.pipeline.evaluation.studies.base import Outcome, Setting, Study
from learned_saliency.pipeline.evaluation.studies.boxes import Boxes
from learned_saliency.pipeline.evaluation.studies.costs import Costs
from learned_saliency.pipeline.evaluation.studies.creaturebench import CreatureBench
from learned_saliency.pipeline.evaluation.studies.cues import Cues
from learned_saliency.pipeline.evaluation.studies.downscale import Downscale
from learned_saliency.pipeline.evaluation.studies.opticam import OptiCAMStudy
from learned_saliency.pipeline.evaluation.studies.randomization import Randomization
from learned_saliency.pipeline.evaluation.studies.removal import Removal
from learned_saliency.pipeline.evaluation.studies.run import (
    StudyResults,
    build_studies,
    run_studies,
)
from learned_saliency.pipeline.evaluation.studies.seeds import Seeds
from learned_saliency.pipeline.evaluation.studies.selectivity import Selectivity
from learned_saliency.pipeline.evaluation.studies.shapcam import ShapCAM
from learned_saliency.pipeline.evaluation.studies.shortcuts import Shortcuts
from learned_saliency.pipeline.evaluation.studies.subsets import Subsets
from learned_saliency.pipeline.evaluation.studies.thresholds import Thresholds
from learned_saliency.pipeline.evaluation.studies.vqa import VQA

__all__ = [
    "VQA",
    "Bank",
    "Boxes",
    "Costs",
    "CreatureBench",
    "Cues",
    "Downscale",
    "OptiCAMStudy",
    "Outcome",
    "Randomization",
    "Removal",
    "Seeds",
    "Selectivity",
    "Setting",
    "ShapCAM",
    "Shortcuts",
    "Study",
    "StudyResults",
    "Subsets",
    "Thresholds",
    "build_studies",
    "run_studies",
]

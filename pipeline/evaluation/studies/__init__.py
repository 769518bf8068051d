"""Studies beside the metrics of a test: each a class in a file of its own."""

from learned_saliency.pipeline.evaluation.studies.bank import Bank
from learned_saliency.pipeline.evaluation.studies.base import Outcome, Setting, Study
from learned_saliency.pipeline.evaluation.studies.creaturebench import CreatureBench
from learned_saliency.pipeline.evaluation.studies.cues import Cues
from learned_saliency.pipeline.evaluation.studies.removal import Removal
from learned_saliency.pipeline.evaluation.studies.run import (
    StudyResults,
    build_studies,
    run_studies,
)
from learned_saliency.pipeline.evaluation.studies.vqa import VQA

__all__ = [
    "VQA",
    "Bank",
    "CreatureBench",
    "Cues",
    "Outcome",
    "Removal",
    "Setting",
    "Study",
    "StudyResults",
    "build_studies",
    "run_studies",
]

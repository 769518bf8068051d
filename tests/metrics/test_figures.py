"""Every metric declares what it needs and each figure that it computes, with its direction."""

import inspect

import pytest
import torch
from torchmetrics import Metric

from learned_saliency import metrics

MAPS = torch.rand(4, 8, 8, generator=torch.Generator().manual_seed(0))
LARGE = torch.rand(4, 12, 12, generator=torch.Generator().manual_seed(0))
MASKS = (MAPS > 0.5).to(torch.uint8)
BOXES = [torch.tensor([[1, 1, 5, 5]])] * 4
LOGITS, LABELS = torch.eye(4), torch.tensor([0, 1, 2, 0])
PROBS = torch.tensor([0.2, 0.4, 0.6, 0.8])
HITS = torch.ones(4, 3, dtype=torch.bool)
CURVES = metrics.RoadProbabilities(torch.rand(4, 3), torch.rand(4, 3))
SQUARES = metrics.RemovedSquares(torch.rand(4, 3), torch.rand(4, 3))
SHARES = torch.tensor([[0.4, 0.2, 0.1]]).repeat(4, 1)  # two parts and a distractor
EFFECTS = metrics.PartEffects(torch.rand(4, 4, 4), torch.rand(4, 1, 4), LOGITS, LABELS)
UPDATES = {  # arguments of the constructor and of ``update``
    "ADCC": ((), (PROBS, PROBS, MAPS, MAPS)),
    "AOPC": ((), (torch.rand(4, 3),)),
    "ARCC": ((), (CURVES, MAPS, MAPS)),
    "ActivationHistogram": ((), (MAPS, MASKS)),
    "AverageDrop": ((), (PROBS, PROBS)),
    "AverageDropInDeletion": ((), (PROBS, PROBS)),
    "AverageGain": ((), (PROBS, PROBS)),
    "AverageIncrease": ((), (PROBS, PROBS)),
    "ClassAveragePrecision": ((), (LOGITS, LOGITS > 0)),
    "Complexity": ((), (MAPS,)),
    "Coherency": ((), (MAPS, MAPS)),
    "CropSaliency": ((), (metrics.Crops(PROBS, PROBS),)),
    "CueLocalization": ((2,), (MAPS, MASKS, torch.tensor([0, 1, 0, 1]))),
    "Deletion": ((), (torch.rand(4, 3),)),
    "EnergyPointingGame": ((), (MAPS, BOXES)),
    "EnergyProportion": ((), (MAPS, MASKS > 0)),
    "Infidelity": ((), (SQUARES,)),
    "Insertion": ((), (torch.rand(4, 3),)),
    "L1Complexity": ((), (MAPS,)),
    "Localization": ((), (MAPS, BOXES, LOGITS, LABELS)),
    "LocalizationFloors": ((4,), (BOXES, (8, 8), MASKS)),
    "MapSimilarity": ((), (LARGE, LARGE.flip(0))),
    "MapStatistics": ((), (MAPS,)),
    "MaskLocalization": ((), (MAPS, BOXES, LOGITS, LABELS)),
    "MaskPointingGame": ((), (MAPS, MASKS)),
    "MaskedAccuracy": ((), (dict.fromkeys(metrics.masked_accuracy.VARIANTS, LOGITS), LABELS)),
    "MaxBoxAcc": ((), (MAPS, BOXES)),
    "MaxBoxAccV2": ((), (MAPS, BOXES)),
    "OverlapLocalization": ((), (MAPS, BOXES, LOGITS, LABELS)),
    "PointingGame": ((15,), (MAPS, BOXES)),
    "PartFidelity": (
        (torch.ones(4, 1, 2),),
        (SHARES, HITS[:, :1], EFFECTS, torch.rand(4, 2, 2)),
    ),
    "PxAP": ((), (MAPS, MASKS)),
    "ValueErrors": ((LOGITS.shape[1],), (LOGITS, LOGITS + 1)),
    "WeightSimilarity": ((), (LOGITS, LOGITS)),
    "RelevanceMassAccuracy": ((), (MAPS, MASKS)),
    "RelevanceRankAccuracy": ((), (MAPS, MASKS)),
    "Sparseness": ((), (MAPS,)),
    "MaxSensitivity": ((), (torch.rand(4, 3),)),
    "Road": ((), (CURVES,)),
    "RoadLeRF": ((), (CURVES,)),
    "RoadMoRF": ((), (CURVES,)),
    "ZeroBoxCutout": ((), (torch.rand(2, 9),)),
    "ZeroBoxGain": ((), (PROBS, PROBS)),
    "ZeroBoxInsertion": ((), (torch.rand(2),)),
    "ZeroBoxPseudoBoxes": ((), (MAPS, torch.tensor([[1, 1, 5, 6]] * len(MAPS)))),
    "ZeroBoxSegments": ((), (torch.rand(2, 19).double(),)),
    "ZeroBoxStability": ((), (MAPS, torch.rand(len(MAPS)))),
    "RemoveAndClassify": (((0.1, 0.25, 0.5),), (HITS, HITS, HITS[:, 0])),
}
WITHOUT_FIGURES = {"CoverageCalibration"}  # its sums are kept, not shown
BASES = {"ImageStates", "ImageTerms"}
EXPORTED = sorted(
    name
    for name in set(metrics.__all__) - WITHOUT_FIGURES - BASES
    if inspect.isclass(getattr(metrics, name)) and issubclass(getattr(metrics, name), Metric)
)


def names_of(value):
    """Names of figures, however deep; of a value without a name None."""
    if not isinstance(value, dict):
        return {None}
    return {
        name
        for key, inner in value.items()
        for name in (names_of(inner) if isinstance(inner, dict) else {key})
    }


@pytest.fixture
def computed():
    def compute(name):
        options, batch = UPDATES[name]
        metric = getattr(metrics, name)(*options)
        metric.update(*batch)
        return metric, metric.compute()

    return compute


@pytest.mark.parametrize("name", EXPORTED)
def test_every_computed_figure_is_declared_and_no_other(computed, name):
    metric, value = computed(name)
    assert isinstance(metric.needs, frozenset)
    tasks = {metrics.PRESENCE, metrics.VALUES}
    assert metric.needs <= {"boxes", "masks", "labels", "parts", *tasks}
    assert all(isinstance(figure, metrics.Figure) for figure in metric.figures.values())
    if name == "RemoveAndClassify":
        names = ["relative_accuracy_10", "relative_accuracy_25", "relative_accuracy_50"]
        assert list(metric.figures) == ["relative_accuracy", *names, "blurred_accuracy"]
        assert value.shape == (len(names),)
    elif names_of(value) == {None}:
        assert len(metric.figures) == 1
        assert value.shape == ()
    else:
        assert names_of(value) == set(metric.figures)


@pytest.mark.parametrize("name", EXPORTED)
def test_directions_agree_with_what_torchmetrics_is_told(name):
    cls = getattr(metrics, name)
    figures = cls(*UPDATES[name][0]).figures.values()
    if cls.higher_is_better is not None:
        directions = {f.higher_is_better for f in figures} - {None}
        assert directions == {cls.higher_is_better}
    for figure in figures:
        assert figure.headline or not (figure.leads or figure.progress)


def test_sums_that_are_kept_declare_no_figure():
    assert all(not getattr(metrics, name).figures for name in WITHOUT_FIGURES)


def test_errors_and_drops_are_better_low():
    low = {"le", "om", "average_drop", "deletion", "masked_out", "inpainted"}
    low |= {"le_iou", "om_iou", "complexity"}
    low |= {"relative_accuracy", "relative_accuracy_10", "relative_accuracy_50"}
    low |= {"relative_accuracy_25", "crop_saliency", "infidelity", "l1_complexity"}
    low |= {"max_sensitivity", "road_morf", "mean_absolute_error"}
    low |= {"relative_accuracy_25", "activation_overlap"}
    figures = {}
    for name in EXPORTED:
        figures |= getattr(metrics, name)(*UPDATES[name][0]).figures
    assert {name for name, f in figures.items() if f.higher_is_better is False} == low
    assert {name for name, f in figures.items() if f.higher_is_better is None} == {
        "activation_near_one",
        "activation_near_zero",
        "absolute_rank_correlation",
        "bench_accuracy",
        "bench_background_independence",
        "bench_contrasts",
        "bench_plain_background",
        "bench_threshold",
        "best_threshold",
        "blurred_accuracy",
        "clean",
        "flat",
        "hog",
        "map_entropy",
        "map_mean",
        "map_std",
        "map_variation",
        "rank_correlation",
        "ssim",
        "zerobox_drop",
        "zerobox_increase",
        *(f"zerobox_{name}_threshold" for name in ("cutout", "pseudo_boxes", "segments")),
    }


def test_a_figure_needs_what_its_metric_needs_and_more():
    found = metrics.declared(metrics.MaskLocalization)
    assert found["le"].needs == {"boxes"}
    assert found["om"].needs == {"boxes", "labels"}

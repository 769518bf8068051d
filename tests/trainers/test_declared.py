"""Declarations of modules about their native map, and of a split about its metrics."""

import pytest
import torch

from learned_saliency.attribution import CAM, GradCAM, MaskObjective, SupersetAggregation
from learned_saliency.losses import (
    AlternativeImages,
    CALMLoss,
    CASMLoss,
    DenseCRFLoss,
    FCAMLoss,
    RTISLoss,
    SeedSampler,
    SupervisedLoss,
    TriLiteLoss,
)
from learned_saliency.metrics import EXCLUSIVE, PRESENCE, VALUES
from learned_saliency.models import (
    CALM,
    CASM,
    FCAM,
    RTIS,
    Amortized,
    CAMClassifier,
    EvidenceDecoder,
    TriLite,
)
from learned_saliency.trainers import (
    CRITERIA,
    MONITORS,
    NATIVE,
    TEST_FIGURES,
    ZEROBOX_FIGURES,
    AmortizedModule,
    CALMModule,
    CAMModule,
    CASMModule,
    FCAMModule,
    PostHocModule,
    RTISModule,
    SaliencyModule,
    SnapshotPool,
    SupervisedModule,
    TriLiteModule,
    ZeroBoxScores,
)
from learned_saliency.trainers.scores import MAP_FIGURES, SPLIT_FIGURES, SplitScores
from tests.support.networks import SGD, TinyBackbone


def classifier():
    return CAMClassifier(TinyBackbone(), 4)


def calm(superset):
    network = CALM(classifier())
    return CALMModule(network=network, loss=CALMLoss("em"), optimizer=SGD, superset=superset)


MODULES = {
    "cam": lambda: CAMModule(network=classifier(), optimizer=SGD),
    "calm of the class": lambda: calm("class"),
    "calm of all": lambda: calm("all"),
    "fcam": lambda: FCAMModule(
        network=FCAM(classifier(), widths=(4, 4)),
        optimizer=SGD,
        seed_method=GradCAM(),
        sampler=SeedSampler(erosion=0),
        loss=FCAMLoss(crf=DenseCRFLoss()),
    ),
    "supervised": lambda: SupervisedModule(
        network=FCAM(classifier(), widths=(4, 4)), optimizer=SGD, loss=SupervisedLoss()
    ),
    "casm": lambda: CASMModule(
        network=CASM(classifier(), width=4, map_reduction=2),
        pool=SnapshotPool("F"),
        loss=CASMLoss(1.0),
        classifier_optimizer=SGD,
        optimizer=SGD,
    ),
    "trilite": lambda: TriLiteModule(
        network=TriLite(classifier()), loss=TriLiteLoss(), optimizer=SGD
    ),
    "amortized": lambda: AmortizedModule(
        network=Amortized(classifier(), EvidenceDecoder), objective=MaskObjective(), optimizer=SGD
    ),
    "rtis": lambda: RTISModule(
        network=RTIS(classifier(), width=4, map_reduction=2),
        loss=RTISLoss(),
        alternatives=AlternativeImages(),
        optimizer=SGD,
    ),
}


@pytest.fixture(params=MODULES)
def module(request):
    torch.manual_seed(0)
    return MODULES[request.param]().eval()


@pytest.fixture
def images():
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_maps_depend_on_the_class_where_the_module_says_so(module, images):
    maps = [module.saliency(images, torch.full((3,), label)) for label in range(4)]
    assert module.native.per_class == any(not torch.equal(maps[0], other) for other in maps[1:])
    if module.native.per_class:
        every = module.explain_all(images).saliency
        torch.testing.assert_close(every, torch.stack(maps, dim=1), rtol=0, atol=1e-5)


@torch.no_grad()
def test_probabilities_lie_in_0_to_1_before_any_scaling_and_scores_do_not(module, images):
    native = module.native
    if native.class_wise is None:
        return
    labels = torch.zeros(3, dtype=torch.int64)
    raw = native.class_wise.raw_maps(module.classifier, images, labels)
    assert native.probabilities == bool(((raw >= 0) & (raw <= 1)).all())
    assert native.probabilities == native.class_wise.gives_probabilities(module.classifier)


def test_only_cam_asks_a_classifier_for_probabilities():
    probabilistic = CALM(classifier())
    assert CAM().gives_probabilities(probabilistic)
    for method in (GradCAM(), SupersetAggregation(method=CAM(), superset="all")):
        assert not method.gives_probabilities(probabilistic)
    assert not CAM().gives_probabilities(classifier())


def test_a_foreign_classifier_has_no_native_map_and_a_new_module_must_say():
    foreign = PostHocModule(classifier=classifier(), methods={"gradcam": GradCAM()})
    assert foreign.native is None
    with pytest.raises(NotImplementedError):
        SaliencyModule(network=classifier(), optimizer=SGD).native  # noqa: B018


def batch(*truth):
    generator = torch.Generator().manual_seed(0)
    everything = {
        "boxes": [torch.tensor([[2, 3, 20, 25]])] * 4,
        "mask": torch.randint(0, 2, (4, 32, 32), generator=generator, dtype=torch.uint8),
        "seen": torch.tensor([True, False, True, False]),
    }
    return {
        "image": torch.randn(4, 3, 32, 32, generator=generator),
        "label": torch.tensor([0, 1, 2, 1]),
        "image_id": list("abcd"),
        **{name: everything[name] for name in truth},
    }


@pytest.mark.parametrize(
    "truth", [(), ("boxes",), ("mask",), ("boxes", "mask"), ("boxes", "seen"), ("mask", "seen")]
)
@pytest.mark.parametrize(("tested", "declared"), [(False, SPLIT_FIGURES), (True, MAP_FIGURES)])
def test_a_split_gives_the_figures_whose_needs_it_has(truth, tested, declared):
    scores = SplitScores([NATIVE], tested=tested)
    scores.update({NATIVE: torch.rand(4, 32, 32)}, torch.randn(4, 3), batch(*truth))
    present = {"labels", EXCLUSIVE, *truth} | ({"masks"} if "mask" in truth else set())
    expected = {name for name, figure in declared.items() if figure.needs <= present}
    assert set(scores.compute()[NATIVE]) == expected


def test_terms_of_images_average_to_the_values_that_are_means_over_images():
    scores = SplitScores(["cam", "flat"], tested=True)
    given = batch("boxes", "mask")
    given["mask"][1] = 255  # says nothing
    given["label"][2] = -1
    maps = {"cam": torch.rand(4, 32, 32), "flat": torch.zeros(4, 32, 32)}
    terms = scores.update(maps, torch.randn(4, 3), given)
    found = scores.compute()
    names = {"le", "f1", "om", "le_iou", "f1_union", "om_iou", "pointing_game", "pointing_game_15"}
    names |= {"energy_pointing_game", "sparseness", "complexity", "mask_pointing_game"}
    names |= {"mask_pointing_game_15", "relevance_mass_accuracy", "relevance_rank_accuracy"}
    for method in maps:
        assert set(terms[method]) == names
        for name, values in terms[method].items():
            assert values.shape == (4,)
            assert float(values.nanmean()) == pytest.approx(found[method][name]), name
            missing = [1] if "masks" in MAP_FIGURES[name].needs else []
            missing += [2] if "labels" in MAP_FIGURES[name].needs else []
            assert values.isnan().nonzero()[:, 0].tolist() == missing, name


def test_figures_of_groups_count_their_own_images():
    scores, alone = SplitScores([NATIVE]), SplitScores([NATIVE])
    maps, logits = torch.rand(4, 32, 32), torch.randn(4, 3)
    given = batch("boxes", "seen")
    scores.update({NATIVE: maps}, logits, given)
    rows = [1, 3]
    part = {key: given[key][rows] for key in ("image", "label")} | {"boxes": given["boxes"][:2]}
    alone.update({NATIVE: maps[rows]}, logits[rows], part)
    whole, found = scores.compute()[NATIVE], alone.compute()[NATIVE]
    for name in ("le", "f1", "om"):
        assert whole[f"{name}_unseen"] == found[name]


def test_monitors_are_what_validation_logs(module, images):
    """Under the names of the native map, whatever the split has; the threshold is none of them."""
    logged = {}
    module.zerobox = ZeroBoxScores(list(CRITERIA))
    module.log = lambda name, value, **options: logged.update({name: value})
    with torch.no_grad():
        module.validation_step(batch("boxes", "mask", "seen"), 0)
    module.on_validation_epoch_end()
    others = {PRESENCE, VALUES}
    exclusive = [name for name, figure in MONITORS.items() if not others & figure.needs]
    assert set(logged) == {f"val/{NATIVE}/{name}" for name in exclusive}
    of_others = {"mean_average_precision", "r2", "mean_absolute_error"}
    assert set(MONITORS) - set(exclusive) == of_others
    assert float(module.box_threshold) != 0.5
    lower = {name for name, figure in MONITORS.items() if figure.higher_is_better is False}
    groups = ("", "_seen", "_unseen")
    assert lower == {f"{n}{g}" for n in ("le", "om") for g in groups} | {"mean_absolute_error"}
    assert MONITORS.items() - ZEROBOX_FIGURES.items() <= TEST_FIGURES.items()

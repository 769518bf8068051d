import pytest
import torch
from omegaconf import OmegaConf
from scipy.stats import rankdata

from learned_saliency.attribution import (
    LIFTCAM,
    SHAPCAM,
    AblationCAM,
    Ensemble,
    FakeCAM,
    GradCAM,
    LayerCAM,
    OptiCAM,
    PostHocMethod,
    normalize,
)
from learned_saliency.attribution.ensemble import ranks
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.runs import build_methods
from learned_saliency.trainers.callbacks.named_methods import named_methods
from tests.support.few_channels import few_channels

TARGETS = torch.tensor([3, 1, 4, 1])


class Fixed(PostHocMethod):
    """Gives maps as they are."""

    def __init__(self, maps, **options):
        super().__init__(**options)
        self.maps = maps

    def _cams(self, query):
        return self.maps


def by_scipy(maps):
    """Ranks of each map, from 0 to 1."""
    rows = [(rankdata(one.flatten().numpy()) - 1) / (one.numel() - 1) for one in maps]
    return torch.stack([torch.from_numpy(row) for row in rows]).view_as(maps)


@pytest.mark.parametrize("levels", [2, 5, 10**6])
def test_ranks_are_those_of_scipy(levels):
    generator = torch.Generator().manual_seed(levels)
    maps = torch.randint(0, levels, (6, 9, 11), generator=generator).double() / levels
    torch.testing.assert_close(ranks(maps), by_scipy(maps), rtol=0, atol=1e-12)
    shaped = ranks(maps.view(2, 3, 9, 11).float())
    torch.testing.assert_close(shaped.double(), by_scipy(maps).view(2, 3, 9, 11), rtol=0, atol=1e-6)


def test_ranks_by_hand():
    found = ranks(torch.tensor([[[0.0, 0.3, 0.0], [0.9, 0.3, 0.3]]]))
    expected = torch.tensor([[[0.5, 3.0, 0.5], [5.0, 3.0, 3.0]]]) / 5
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(ranks(torch.zeros(1, 2, 3)), torch.full((1, 2, 3), 0.5))
    torch.testing.assert_close(ranks(torch.ones(2, 1, 1)), torch.zeros(2, 1, 1))


@pytest.mark.parametrize("average", ["map", "rank"])
@pytest.mark.parametrize("weights", [None, [3, 1, 0]])
def test_average_is_that_of_the_methods_maps(tiny_cnn, images, average, weights):
    classifier = tiny_cnn("flat")
    members = [GradCAM(), LIFTCAM(), LayerCAM(interpolation="nearest")]
    method = Ensemble(members, average=average, weights=weights)
    maps = [member(classifier, images, TARGETS) for member in members]
    if average == "rank":
        maps = [by_scipy(one) for one in maps]
    shares = [1 / 3] * 3 if weights is None else [3 / 4, 1 / 4, 0]
    expected = sum(share * one for share, one in zip(shares, maps, strict=True))
    found = method.raw_maps(classifier, images, TARGETS)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(method(classifier, images, TARGETS), normalize(expected))


@pytest.mark.parametrize("average", ["map", "rank"])
def test_a_constant_map_changes_nothing(tiny_cnn, images, average):
    classifier = tiny_cnn("flat")
    alone = Ensemble([GradCAM()], average=average)(classifier, images, TARGETS)
    constant = Fixed(torch.full((4, 2, 2), 7.0))
    beside = Ensemble([constant, GradCAM(), constant], average=average)
    torch.testing.assert_close(beside(classifier, images, TARGETS), alone, rtol=0, atol=1e-6)
    nothing = Ensemble([constant], average=average)(classifier, images, TARGETS)
    torch.testing.assert_close(nothing, torch.zeros_like(nothing))


def test_ranks_do_not_depend_on_how_a_method_spreads_its_values(tiny_cnn, images):
    classifier = tiny_cnn("flat")
    own = LayerCAM().raw_maps(classifier, images, TARGETS)
    bent = Fixed(normalize(own) ** 6, interpolation="nearest")
    plain = Fixed(normalize(own), interpolation="nearest")
    maps = {
        average: [
            Ensemble([GradCAM(), one], average=average)(classifier, images, TARGETS)
            for one in (plain, bent)
        ]
        for average in ("map", "rank")
    }
    torch.testing.assert_close(*maps["rank"], rtol=0, atol=1e-6)
    assert (maps["map"][0] - maps["map"][1]).abs().max() > 0.05


def test_one_pass_of_the_backbone_serves_all():
    classifier, images = few_channels(6, batch=3)
    members = [GradCAM(), LIFTCAM(), SHAPCAM(orderings=2)]
    targets = torch.tensor([[0, 1], [1, 2], [2, 0]])
    rows = []
    for member in members:
        classifier.rows.clear()
        member(classifier, images, targets[:, 0])
        rows.append(sum(classifier.rows))
    classifier.rows.clear()
    classifier.passes = 0
    together = Ensemble(members)(classifier, images, targets[:, 0])
    assert classifier.passes == 3
    assert sum(classifier.rows) == 3 + sum(rows)  # the classes are checked once more
    classifier.passes = 0
    several = Ensemble(members).of_classes(classifier, images, targets)
    assert classifier.passes == 3
    torch.testing.assert_close(several[:, 0], together)
    found = Ensemble(members)(classifier, images, targets[:, 1])
    torch.testing.assert_close(several[:, 1], found)


def test_classes_are_divided_by_the_maximum_where_asked(tiny_cnn, images):
    classifier = tiny_cnn("flat")
    method = Ensemble([GradCAM(rectify=False), LIFTCAM()], average="rank", normalization="max")
    own = method(classifier, images, TARGETS)
    assert own.amin((1, 2)).gt(0.01).any()  # min-max normalization has 0 there
    together = method.of_classes(classifier, images, TARGETS[:, None])[:, 0]
    torch.testing.assert_close(together, own)


def test_map_does_not_depend_on_batch_mates(tiny_cnn, images):
    classifier = tiny_cnn("flat")
    method = Ensemble([GradCAM(), LIFTCAM(), LayerCAM()])
    together = method(classifier, images)
    for i in range(4):
        alone = method(classifier, images[i : i + 1])
        torch.testing.assert_close(alone[0], together[i], rtol=0, atol=1e-9)


def test_gradients_are_needed_if_a_method_needs_them():
    assert Ensemble([GradCAM(), FakeCAM()]).needs_gradients
    assert not Ensemble([AblationCAM(), FakeCAM()]).needs_gradients


def test_classifier_is_left_as_found_also_after_an_exception(tiny_cnn, images):
    classifier = tiny_cnn("flat").train()
    Ensemble([GradCAM(), LIFTCAM()])(classifier, images)
    broken = Fixed(torch.full((4, 2, 2), float("nan")))
    with pytest.raises(ValueError, match="NaN"):
        Ensemble([GradCAM(), broken])(classifier, images)
    assert classifier.training
    assert all(weight.requires_grad and weight.grad is None for weight in classifier.parameters())


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"methods": []}, ValueError),
        ({"methods": ["gradcam"]}, TypeError),
        ({"average": "median"}, ValueError),
        ({"weights": [1.0]}, ValueError),
        ({"weights": [1.0, -1.0]}, ValueError),
        ({"weights": [0.0, 0.0]}, ValueError),
        ({"weights": [1.0, float("nan")]}, ValueError),
        ({"target": "probability"}, ValueError),
    ],
)
def test_wrong_options_are_refused(options, error):
    word = "target" if "target" in options else next(iter(options))
    with pytest.raises(error, match=word):
        Ensemble(**{"methods": [GradCAM(), LIFTCAM()]} | options)


def built(*words):
    """The method of the last word of a command line."""
    config = compose_checked([f"methods={words[-1]}", *words[:-1]], "evaluate", complete=False)
    return build_methods(config)[words[-1]]


def test_methods_are_named_on_the_command_line_with_their_own_options():
    found = built("attribution.rankmean.methods=[scorecam,shapcam]",
                  "attribution.shapcam.orderings=7", "target=probability",
                  "attribution.rankmean.weights=[1,3]", "rankmean")  # fmt: skip
    assert [type(method).__name__ for method in found.methods] == ["ScoreCAM", "SHAPCAM"]
    assert found.methods[1].orderings == 7
    assert [found.target, *(m.target for m in found.methods)] == ["probability"] * 3
    assert found.average == "rank"
    assert found.weights == [0.25, 0.75]
    assert built("meanmap").average == "map"
    assert [type(one) for one in built("meanmap").methods] == [GradCAM, LIFTCAM, LayerCAM]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["attribution.meanmap.methods=[gradcm]"], "attribution.meanmap.methods: no method is"),
        (["attribution.meanmap.methods=[rankmean]"], "attribution.meanmap.methods: no method is"),
        (["attribution.meanmap.weights=[1]"], "weights must be 3 numbers"),
        (["attribution.meanmap.methods=[cam]", "target=probability"], "explains the logit"),
        (["attribution.meanmap.methods=[]"], "methods"),
    ],
)
def test_a_mistake_in_the_options_is_told(words, told):
    with pytest.raises(UserError, match=told):
        built(*words, "meanmap")


def test_callbacks_take_the_same_names():
    found = named_methods(["rankmean"], "margin")["rankmean"]
    assert [method.target for method in (found, *found.methods)] == ["margin"] * 4
    chosen = named_methods({"meanmap": {"methods": ["cam"], "weights": [2]}})["meanmap"]
    assert [type(one).__name__ for one in chosen.methods] == ["CAM"]


def test_the_configured_methods_can_be_averaged(tiny_cnn, images):
    config = OmegaConf.create({"methods": ["rankmean", "meanmap"]})
    config = OmegaConf.merge(compose_checked([], "evaluate", complete=False), config)
    for method in build_methods(config).values():
        assert method(tiny_cnn("flat"), images, TARGETS).amax((1, 2)).tolist() == [1] * 4


def test_long_methods_within_tell_their_steps(tiny_cnn, images):
    method = Ensemble([GradCAM(), OptiCAM(iterations=3)])
    told = []
    method.progress = lambda step, steps: told.append((step, steps))
    method(tiny_cnn("mlp"), images)
    assert told == [(1, 3), (2, 3), (3, 3)]
    method.progress = None
    assert method.progress is None
    method(tiny_cnn("mlp"), images)
    assert len(told) == 3

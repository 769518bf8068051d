"""Criteria without boxes in a module: what they look at, what they keep, what they cost."""

import pytest
import torch

from learned_saliency.metrics import find_regions
from learned_saliency.trainers import (
    CRITERIA,
    DEFAULT_CRITERION,
    THRESHOLD_CRITERION,
    ZEROBOX_FIGURES,
    CAMModule,
    ZeroBoxScores,
    draw_images,
    gives_threshold,
    zerobox,
)
from tests.support.networks import SGD
from tests.trainers.test_declared import MODULES, classifier


def batch(count=6, first=0):
    generator = torch.Generator().manual_seed(first)
    return {
        "image": torch.randn(count, 3, 32, 32, generator=generator),
        "label": torch.arange(count) % 4,
        "image_id": [f"{first + row}.png" for row in range(count)],
        "index": torch.arange(first, first + count),
    }


def module(*criteria, **options):
    torch.manual_seed(0)
    made = CAMModule(network=classifier(), optimizer=SGD).eval()
    made.zerobox = ZeroBoxScores(criteria, **options)
    return made


def validated(made, *batches):
    logged = {}
    made.log = lambda name, value, **options: logged.update({name.rpartition("/")[2]: value})
    made.on_validation_epoch_start()
    with torch.no_grad():
        for each in batches:
            made.validation_step(each, 0)
    made.on_validation_epoch_end()
    return logged


def test_nothing_is_computed_that_was_not_asked_for(monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("nobody asked for it")

    for name in ("insertion_minus_deletion", "cutout_evidence", "view_agreement", "find_regions"):
        monkeypatch.setattr(zerobox, name, fail)
    logged = validated(module(), batch())
    assert not [name for name in logged if name in ZEROBOX_FIGURES]
    with pytest.raises(AssertionError):
        validated(module("zerobox_segments"), batch())


@pytest.mark.parametrize("name", MODULES)
def test_every_criterion_judges_the_maps_of_every_method(name):
    torch.manual_seed(0)
    made = MODULES[name]().eval()
    made.zerobox = ZeroBoxScores(list(CRITERIA))
    logged = validated(made, batch())
    found = {name: value for name, value in logged.items() if name in ZEROBOX_FIGURES}
    assert set(found) == set(ZEROBOX_FIGURES)
    assert all(-2 <= value <= 2 for value in found.values())
    flags = {p.requires_grad for p in made.classifier.parameters()}
    assert flags == {p.requires_grad for p in MODULES[name]().classifier.parameters()}


def test_the_values_do_not_depend_on_batches_and_their_order():
    whole = batch(6)
    halves = [{k: v[part] for k, v in whole.items()} for part in (slice(3, 6), slice(3))]
    first = validated(module(*CRITERIA), whole)
    second = validated(module(*CRITERIA), *halves)
    for name in ZEROBOX_FIGURES:
        assert first[name] == pytest.approx(second[name], abs=1e-5), name


def test_only_the_drawn_images_are_looked_at():
    drawn = frozenset({1, 4, 7})
    limited = validated(module(*CRITERIA, images=drawn), batch(6), batch(6, first=6))
    rows = [(batch(6), [1, 4]), (batch(6, first=6), [1])]
    parts = []
    for given, places in rows:
        part = {k: v[places] for k, v in given.items() if isinstance(v, torch.Tensor)}
        parts.append(part | {"image_id": [given["image_id"][at] for at in places]})
    alone = validated(module(*CRITERIA), *parts)
    for name in ZEROBOX_FIGURES:
        assert limited[name] == pytest.approx(alone[name], abs=1e-5), name
    assert limited["map_mean"] != alone["map_mean"]  # other metrics count all images


def test_images_are_drawn_by_seed_alone():
    first = draw_images(100, 20, seed=3)
    assert first == draw_images(100, 20, seed=3) != draw_images(100, 20, seed=4)
    assert len(first) == 20
    assert first < frozenset(range(100))
    assert draw_images(5, 20, seed=3) == frozenset(range(5))


def test_the_regions_of_an_image_are_found_once(monkeypatch):
    seen = []

    def finding(colors):
        seen.append(colors.shape)
        return find_regions(colors)

    monkeypatch.setattr(zerobox, "find_regions", finding)
    made = module("zerobox_segments", "zerobox_pseudo_boxes")
    first = validated(made, batch(4))
    assert seen == [(32, 32, 3)] * 4
    assert validated(made, batch(4)) == first
    assert len(seen) == 4


def test_the_box_threshold_comes_from_the_criterion_that_chooses_it():
    made = module("zerobox_cutout", "zerobox_segments", threshold="zerobox_segments")
    logged = validated(made, batch() | {"boxes": [torch.tensor([[2, 3, 20, 25]])] * 6})
    assert float(made.box_threshold) == pytest.approx(logged["zerobox_segments_threshold"])
    by_boxes = module("zerobox_segments")
    validated(by_boxes, batch() | {"boxes": [torch.tensor([[2, 3, 20, 25]])] * 6})
    assert float(by_boxes.box_threshold) != pytest.approx(float(made.box_threshold))


def test_the_classifier_runs_in_half_precision_too():
    made = module(*CRITERIA)
    plain = validated(made, batch())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = validated(made, batch())
    for name in ZEROBOX_FIGURES:
        assert rounded[name] == pytest.approx(plain[name], abs=0.35), name


def test_what_does_not_exist_or_gives_no_threshold_is_refused():
    assert gives_threshold(THRESHOLD_CRITERION)
    assert not gives_threshold("zerobox_insertion")
    assert {DEFAULT_CRITERION, THRESHOLD_CRITERION} <= set(CRITERIA)
    with pytest.raises(ValueError, match="no criterion is named 'zerobox_magic'"):
        ZeroBoxScores(["zerobox_magic"])
    for threshold in ("zerobox_insertion", "zerobox_segments"):
        with pytest.raises(ValueError, match="chooses no threshold"):
            ZeroBoxScores(["zerobox_insertion"], threshold)


def test_a_classifier_with_any_head_has_pseudo_boxes():
    class AnyHead(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = classifier()
            self.more = torch.nn.Linear(4, 4)

        def features(self, images):
            return self.body.features(images)

        def head(self, features):
            return self.more(self.body.head(features).relu())

        def forward(self, images):
            return self.head(self.features(images))

    made = module("zerobox_pseudo_boxes")
    made.network = AnyHead().eval()
    made.native_maps = lambda features, images, targets: images.mean(1).sigmoid()
    assert -1 <= validated(made, batch())["zerobox_pseudo_boxes"] <= 1


def test_a_share_without_an_image_counts_nothing():
    made = module("zerobox_segments", images=frozenset({99}))
    made.zerobox.update(made, batch(), made.explain(batch()["image"], batch()["label"]))
    assert int(made.zerobox.metrics["zerobox_segments"].images) == 0

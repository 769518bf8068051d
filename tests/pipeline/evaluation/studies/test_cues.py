"""Cue localization over a data set: against a count image by image, and what it writes."""

import csv

import pytest
import torch
from torch import nn

from learned_saliency.attribution import CAM, FakeCAM, VanillaGradient, resize
from learned_saliency.datamodules import ClassPair
from learned_saliency.metrics import PxAP
from learned_saliency.models import CALM, CAMClassifier
from learned_saliency.pipeline.evaluation.studies.cues import (
    CueCounts,
    count_cues,
    draw_cues,
    write_pairs,
)

SIZE = 16
PAIRS = [ClassPair(0, 2, (1,)), ClassPair(0, 1, (1, 2)), ClassPair(1, 2, (2, 3))]


class Backbone(nn.Module):
    channels = (6,)

    def __init__(self):
        super().__init__()
        self.network = nn.Conv2d(3, 6, 4, 4)
        self.passes = []

    def forward(self, images):
        self.passes.append(len(images))
        return [self.network(images).relu()]


class Parts:
    """Three parts in random places; image "hidden" has none."""

    names = ("head", "wing", "tail")
    pairs = PAIRS

    def __init__(self):
        generator = torch.Generator().manual_seed(3)
        self.places = torch.randint(0, 4, (8, SIZE, SIZE), generator=generator, dtype=torch.uint8)
        self.places[5] = 0

    def read(self, image_ids, size):
        assert tuple(size) == (SIZE, SIZE)
        return torch.stack([self.places[int(image_id)] for image_id in image_ids])


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    return CAMClassifier(Backbone(), 4).eval()


@pytest.fixture
def batches():
    images = torch.randn(8, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 1, 2, 0, 3, 1, 2, 0])
    ids = [str(i) for i in range(8)]
    return [
        {
            "image": images[i : i + 3],
            "label": labels[i : i + 3],
            "image_id": ids[i : i + 3],
            "index": torch.arange(8)[i : i + 3],
        }
        for i in range(0, 8, 3)
    ]


def cue_localization(classifier, batches, parts, methods, normalization="min_max", **options):
    counts = CueCounts(methods, parts.pairs, **options)
    count_cues(classifier, batches, parts, methods, counts, normalization=normalization)
    return counts.result()


def scaled(saliency):
    low, high = saliency.min(), saliency.max()
    return (saliency - low) / (high - low)


def one_by_one(classifier, batches, parts, method, normalization):
    """PxAP of each pair, each image and class on its own, straight from Sec. 5.2."""
    found = []
    for pair in PAIRS:
        metric = PxAP()
        for batch in batches:
            for image, label, name, _ in zip(*batch.values(), strict=True):
                mask = sum(parts.places[int(name)] == p for p in pair.parts).to(torch.uint8)
                if int(label) not in pair[:2] or not mask.any():
                    continue
                maps = [
                    method.raw_maps(classifier, image[None], torch.tensor([c])) for c in pair[:2]
                ]
                maps = [resize(found, (SIZE, SIZE)) for found in maps]
                if normalization == "separate":
                    maps = [scaled(found) for found in maps]
                saliency = (maps[0] - maps[1]).abs()
                saliency = scaled(saliency) if normalization == "min_max" else saliency
                metric.update(saliency.clamp(max=1), mask[None])
        found.append(metric.compute())
    return torch.stack(found)


@pytest.mark.parametrize("method", [CAM(), VanillaGradient(blur_sigma=1.0)])
@pytest.mark.parametrize("normalization", ["min_max", "clip", "separate"])
def test_figures_equal_a_count_image_by_image(classifier, batches, method, normalization):
    parts = Parts()
    options = {"normalization": normalization, "scale": "even"}
    found = cue_localization(classifier, batches, parts, {"it": method}, **options)
    expected = one_by_one(classifier, batches, parts, method, normalization)
    values = torch.tensor(found.per_pair["it"], dtype=torch.float64)
    # A score that rounding moves across a bin's edge moves a pixel by one bin of a thousand.
    torch.testing.assert_close(values, expected, rtol=0, atol=2e-3)
    assert found.results["it"] == pytest.approx(
        {
            "cue_mpxap": float(values.mean()),
            "cue_mpxap_1": float(values[0]),
            "cue_mpxap_2": float(values[1:].mean()),
        }
    )


def test_calms_probabilities_are_subtracted_as_they_are(classifier, batches):
    calm = CALM(classifier).eval()
    own, clipped = (
        cue_localization(calm, batches, Parts(), {"calm": CAM()}, normalization=normalization)
        for normalization in ("separate", "clip")
    )
    assert own.per_pair == clipped.per_pair
    gradient = {"gradient": VanillaGradient(blur_sigma=1.0)}  # is no probability, of CALM neither
    own, clipped = (
        cue_localization(calm, batches, Parts(), gradient, normalization=normalization)
        for normalization in ("separate", "clip")
    )
    assert own.per_pair != clipped.per_pair


def test_batches_do_not_change_the_figures(classifier, batches):
    whole = {
        "image": torch.cat([batch["image"] for batch in batches]),
        "label": torch.cat([batch["label"] for batch in batches]),
        "image_id": [name for batch in batches for name in batch["image_id"]],
        "index": torch.arange(8),
    }
    ours, theirs = (
        cue_localization(classifier, given, Parts(), {"cam": CAM()}) for given in (batches, [whole])
    )
    assert ours.results["cam"] == pytest.approx(theirs.results["cam"], abs=2e-3)


def test_class_wise_methods_share_one_pass_of_the_backbone(classifier, batches):
    cue_localization(classifier, batches, Parts(), {"cam": CAM(), "again": CAM()})
    assert classifier.backbone.passes == [3, 3, 2]


def test_a_map_that_ignores_the_class_scores_the_share_of_the_parts(classifier, batches):
    parts = Parts()
    found = cue_localization(classifier, batches, parts, {"fake": FakeCAM()})
    rows = [0, 2, 3, 6, 7]  # images of classes 0 and 2
    share = (parts.places[rows] == 1).double().mean()
    assert found.per_pair["fake"][0] == pytest.approx(float(share))


def test_pairs_are_written_and_examples_drawn(classifier, batches, tmp_path):
    found = cue_localization(classifier, batches, Parts(), {"cam": CAM()}, examples=3)
    write_pairs(tmp_path / "cues.csv", found, Parts.names)
    with (tmp_path / "cues.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["parts"] for row in rows] == ["head", "head wing", "wing tail"]
    assert [float(row["cam"]) for row in rows] == pytest.approx(found.per_pair["cam"], abs=1e-6)
    assert len(found.examples) == 3
    maps = torch.stack([example["maps"]["cam"] for example in found.examples])
    assert (maps.amax((1, 2)) == 1).all()  # whatever the normalization of the figures
    draw_cues(tmp_path / "cues.png", found, lambda image: image.clamp(0, 1) * 255)
    assert (tmp_path / "cues.png").stat().st_size > 1000


def test_an_unknown_normalization_is_refused(classifier, batches):
    with pytest.raises(ValueError, match="normalization must be one of"):
        cue_localization(classifier, batches, Parts(), {"cam": CAM()}, normalization="max")

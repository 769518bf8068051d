"""Images of which nobody has boxed or outlined the object leave every metric as it is."""

import pytest
import torch
from torchmetrics import Metric

from learned_saliency.metrics import CoverageCalibration, LocalizationFloors
from learned_saliency.trainers import SCORES
from learned_saliency.trainers.map_scores import Observed
from learned_saliency.trainers.scores import SplitScores

SIZE, CLASSES = 16, 4
ROWS = torch.tensor([1, 3, 4])  # images that have boxes and a mask, of six


@pytest.fixture(scope="module")
def batch():
    generator = torch.Generator().manual_seed(0)
    corners = torch.randint(0, SIZE // 2, (6, 2, 2), generator=generator)
    boxes = torch.cat([corners, corners + 5], dim=-1)
    masks = torch.randint(0, 2, (6, SIZE, SIZE), generator=generator).to(torch.uint8)
    known = torch.zeros(6, dtype=torch.bool).index_fill(0, ROWS, True)
    return {
        "image": torch.zeros(6, 3, SIZE, SIZE),
        "label": torch.tensor([-1, 0, 2, 3, 1, -1]),
        "boxes": [own if there else own[:0] for own, there in zip(boxes, known, strict=True)],
        "mask": torch.where(known[:, None, None], masks, 255),
        "maps": torch.rand(6, SIZE, SIZE, generator=generator),
        "logits": torch.randn(6, CLASSES, generator=generator),
    }


def _observed(batch, rows):
    parts = (batch[key][rows] for key in ("maps", "logits", "label"))
    return Observed(*parts, [batch["boxes"][row] for row in rows], batch["mask"][rows], None)


def _assert_equal(metric: Metric, other: Metric):
    found, expected = metric.compute(), other.compute()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    "name", [name for name, score in SCORES.items() if score.needs and not score.group]
)
def test_metrics_of_the_truth_are_those_of_the_other_images(batch, name):
    score = SCORES[name]
    every, some, none = score.metric.clone(), score.metric.clone(), score.metric.clone()
    terms = score.update(every, _observed(batch, torch.arange(6)))
    expected = score.update(some, _observed(batch, ROWS))
    _assert_equal(every, some)
    for key, values in terms.items():
        torch.testing.assert_close(values[ROWS], expected[key], rtol=0, atol=0)
        assert values[[0, 2, 5]].isnan().all()
    score.update(none, _observed(batch, torch.tensor([0, 2, 5])))
    score.update(none, _observed(batch, ROWS))
    _assert_equal(none, some)


def test_states_of_single_images_add_up(batch):
    metric = SCORES["boxes"].metric.clone()
    SCORES["boxes"].update(metric, _observed(batch, torch.arange(6)))
    assert metric.image_states["images"].tolist() == [False, True, False, True, True, False]
    assert metric.image_states["classified"].sum() == 3
    for name, values in metric.image_states.items():
        torch.testing.assert_close(values.sum(0), getattr(metric, name))


def test_floors_and_coverage_are_those_of_the_other_images(batch):
    floors, sums = [], []
    for rows in (torch.arange(6), ROWS):
        boxes, masks = [batch["boxes"][row] for row in rows], batch["mask"][rows]
        floor, coverage = LocalizationFloors(grid=4), CoverageCalibration()
        floor.update(boxes, (SIZE, SIZE), masks)
        coverage.update(batch["maps"][rows], boxes, masks)
        coverage.update(batch["maps"][:1], batch["boxes"][:1], batch["mask"][:1])
        floors.append(floor.compute())
        sums.append(coverage.compute())
    torch.testing.assert_close(floors[0], floors[1], rtol=0, atol=0)
    torch.testing.assert_close(sums[0], sums[1], rtol=0, atol=0)
    assert sums[0].images.tolist() == [3, 3]


def test_a_split_without_any_box_has_no_number_of_boxes(batch):
    scores = SplitScores(["native"], floors=True, tested=True)
    rows = torch.tensor([0, 5])
    empty = {key: batch[key][rows] for key in ("image", "label", "mask")}
    empty["boxes"] = [batch["boxes"][0], batch["boxes"][5]]
    scores.update({"native": batch["maps"][rows]}, batch["logits"][rows], empty)
    found = scores.compute()["native"]
    assert torch.tensor(found["max_box_acc"]).isnan()
    assert torch.tensor(found["pxap"]).isnan()

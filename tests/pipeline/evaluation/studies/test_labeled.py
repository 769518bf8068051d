"""Batches of a study that compares with true classes or regions."""

from types import SimpleNamespace

import pytest
import torch

from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.evaluation.checks import check_studies
from learned_saliency.pipeline.evaluation.studies import (
    Bank,
    Cues,
    Downscale,
    Removal,
    Seeds,
    Thresholds,
)
from learned_saliency.pipeline.evaluation.studies.base import Study, labeled, regions_of


def batch(*labels):
    count = len(labels)
    return {
        "image": torch.arange(count * 12.0).view(count, 3, 2, 2),
        "label": torch.tensor(labels),
        "image_id": [f"{number}.png" for number in range(count)],
        "boxes": [torch.tensor([[number, 0, 5, 5]]) for number in range(count)],
    }


def test_images_without_a_label_are_left_out():
    given = [batch(1, 0), batch(-1, -1), batch(-1, 2, -1, 3)]
    whole, part = labeled(given)
    assert whole is given[0]
    assert part["label"].tolist() == [2, 3]
    assert part["image_id"] == ["1.png", "3.png"]
    assert [int(boxes[0, 0]) for boxes in part["boxes"]] == [1, 3]
    torch.testing.assert_close(part["image"], given[2]["image"][[1, 3]])


def test_studies_declare_whether_they_need_labels():
    assert [study.needs_labels for study in (Bank, Removal, Cues, Study)] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("study", [Seeds, Thresholds, Downscale])
def test_a_study_that_compares_with_boxes_or_masks_is_refused_without_any(study):
    data = SimpleNamespace(
        task="multiclass", crop_size=(8, 8), has_boxes=lambda _: False, has_masks=lambda _: False
    )
    with pytest.raises(UserError, match=rf"studies=\[{study.name}\]: .* and test has neither"):
        check_studies([study()], None, data, "test")


def test_boxes_stand_for_missing_masks_and_images_without_a_box_are_ignored():
    boxes = [torch.tensor([[0, 1, 1, 1], [2, 0, 2, 0]]), torch.zeros(0, 4, dtype=torch.int64)]
    regions = regions_of({"image": torch.zeros(2, 3, 2, 3), "boxes": boxes})
    assert regions.dtype == torch.uint8
    assert regions.tolist() == [[[0, 0, 1], [1, 1, 0]], [[255] * 3] * 2]
    masks = torch.full((2, 2, 3), 7, dtype=torch.uint8)
    assert regions_of({"image": torch.zeros(2, 3, 2, 3), "boxes": boxes, "mask": masks}) is masks

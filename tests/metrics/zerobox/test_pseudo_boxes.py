"""Regions, the choice of one by a response, and box accuracy against it."""

import numpy as np
import pytest
import torch

from learned_saliency.metrics import ZeroBoxPseudoBoxes, chosen_boxes, find_regions
from learned_saliency.metrics.zerobox.regions import _boxes, segment


@pytest.fixture(scope="module")
def scene():
    """An object of two colors before a plain ground, uint8 (60, 60, 3), and its pixels."""
    colors = np.full((60, 60, 3), 200, np.uint8)
    colors[15:35, 10:30] = (180, 30, 30)
    colors[15:35, 30:50] = (30, 30, 180)
    truth = np.zeros((60, 60), bool)
    truth[15:35, 10:50] = True
    return colors, truth


def test_segments_follow_colors_and_are_numbered_without_gaps(scene):
    found = segment(scene[0])
    assert sorted(np.unique(found)) == [*range(found.max() + 1)]
    assert found[20, 20] != found[20, 40] != found[5, 5]


def test_regions_are_a_tree_with_their_boxes(scene):
    colors = np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    for image in (scene[0], colors):
        segments, members, boxes = find_regions(image)
        count = int(segments.max()) + 1
        assert members.shape == (2 * count - 1, count)
        assert np.array_equal(members[:count], np.eye(count))
        assert members[-1].all()
        for row in range(count, 2 * count - 1):  # each is the union of two disjoint earlier ones
            below = [other for other in range(row) if (members[other] <= members[row]).all()]
            assert any(
                np.array_equal(members[a] ^ members[b], members[row])
                and not (members[a] & members[b]).any()
                for a in below
                for b in below
            )
            rows, columns = np.nonzero(members[row][segments])
            assert boxes[row].tolist() == [columns.min(), rows.min(), columns.max(), rows.max()]


def test_the_boxes_of_segments_hold_exactly_their_pixels():
    segments = np.random.default_rng(1).integers(0, 5, (9, 14)).astype(np.uint16)
    for number, box in enumerate(_boxes(segments, 5)):
        rows, columns = np.nonzero(segments == number)
        assert box.tolist() == [columns.min(), rows.min(), columns.max(), rows.max()]


def test_the_chosen_region_has_the_highest_correlation(scene):
    regions = find_regions(scene[0])
    generator = torch.Generator().manual_seed(0)
    responses = torch.rand(4, 60, 60, generator=generator)
    responses[0] += torch.from_numpy(scene[1]).float()
    found = chosen_boxes(responses, [regions] * 4)
    for response, box in zip(responses.double().numpy(), found, strict=True):
        scores = [
            np.corrcoef(members[regions.segments].ravel(), response.ravel())[0, 1]
            for members in regions.members[:-1]
        ]
        assert box.tolist() == regions.boxes[int(np.argmax(scores))].tolist()
    assert found[0].tolist() == [10, 15, 49, 34]  # both colors make one region


def test_a_constant_response_chooses_no_box_and_wrong_sizes_are_refused(scene):
    regions = find_regions(scene[0])
    assert chosen_boxes(torch.ones(1, 60, 60), [regions]).tolist() == [[-1] * 4]
    with pytest.raises(ValueError, match="expected regions of 2"):
        chosen_boxes(torch.ones(2, 60, 60), [regions])
    with pytest.raises(ValueError, match="its segments"):
        chosen_boxes(torch.rand(1, 50, 60), [regions])


def updated(saliency, boxes):
    metric = ZeroBoxPseudoBoxes()
    metric.update(saliency, boxes)
    return {name: float(value) for name, value in metric.compute().items()}


def test_the_object_gains_and_flat_full_and_tiny_maps_do_not(scene):
    truth = torch.from_numpy(scene[1]).float()[None]
    tiny = torch.zeros(1, 60, 60)
    tiny[0, 20, 20] = 1
    box = torch.tensor([[10, 15, 49, 34]])
    large = torch.tensor([[0, 0, 55, 59]])
    found = updated(truth, box)
    assert found["zerobox_pseudo_boxes"] == 1
    assert 0 <= found["zerobox_pseudo_boxes_threshold"] < 1
    for boxes in (box, large):
        for saliency in (torch.zeros_like(truth), torch.ones_like(truth), tiny):
            assert updated(saliency, boxes)["zerobox_pseudo_boxes"] <= 0
    none = updated(truth, torch.full((1, 4), -1))
    assert none == {"zerobox_pseudo_boxes": 0, "zerobox_pseudo_boxes_threshold": 0.5}


def test_the_value_does_not_depend_on_batches(check_metric, scene):
    generator = torch.Generator().manual_seed(0)
    truth = torch.from_numpy(scene[1]).float()
    maps = (truth + torch.rand(6, 60, 60, generator=generator)) / 2
    boxes = torch.tensor([[10, 15, 49, 34], [0, 0, 59, 59], [-1] * 4] * 2)
    whole = updated(maps, boxes)

    def collate(rows):
        return torch.stack([m for m, _ in rows]), torch.stack([b for _, b in rows])

    expected = {name: torch.tensor(value, dtype=torch.float64) for name, value in whole.items()}
    samples = list(zip(maps, boxes, strict=True))
    check_metric(ZeroBoxPseudoBoxes, samples, collate, expected)

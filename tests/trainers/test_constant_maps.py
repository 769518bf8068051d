"""Values of a map that is the same everywhere, which the table of the documentation promises."""

import math

import pytest
import torch

from learned_saliency.trainers.scores import SplitScores

SIDE = 24
PIXELS = SIDE**2


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("box", [(4, 4, 15, 11), (1, 1, 22, 22)])
def test_a_constant_map_scores_worst_by_chance_or_as_the_whole_image(value, box):
    scores = SplitScores(["flat"], floors=True, tested=True)
    mask = torch.zeros(1, SIDE, SIDE, dtype=torch.uint8)
    mask[0, :6] = 1
    mask[0, 18:] = 255
    batch = {
        "image": torch.zeros(1, 3, SIDE, SIDE),
        "label": torch.tensor([1]),
        "boxes": [torch.tensor([box])],
        "mask": mask,
    }
    logits = torch.tensor([[0.0, 1.0]])
    scores.update({"flat": torch.full((1, SIDE, SIDE), value)}, logits, batch)
    results = scores.compute()
    found, whole_image = results["flat"], results["full_image"]
    width, height = box[2] - box[0], box[3] - box[1]
    in_box, in_mask = (width + 1) * (height + 1) / PIXELS, 6 / 18
    in_edges = width * height / PIXELS  # CASM's boxes, far edges outside
    found_by_casm = value == 1 and in_edges > 0.5  # its threshold ends below 1
    expected = {
        **dict.fromkeys(("le", "om"), float(not found_by_casm)),
        "f1": 2 * in_edges * value / (in_edges + value),
        **dict.fromkeys(("le_iou", "om_iou"), 1.0),
        "f1_union": 0.0,
        **dict.fromkeys(("max_box_acc", "max_box_acc_v2", "box_acc"), 0.0),
        "pointing_game": in_box,
        "energy_pointing_game": in_box if value else 0.0,
        "mask_pointing_game": in_mask,
        "relevance_mass_accuracy": in_mask if value else 0.0,
        "relevance_rank_accuracy": in_mask,
        "pxap": in_mask,
        "sparseness": 0.0,
        "complexity": math.log(PIXELS),
    }
    if value:
        expected |= {name: whole_image[name] for name in ("max_box_acc", "max_box_acc_v2")}
        expected["box_acc"] = whole_image["max_box_acc_v2"]
    for name, right in expected.items():
        assert found[name] == pytest.approx(right, abs=1e-5), name
    assert found["pointing_game_15"] >= in_box
    assert found["mask_pointing_game_15"] == 1.0  # every pixel that counts is near the object

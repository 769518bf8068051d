"""Selectivity and boxes: average drop, gain and increase through changed maps."""

import csv

import pytest
import torch

from learned_saliency.attribution import FakeCAM, GradCAM, VanillaGradient
from learned_saliency.metrics import masked_probability
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.evaluation.studies import Boxes, Selectivity
from learned_saliency.pipeline.evaluation.studies.boxes import box_masks
from tests.support.studies import Setting, rows_of, small_batch, small_module, states

EXPONENTS = [0.1, 1.0, 3.0]


def constant(classifier, images, targets):
    return torch.zeros_like(images[:, 0])


def probability(module, image, label):
    return float(module.classifier(image[None]).softmax(1)[0, label])


def by_hand(module, batch, masks, rows):
    """AD, AG and AI in percent of masks (B, H, W), image by image, as Eq. 13-15 are written."""
    drops, gains, increases = 0.0, 0.0, 0
    for row in rows:
        image, label = batch["image"][row], int(batch["label"][row])
        p, o = (probability(module, x, label) for x in (image, image * masks[row]))
        drops += max(0, p - o) / p
        gains += max(0, o - p) / (1 - p)
        increases += p < o
    return [value / len(rows) for value in (drops, gains, increases)]


def values(results, method, prefix, suffix=""):
    names = ("average_drop", "average_gain", "average_increase")
    return [results[method][f"{prefix}{name}{suffix}"] for name in names]


@torch.no_grad()
def test_selectivity_equals_a_loop_over_images_and_exponents(tmp_path):
    module, batch = (
        small_module({"gradcam": GradCAM(), "gradient": VanillaGradient()}),
        small_batch(),
    )
    found = Selectivity(EXPONENTS).run(Setting(module, batch))
    for name, method in module.methods.items():
        maps = method(module.classifier, batch["image"], batch["label"])
        each = []
        for exponent in EXPONENTS:
            expected = by_hand(module, batch, maps**exponent, range(6))
            each.append(expected)
            got = values(found.results, name, "selectivity_", f"_{exponent:g}")
            assert got == pytest.approx(expected, abs=1e-5)
        mean = [sum(column) / 3 for column in zip(*each, strict=True)]
        assert values(found.results, name, "selectivity_") == pytest.approx(mean, abs=1e-5)
    assert {n for v in found.results.values() for n in v} == set(found.figures)
    for name, write in found.files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        write(path)
    with (tmp_path / "selectivity.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["exponent"] for row in rows] == ["0.1", "1", "3"] * 2
    assert (tmp_path / "pictures" / "selectivity.png").stat().st_size > 10_000


@torch.no_grad()
def test_each_image_is_explained_once_and_a_constant_map_looks_bad():
    calls = []

    def method(classifier, images, targets):
        calls.append(len(images))
        return constant(classifier, images, targets)

    module, batch = small_module({"flat": method, "fakecam": FakeCAM()}), small_batch()
    module.methods["flat"] = method
    found = Selectivity(EXPONENTS).run(Setting(module, batch)).results
    assert calls == [6]
    for exponent in EXPONENTS:
        empty = by_hand(module, batch, torch.zeros(6, 16, 16), range(6))
        got = values(found, "flat", "selectivity_", f"_{exponent:g}")
        assert got == pytest.approx(empty, abs=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("study", [Selectivity(EXPONENTS), Boxes()])
def test_two_processes_have_the_sums_of_one(study):
    module, batch = small_module({"gradcam": GradCAM()}), small_batch()
    whole = Setting(module, batch)
    shares = [Setting(module, rows_of(batch, 0, 3)), Setting(module, rows_of(batch, 1, 2, 4, 5))]
    for setting in (whole, *shares):
        study.run(setting)
    first, second = (states(share.scores) for share in shares)
    for name, value in states(whole.scores).items():
        torch.testing.assert_close(first[name] + second[name], value, msg=name)


@torch.no_grad()
def test_boxes_equal_a_loop_and_leave_out_images_without_a_box(tmp_path):
    module, batch = small_module({"gradcam": GradCAM()}), small_batch()
    none = torch.zeros((0, 4), dtype=torch.int64)
    border = torch.tensor([[9, 0, 40, 15], [0, 12, 3, 15], [-9, 2, -1, 8], [-2, -3, 1, 0]])
    batch["boxes"] = [*batch["boxes"][:4], none, border]
    found = Boxes().run(
        Setting(module, rows_of(batch, 0, 1, 4), rows_of(batch, 4), rows_of(batch, 2, 3, 5))
    )
    inside = torch.zeros(6, 16, 16)
    for row, boxes in enumerate(batch["boxes"]):
        for x0, y0, x1, y1 in boxes.tolist():
            for y in range(16):
                for x in range(16):
                    if x0 <= x <= x1 and y0 <= y <= y1:
                        inside[row, y, x] = 1
    rows = [0, 1, 2, 3, 5]
    torch.testing.assert_close(box_masks(batch["boxes"], batch["image"]), inside)
    maps = module.methods["gradcam"](module.classifier, batch["image"], batch["label"])
    expected = {
        ("true_box", "boxes_"): inside,
        ("outside_true_box", "boxes_"): 1 - inside,
        ("gradcam", "boxes_"): maps,
        ("gradcam", "boxes_in_"): maps * inside,
        ("gradcam", "boxes_out_"): maps * (1 - inside),
    }
    for (method, prefix), masks in expected.items():
        hand = by_hand(module, batch, masks, rows)
        assert values(found.results, method, prefix) == pytest.approx(hand, abs=1e-5)
    assert {n for v in found.results.values() for n in v} == set(found.figures)
    found.files["boxes.csv"](tmp_path / "boxes.csv")
    with (tmp_path / "boxes.csv").open() as file:
        written = {row["method"]: row for row in csv.DictReader(file)}
    assert written["true_box"]["boxes_in_average_drop"] == ""
    assert float(written["gradcam"]["boxes_in_average_drop"]) == pytest.approx(
        found.results["gradcam"]["boxes_in_average_drop"], abs=1e-6
    )


@torch.no_grad()
def test_a_box_over_the_whole_image_shows_the_image_itself():
    """Rounding makes no increase of it, and outside of it nothing is left."""
    module, batch = small_module({"fakecam": FakeCAM()}), small_batch()
    batch["boxes"] = [torch.tensor([[0, 0, 15, 15]])] * 6
    found = Boxes().run(Setting(module, batch)).results
    assert values(found, "true_box", "boxes_") == [0.0, 0.0, 0.0]
    empty = by_hand(module, batch, torch.zeros(6, 16, 16), range(6))
    for row, prefix in (("outside_true_box", "boxes_"), ("fakecam", "boxes_out_")):
        assert values(found, row, prefix) == pytest.approx(empty, abs=1e-5)


@torch.no_grad()
def test_masked_probability_is_that_of_single_passes():
    module, batch = small_module({"gradcam": GradCAM()}), small_batch()
    masks = torch.rand(3, 6, 16, 16, generator=torch.Generator().manual_seed(1))
    masks[1, 2] = 1
    clean = torch.rand(6)
    color = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}
    seen = []

    def model(images):
        seen.append(len(images))
        return module.classifier(images)

    found = masked_probability(
        model, batch["image"], masks, batch["label"], clean, batch_size=4, **color
    )
    mean, std = (torch.tensor(color[key])[:, None, None] for key in ("mean", "std"))
    for n in range(3):
        for row in range(6):
            shown = ((batch["image"][row] * std + mean) * masks[n, row] - mean) / std
            expected = probability(module, shown, int(batch["label"][row]))
            expected = float(clean[row]) if (n, row) == (1, 2) else expected
            assert float(found[n, row]) == pytest.approx(expected, abs=1e-6)
    assert seen == [4, 4, 4, 4, 1]  # 17 images: the mask of ones costs nothing
    with pytest.raises(ValueError, match="masks"):
        masked_probability(model, batch["image"], masks[0], batch["label"], clean)


@pytest.mark.parametrize("exponents", [[], [0.0], [-1.0], [1, 1]])
def test_exponents_that_are_no_exponents_are_refused(exponents):
    with pytest.raises(ValueError, match="exponents"):
        Selectivity(exponents)


def test_boxes_are_refused_where_there_are_none(tmp_path):
    class Data:
        metadata = tmp_path

        def has_boxes(self, split):
            return False

    with pytest.raises(UserError, match="needs true boxes"):
        Boxes().check_data(Data())

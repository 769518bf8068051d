import cv2
import numpy as np
import pytest
import torch

from learned_saliency.metrics import MaskedAccuracy, inpaint, masked_variants

MEAN, STD = torch.tensor([0.4, 0.5, 0.6])[:, None, None], torch.tensor([0.2] * 3)[:, None, None]


def colors_of(images):
    return (images * STD + MEAN) * 255


@pytest.fixture
def scene():
    """Two smooth images with a square of another color, and where it is."""
    ramp = torch.linspace(0.2, 0.8, 16).expand(2, 3, 16, 16).clone()
    square = torch.zeros(2, 16, 16, dtype=torch.bool)
    square[0, 4:9, 5:10] = square[1, 8:12, 2:6] = True
    ramp[square[:, None].expand_as(ramp)] = 0.0
    return (ramp - MEAN) / STD, square


def test_each_variant_shows_what_its_name_says(scene):
    images, square = scene
    found = masked_variants(images, square, MEAN, STD)
    shown = square[:, None].expand_as(images)
    assert list(found) == ["clean", "masked_in", "masked_out", "inpainted"]
    assert found["clean"] is images
    for name, kept in (("masked_in", shown), ("masked_out", ~shown)):
        torch.testing.assert_close(found[name][kept], images[kept], rtol=0, atol=0)
        assert (found[name][~kept] == 0).all()  # the mean color
    torch.testing.assert_close(found["inpainted"][~shown], images[~shown], rtol=0, atol=0)


def test_repainting_takes_the_colors_from_around_and_none_from_the_hole(scene):
    images, square = scene
    painted = masked_variants(images, square, MEAN, STD)["inpainted"]
    ramp = torch.linspace(0.2, 0.8, 16).expand(2, 3, 16, 16) * 255
    error = (colors_of(painted) - ramp).abs()[square[:, None].expand_as(images)]
    assert (
        error.max() < 40
    )  # a guess from the neighborhood; the hole's own color is 51 and more off
    other = images.clone()
    other[square[:, None].expand_as(images)] = 5.0
    again = masked_variants(other, square, MEAN, STD)["inpainted"]
    torch.testing.assert_close(again, painted, rtol=0, atol=0)


def test_inpainting_is_opencvs_telea(scene):
    images, square = scene
    colors = colors_of(images).round().clamp(0, 255).to(torch.uint8)
    found = inpaint(colors, square, radius=3)
    for i in range(2):
        image = np.ascontiguousarray(colors[i].permute(1, 2, 0).numpy())
        expected = cv2.inpaint(image, square[i].numpy().astype(np.uint8), 3, cv2.INPAINT_TELEA)
        assert np.array_equal(found[i].permute(1, 2, 0).numpy(), expected)
    nothing = inpaint(colors, torch.zeros_like(square))
    torch.testing.assert_close(nothing, colors, rtol=0, atol=0)


def test_accuracies_are_counted_by_variant(check_metric):
    generator = torch.Generator().manual_seed(0)
    samples = [
        (torch.randn(4, 5, generator=generator), torch.tensor(index % 5)) for index in range(30)
    ]
    names = ("clean", "masked_in", "masked_out", "inpainted")
    expected = {
        name: torch.tensor(
            sum(int(logits[i].argmax()) == int(label) for logits, label in samples) / 30,
            dtype=torch.float64,
        )
        for i, name in enumerate(names)
    }

    def collate(chosen):
        logits, labels = zip(*chosen, strict=True)
        stacked = torch.stack(logits, dim=1)
        return dict(zip(names, stacked, strict=True)), torch.stack(labels)

    check_metric(MaskedAccuracy, samples, collate, expected, rtol=0, atol=0)


def test_bad_input_is_refused(scene):
    images, square = scene
    with pytest.raises(TypeError, match="bool"):
        masked_variants(images, square.float(), MEAN, STD)
    with pytest.raises(TypeError, match="uint8"):
        inpaint(images, square)
    with pytest.raises(ValueError, match="expected colors"):
        inpaint(images.to(torch.uint8), square[:1])
    logits = dict.fromkeys(("clean", "masked_in", "masked_out", "inpainted"), torch.rand(2, 3))
    with pytest.raises(ValueError, match="expected logits"):
        MaskedAccuracy().update(logits, torch.tensor([0]))


def test_other_channels_are_repainted_one_by_one_at_full_depth():
    values = torch.rand(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)) * 255
    holes = torch.zeros(2, 8, 8, dtype=torch.bool)
    holes[:, 2:4, 3:5] = True
    painted = inpaint(values, holes)
    kept = ~holes[:, None].expand_as(values)
    assert torch.equal(painted[kept], values[kept])
    for channel in range(4):
        alone = inpaint(values[:, [channel]], holes)
        assert torch.equal(painted[:, [channel]], alone)

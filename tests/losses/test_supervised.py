"""Cross-entropy of a foreground map against masks and boxes, by plain loops."""

import math

import pytest
import torch

from learned_saliency.losses import SupervisedLoss, box_masks, pixel_cross_entropy


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def draw(generator, batch=3, height=5, width=7):
    scores = torch.randn(batch, 2, height, width, generator=generator, dtype=torch.float64)
    values = torch.tensor([0, 1, 255], dtype=torch.uint8)
    chosen = torch.randint(0, 3, (batch, height, width), generator=generator)
    return scores, values[chosen]


def test_the_loss_is_the_mean_of_the_known_pixels(generator):
    scores, masks = draw(generator)
    total, known = 0.0, 0
    for b in range(3):
        for y in range(5):
            for x in range(7):
                if masks[b, y, x] == 255:
                    continue
                back, fore = (math.exp(float(scores[b, c, y, x])) for c in (0, 1))
                right = fore if masks[b, y, x] == 1 else back
                total -= math.log(right / (back + fore))
                known += 1
    assert 0 < known < 3 * 5 * 7
    expected = torch.tensor(total / known, dtype=torch.float64)
    torch.testing.assert_close(pixel_cross_entropy(scores, masks), expected)


def test_its_gradient_is_right_and_none_comes_from_unknown_pixels(generator):
    scores, masks = draw(generator)
    scores.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: pixel_cross_entropy(s, masks), scores)
    pixel_cross_entropy(scores, masks).backward()
    unknown = (masks == 255)[:, None].expand_as(scores)
    assert not scores.grad[unknown].any()
    assert scores.grad[~unknown].all()


def test_a_batch_without_known_pixels_teaches_nothing(generator):
    scores, masks = draw(generator)
    scores.requires_grad_()
    loss = pixel_cross_entropy(scores, torch.full_like(masks, 255))
    loss.backward()
    assert loss == 0
    assert not scores.grad.any()


def test_it_is_the_binary_cross_entropy_of_the_difference(generator):
    scores, masks = draw(generator)
    masks = masks.clamp(max=1)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        scores[:, 1] - scores[:, 0], masks.double()
    )
    torch.testing.assert_close(pixel_cross_entropy(scores, masks), expected)


def test_half_precision_is_widened(generator):
    scores, masks = draw(generator)
    half = scores.bfloat16()
    loss = pixel_cross_entropy(half, masks)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, pixel_cross_entropy(half.float(), masks))


def test_boxes_are_drawn_with_their_last_pixels(generator):
    height, width = 6, 9
    counts = [2, 0, 1, 3]
    boxes = [torch.randint(-4, 12, (n, 4), generator=generator) for n in counts]
    boxes[2] = torch.tensor([[-1, -1, -1, -1]])  # beside the image
    masks = box_masks(boxes, height, width)
    assert masks.dtype == torch.uint8
    for image, mask in zip(boxes, masks, strict=True):
        for y in range(height):
            for x in range(width):
                inside = any(x0 <= x <= x1 and y0 <= y <= y1 for x0, y0, x1, y1 in image.tolist())
                assert mask[y, x] == inside
    assert box_masks([torch.tensor([[1, 2, 3, 4]])], 6, 9).sum() == 9
    assert not box_masks([torch.empty((0, 4), dtype=torch.int64)] * 2, 6, 9).any()


def test_masks_count_before_boxes_and_there_must_be_one_of_them(generator):
    scores, masks = draw(generator)
    loss, boxes = SupervisedLoss(), [torch.tensor([[1, 1, 3, 2]])] * 3
    with_masks = pixel_cross_entropy(scores, masks)
    torch.testing.assert_close(loss(scores, masks, boxes), with_masks)
    with_boxes = pixel_cross_entropy(scores, box_masks(boxes, 5, 7))
    torch.testing.assert_close(loss(scores, None, boxes), with_boxes)
    with pytest.raises(ValueError, match="expected masks or boxes, got neither"):
        loss(scores)
    with pytest.raises(ValueError, match=r"got \(3, 2, 5, 7\) and \(3, 5, 6\)"):
        loss(scores, masks[..., 1:])

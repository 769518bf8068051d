import pytest
import torch
from torch.testing import assert_close

from learned_saliency.metrics import Localization, PxAP


def images(seed, count=12, size=20):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(count, size, size, generator=generator)
    masks = (torch.rand(count, size, size, generator=generator) > 0.7).to(torch.uint8)
    masks[:, :2] = 255
    corners = torch.randint(0, size // 2, (count, 2), generator=generator)
    boxes = [torch.cat([c, c + size // 2 - 1])[None] for c in corners]
    logits = torch.randn(count, 7, generator=generator)
    labels = torch.randint(-1, 7, (count,), generator=generator)
    return maps, masks, boxes, logits, labels


@pytest.mark.parametrize("seed", range(3))
def test_metrics_of_images_drawn_with_replacement_follow_from_the_images_states(seed):
    maps, masks, boxes, logits, labels = images(seed)
    drawn = torch.randint(0, len(maps), (2, len(maps)))
    weights = torch.stack([torch.bincount(row, minlength=len(maps)) for row in drawn]).double()
    pixels, located = PxAP(), Localization()
    pixels.update(maps, masks)
    located.update(maps, boxes, logits, labels)
    found = {}
    for metric in (pixels, located):
        sums = {
            name: torch.einsum("rn,n...->r...", weights, values.double())
            for name, values in metric.thinned(metric.image_states).items()
        }
        found |= metric.of_states(sums)
    for i, row in enumerate(drawn):
        again, boxes_again = PxAP(), Localization()
        again.update(maps[row], masks[row])
        boxes_again.update(maps[row], [boxes[k] for k in row], logits[row], labels[row])
        assert_close(found["pxap"][i], again.compute())
        expected = boxes_again.compute()
        expected.pop("best_threshold")
        for name, value in expected.items():
            assert_close(found[name][i], value, msg=name)

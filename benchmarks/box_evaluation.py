"""Box evaluation against the benchmark's plain loop over 1000 thresholds, counts asserted equal.

Run by hand from the checkout: ``python benchmarks/box_evaluation.py``. Both run on one thread in
the same process, in turn; CPU time, which the machine's other work disturbs least, and the best of
the repetitions.
"""

import time
from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from learned_saliency.metrics.boxes import IOU_THRESHOLDS, THRESHOLDS, best_ious

SIZE = 224
REPETITIONS = 2


def plain_loop(image: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Best IoU of the largest and of all contours, (2, 1000), of a float64 map (H, W)."""
    height, width = image.shape
    eight_bit = (image * 255).astype(np.uint8)
    best = np.zeros((2, len(THRESHOLDS)))
    for index, threshold in enumerate(THRESHOLDS):
        level = int(threshold * eight_bit.max())
        binary = cv2.threshold(eight_bit, level, 255, cv2.THRESH_BINARY)[1]
        contours = cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]
        boxes, chosen = [[0, 0, 0, 0]], 0
        if contours:
            rects = map(cv2.boundingRect, contours)
            boxes = [[x, y, min(x + w, width - 1), min(y + h, height - 1)] for x, y, w, h in rects]
            chosen = int(np.argmax([cv2.contourArea(contour) for contour in contours]))
        found = np.array(boxes)[:, None]
        shared = np.minimum(found[..., 2:], truth[:, 2:]) - np.maximum(found[..., :2], truth[:, :2])
        shared = np.maximum(shared + 1, 0).prod(-1)
        union = (found[..., 2:] - found[..., :2] + 1).prod(-1) - shared
        union = union + (truth[:, 2:] - truth[:, :2] + 1).prod(-1)
        ious = (shared / union).max(1)
        best[:, index] = ious[chosen], ious.max()
    return best


def normalize(maps: Tensor) -> Tensor:
    """Min-max normalize maps (B, H, W)."""
    maps = maps - maps.amin((1, 2), keepdim=True)
    return maps / maps.amax((1, 2), keepdim=True)


def examples() -> dict[str, Tensor]:
    """Maps (2, 224, 224) of each kind."""
    generator = torch.Generator().manual_seed(0)
    kinds = {}
    for cells in (7, 14, 28, 56, 112):
        raw = torch.randn(2, 1, cells, cells, generator=generator)
        maps = interpolate(raw, (SIZE, SIZE), mode="bicubic", align_corners=False)[:, 0]
        kinds[f"noise, {cells} x {cells} cells"] = normalize(maps)
    grid = torch.arange(SIZE) - SIZE / 2
    bump = torch.exp(-(grid[:, None] ** 2 + grid**2) / (2 * 40**2))
    kinds["one smooth blob"] = normalize(torch.stack([bump, bump.roll(60, 1)]))
    kinds["white noise"] = normalize(torch.rand(2, SIZE, SIZE, generator=generator))
    return kinds


def best_time(function: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Least CPU time of a call in milliseconds and what it returns."""
    times = []
    for _ in range(REPETITIONS):
        start = time.process_time()
        result = function()
        times.append(time.process_time() - start)
    return 1000 * min(times), result


def main() -> None:
    """Print times a map and their ratio."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    boxes = [
        torch.tensor([[40, 50, 160, 170]]),
        torch.tensor([[100, 20, 220, 200], [8, 8, 60, 90]]),
    ]
    truth = [image_boxes.numpy() for image_boxes in boxes]
    print(f"{'map':22}{'plain, ms':>12}{'here, ms':>12}{'ratio':>8}")
    for name, maps in examples().items():
        wide = maps.double().numpy()
        slow, plain = best_time(lambda wide=wide: np.stack(list(map(plain_loop, wide, truth))))
        fast, here = best_time(lambda maps=maps: best_ious(maps, boxes).numpy())
        assert (plain == here).all()
        for iou in IOU_THRESHOLDS:
            assert ((plain >= iou).sum(0) == (here >= iou).sum(0)).all()
        print(f"{name:22}{slow / 2:12.1f}{fast / 2:12.1f}{fast / slow:8.3f}")


if __name__ == "__main__":
    main()

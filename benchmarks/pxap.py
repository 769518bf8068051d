"""PxAP update against np.histogram with the evaluator's edges, histograms asserted equal.

Run by hand from the checkout: ``python benchmarks/pxap.py``. Both run on one thread in the same
process, in turn; CPU time, which the machine's other work disturbs least, and the best of the
repetitions. The aim is at most 0.5 ms a map.
"""

import time

import numpy as np
import torch
from torch import Tensor

from learned_saliency.metrics import PxAP

SIZE = 224
BATCH = 32
REPETITIONS = 10
EDGES = np.append(np.arange(0, 1, 0.001), [1.0, 2.0, 3.0])


def plain_histograms(maps: Tensor, masks: Tensor) -> np.ndarray:
    """Counts of background and object pixels by score, (2, 1002)."""
    counts = np.zeros((2, len(EDGES) - 1), np.int64)
    for saliency, mask in zip(maps.double().numpy(), masks.numpy(), strict=True):
        for kind in (0, 1):
            counts[kind] += np.histogram(saliency[mask == kind], EDGES)[0]
    return counts


def main() -> None:
    """Print times a map and their ratio."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    masks = torch.tensor([0, 1, 1, 255], dtype=torch.uint8)[
        torch.randint(0, 4, (BATCH, SIZE, SIZE), generator=generator)
    ]
    print(f"{'type':16}{'numpy, ms':>12}{'here, ms':>12}{'ratio':>8}")
    for dtype in (torch.float32, torch.float64):
        maps = torch.rand(BATCH, SIZE, SIZE, generator=generator, dtype=dtype)
        metric = PxAP()
        metric.update(maps, masks)
        found = torch.stack([metric.background_scores, metric.object_scores])
        assert (found.numpy() == plain_histograms(maps, masks)).all()
        slow, fast = [], []
        for _ in range(REPETITIONS):
            start = time.process_time()
            plain_histograms(maps, masks)
            middle = time.process_time()
            metric.update(maps, masks)
            slow.append(middle - start)
            fast.append(time.process_time() - middle)
        plain, here = 1000 * min(slow) / BATCH, 1000 * min(fast) / BATCH
        print(f"{dtype!s:16}{plain:12.2f}{here:12.3f}{here / plain:8.3f}")


if __name__ == "__main__":
    main()

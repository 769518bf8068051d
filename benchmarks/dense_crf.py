"""Time the dense CRF loss: the lattice against the exact sum over all pairs of pixels.

Run by hand: ``python benchmarks/dense_crf.py [--images FOLDER] [--threads 2]``. Value and gradient
together, milliseconds per image, the fastest of some repetitions; the exact sum is measured once,
in the same run, on fewer images. Without a folder, smooth random photographs are made up. The last
two columns compare the lattice's value and gradient with the exact ones on those images.

With ``--before`` the lattice is measured beside the commit before the work on speed, in processes
that take turns, and the exact sum is left out. Times are then of the processor, as the lattice of
the commit before loses more wall time than processor time where other processes keep the cores
busy; with several threads the times of all of them add up. ``equal`` tells whether value and
gradient agree to the last bit.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import torch
from commit_before import ROOT, checked_out, measured_there
from torch import Tensor
from torch.nn import functional

from learned_saliency.datamodules import read_pixels
from learned_saliency.losses import dense_crf

_SUFFIXES = {".jpg", ".jpeg", ".png"}


def _read(folder: Path, count: int, size: int) -> Tensor:
    """First images of a folder, resized, uint8 (B, 3, size, size)."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES)[:count]
    images = [
        cv2.resize(read_pixels(path), (size, size), interpolation=cv2.INTER_AREA) for path in paths
    ]
    return torch.stack([torch.from_numpy(image) for image in images]).permute(0, 3, 1, 2)


def _make(count: int, size: int) -> Tensor:
    """Smooth random images with some texture, uint8 (B, 3, size, size)."""
    generator = torch.Generator().manual_seed(0)
    images = torch.full((count, 3, size, size), 120.0)
    for cells, strength in ((3, 60.0), (8, 25.0), (24, 15.0), (size, 6.0)):
        gray = torch.randn(count, 1, cells, cells, generator=generator)
        tint = torch.randn(count, 3, cells, cells, generator=generator)
        noise = strength * (gray + 0.3 * tint)
        images += functional.interpolate(noise, size, mode="bilinear", align_corners=False)
    return images.clamp(0, 255).to(torch.uint8)


def _maps(count: int, size: int) -> Tensor:
    """Two smooth softmax maps an image, (B, 2, size, size)."""
    logits = torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 2
    logits = functional.interpolate(logits, size, mode="bilinear", align_corners=False)
    return torch.cat([logits, -logits], dim=1).softmax(1)


def _fastest(run: Callable[[], object], repetitions: int) -> float:
    """Seconds of the fastest of some runs, after one that does not count."""
    seconds = []
    for _ in range(repetitions + 1):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def _value_and_gradient(maps: Tensor, images: Tensor, backend: str) -> tuple[Tensor, Tensor]:
    """Loss with sigma_xy at its usual share of the image's side."""
    maps = maps.clone().requires_grad_()
    value = dense_crf(maps, images, sigma_xy=100 * maps.shape[3] / 224, backend=backend)
    value.backward()
    return value.detach(), maps.grad


def _images(options: argparse.Namespace, size: int) -> Tensor:
    """Images of a size, from the folder or made up."""
    if options.images:
        return _read(options.images, options.batch, size)
    return _make(options.batch, size)


def _lattice(options: argparse.Namespace) -> dict[str, dict[str, object]]:
    """Milliseconds per image and a digest of value and gradient, by size."""
    found = {}
    for size in options.sizes:
        images = _images(options, size).float()  # as a training step has them
        maps = _maps(len(images), size)
        seconds = []
        for _ in range(options.repetitions + 1):
            start = time.process_time(), time.perf_counter()
            value, gradient = _value_and_gradient(maps, images, "lattice")
            seconds.append((time.process_time() - start[0], time.perf_counter() - start[1]))
        cpu, wall = (1e3 * min(column) / len(images) for column in zip(*seconds[1:], strict=True))
        numbers = value.numpy().tobytes() + gradient.contiguous().numpy().tobytes()
        found[str(size)] = {"cpu": cpu, "wall": wall, "digest": hashlib.md5(numbers).hexdigest()}
    return found


def _beside_the_commit_before(options: argparse.Namespace) -> None:
    """Print one row per image size."""
    words = ["--json", "--batch", str(options.batch), "--threads", str(options.threads)]
    words += ["--repetitions", str(options.repetitions), "--sizes", *map(str, options.sizes)]
    words += ["--images", str(options.images)] if options.images else []
    found: dict[str, list[dict]] = {"now": [], "before": []}
    with checked_out() as before:
        for _ in range(options.turns):
            for name, folder in (("now", ROOT), ("before", before)):
                found[name].append(measured_there(folder, Path(__file__), words))
    print(
        f"{'size':>5}{'now ms':>9}{'before ms':>11}{'now / before':>14}{'of wall':>9}{'equal':>7}"
    )
    for size in map(str, options.sizes):
        now, then = (
            {key: min(turn[size][key] for turn in found[name]) for key in ("cpu", "wall")}
            for name in ("now", "before")
        )
        digests = {turn[size]["digest"] for turns in found.values() for turn in turns}
        ratios = now["cpu"] / then["cpu"], now["wall"] / then["wall"]
        print(
            f"{size:>5}{now['cpu']:>9.2f}{then['cpu']:>11.2f}{ratios[0]:>14.2f}{ratios[1]:>9.2f}"
            f"{'yes' if len(digests) == 1 else 'no':>7}"
        )


def _beside_the_exact_sum(options: argparse.Namespace) -> None:
    """Print one row per image size."""
    print(f"{'size':>5}{'lattice ms':>12}{'exact ms':>11}{'ratio':>8}{'value':>8}{'cosine':>9}")
    for size in options.sizes:
        images = _images(options, size)
        maps = _maps(len(images), size)
        few = 1 if size > 128 else 4
        lattice = _fastest(
            lambda m=maps, i=images: _value_and_gradient(m, i, "lattice"), options.repetitions
        )
        start = time.perf_counter()
        value, gradient = _value_and_gradient(maps[:few], images[:few], "exact")
        exact = time.perf_counter() - start
        near, slope = _value_and_gradient(maps[:few], images[:few], "lattice")
        value = near / value
        cosine = torch.cosine_similarity(slope.flatten(), gradient.flatten(), dim=0)
        lattice_ms, exact_ms = 1e3 * lattice / len(images), 1e3 * exact / few
        print(
            f"{size:>5}{lattice_ms:>12.2f}{exact_ms:>11.1f}{exact_ms / lattice_ms:>8.0f}"
            f"{value:>8.3f}{cosine:>9.4f}"
        )


def main() -> None:
    """Print one row per image size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, help="folder of photographs")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 96, 224])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--before", action="store_true", help="measure beside the commit before")
    parser.add_argument("--turns", type=int, default=3, help="processes of each commit")
    parser.add_argument("--json", action="store_true", help="measure the imported package alone")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.json:
        print(json.dumps(_lattice(options)))
    elif options.before:
        _beside_the_commit_before(options)
    else:
        _beside_the_exact_sum(options)


if __name__ == "__main__":
    main()

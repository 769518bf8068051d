"""Time what precision, memory layout, folded BatchNorm and common runs of classes do to maps.

Run by hand from an installed checkout: ``python benchmarks/explaining.py``. Two parts:

* ``forms``: Grad-CAM and LIFT-CAM of a network in plain float32, channels-last, with folded
  BatchNorm and in bfloat16. The unit is one plain float32 forward without gradients. ``network``
  names one of torchvision's; its weights are random, and its BatchNorms know the activations of
  random images. ``--weights FILE`` and ``--images FOLDER`` give it real ones, ``--run RUN`` takes
  the classifier of a trained run. Beside the times stand the differences of the maps from those of
  plain float32.
* ``classes``: Opti-CAM and Score-CAM of five classes of an image, together and one after the other,
  and Score-CAM in passes of 8 masked images and of the size that it chooses.

All variants take turns in one process; the least processor time counts, which other work on the
machine disturbs little: give one thread (the default). A variant that takes more than 8 units is
measured once.
"""

import argparse
import copy
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import functional

from learned_saliency.attribution import (
    LIFTCAM,
    Classifier,
    GradCAM,
    OptiCAM,
    PostHocMethod,
    ScoreCAM,
    fold_batchnorm,
    split,
)
from learned_saliency.pipeline.runs import MapDifference, load_module, read_checkpoint
from learned_saliency.storage import read_weights

LAYERS = {"squeezenet1_0": "features", "resnet50": "layer4", "resnet18": "layer4"}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SLOW = 8.0  # units


def read_images(folder: Path | None, count: int, size: int) -> Tensor:
    """Read images of a folder, normalized; or draw smooth random ones."""
    if folder is None:
        coarse = torch.rand(count, 3, 16, 16)
        return nn.functional.interpolate(coarse, size=(size, size), mode="bicubic") * 4 - 2
    paths = sorted(folder.iterdir())[:: max(1, len(list(folder.iterdir())) // count)][:count]
    pixels = [functional.to_tensor(Image.open(p).convert("RGB").resize((size,) * 2)) for p in paths]
    return functional.normalize(torch.stack(pixels), MEAN, STD)


def build(words: argparse.Namespace, images: Tensor) -> Classifier:
    """Build the classifier that is explained."""
    if words.run is not None:
        return load_module(read_checkpoint(words.run, "best.ckpt")).classifier.eval()
    network = torchvision.models.get_model(words.network)
    if words.weights is not None:
        network.load_state_dict(read_weights(words.weights))
    else:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # averages of all that follows
        with torch.no_grad():
            network.train()(images)
    return split(network.eval(), LAYERS[words.network])


def forms(classifier: Classifier, images: Tensor) -> dict[str, tuple[Classifier, bool]]:
    """Make the forms of a classifier; true for those that run in bfloat16."""
    found = {}
    for layout in ("contiguous_format", "channels_last"):
        for folds in (False, True):
            form = copy.deepcopy(classifier).to(memory_format=getattr(torch, layout))
            words = ["channels-last"] if layout == "channels_last" else []
            if folds:
                if not any(isinstance(module, nn.BatchNorm2d) for module in form.modules()):
                    continue
                fold_batchnorm(form, images)
                words.append("folded")
            found[" ".join(["float32", *words])] = form, False
            found[" ".join(["bf16", *words])] = form, True
    return found


def timed(function: Callable[[], object]) -> float:
    """Return the processor time of a call."""
    start = time.process_time()
    function()
    return time.process_time() - start


def explain(method: PostHocMethod, form: Classifier, images: Tensor, half: bool) -> Tensor:
    """Compute maps of the predicted classes."""
    with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
        return method(form, images)


def time_forms(words: argparse.Namespace, images: Tensor) -> None:
    """Print the table of forms."""
    classifier = build(words, images)
    runs: dict[str, Callable[[], object]] = {}
    maps: dict[str, Tensor] = {}
    found = forms(classifier, images)
    with torch.no_grad():
        plain = found["float32"][0]
        runs["forward"] = lambda: plain(images)
        for name, (form, half) in found.items():
            for method in (GradCAM(), LIFTCAM()):
                label = f"{name}, {type(method).__name__}"
                runs[label] = lambda m=method, f=form, h=half: explain(m, f, images, h)
                maps[label] = None if half and words.no_half else runs[label]()
        runs = {name: run for name, run in runs.items() if maps.get(name, images) is not None}
        least = {name: timed(run) for name, run in runs.items()}
        for _ in range(words.rounds):
            for name, run in runs.items():
                if least[name] <= SLOW * least["forward"]:
                    least[name] = min(least[name], timed(run))
    unit = least["forward"]
    print(f"{words.run or words.network}, {len(images)} images: forward {unit:.2f} s")
    for name, seconds in least.items():
        if name in maps:
            kind = name.partition(", ")[2]
            told = MapDifference.of(maps[name], maps[f"float32, {kind}"])
            told = f"{told.mean:.1e} {told.largest:.1e} {told.correlation:.6f}"
            print(f"  {name:<40} {seconds / unit:6.2f}   {told}")


def time_classes(words: argparse.Namespace, images: Tensor) -> None:
    """Print the table of several classes and of Score-CAM's passes."""
    classifier = build(words, images).to(memory_format=torch.channels_last)
    image = images[:1]
    targets = classifier(image).detach().topk(5).indices
    small = images[:2, :, :64, :64].contiguous()
    opticam, scorecam = OptiCAM(iterations=3), ScoreCAM()

    def one_by_one(method: PostHocMethod) -> Tensor:
        return torch.stack([method(classifier, image, c) for c in targets.unbind(1)], 1)

    pairs = {
        "Opti-CAM, 5 classes": (
            lambda: opticam.of_classes(classifier, image, targets),
            lambda: one_by_one(opticam),
        ),
        "Score-CAM, 5 classes": (
            lambda: scorecam.of_classes(classifier, image, targets),
            lambda: one_by_one(scorecam),
        ),
        "Score-CAM, 64 pixels, passes of 98 beside 8": (
            lambda: scorecam(classifier, small),
            lambda: ScoreCAM(batch_size=8)(classifier, small),
        ),
    }
    for name, (new, old) in pairs.items():
        error = float((new() - old()).abs().max())
        least = [float("inf"), float("inf")]
        for _ in range(words.rounds):
            least = [min(a, timed(run)) for a, run in zip(least, (new, old), strict=True)]
        print(f"  {name:<45} {least[0] / least[1]:.2f}   maps differ by {error:.1e}")


def main() -> None:
    """Time the chosen part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="?", choices=["forms", "classes"], default="forms")
    parser.add_argument("--network", choices=LAYERS, default="resnet50")
    parser.add_argument("--weights", type=Path, help="file of the network's weights")
    parser.add_argument("--run", help="a trained run, in place of the network")
    parser.add_argument("--images", type=Path, help="folder of photographs")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-half", action="store_true", help="leave bfloat16 out")
    words = parser.parse_args()
    torch.set_num_threads(words.threads)
    torch.manual_seed(0)
    images = read_images(words.images, words.batch, words.size)
    (time_forms if words.part == "forms" else time_classes)(words, images)


if __name__ == "__main__":
    main()

"""Translation of the weights of CALM's, F-CAM's and CASM's code to this project's names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from learned_saliency.models import CALM
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.runs import find_state_dict, read_weights

# Keys under which a file of CASM's code keeps its weights, and the parts that they belong to.
_CASM_PARTS = {"state_dict_classifier": "classifier.", "state_dict_decoder": "decoder."}
_FCAM_PARTS = ("encoder", "classification_head", "decoder", "segmentation_head")

_BACKBONE = r"(?:encoder\.|classifier\.)?"
_HEAD = r"(?:classifier\.|classification_head\.)?(?:fc|conv|conv_last|SPG_A4)\.(weight|bias)"
# F-CAM's backbones register their layers twice.
_DUPLICATE = rf"{_BACKBONE}(?:full_features\..+|features\.\d+\.(?!weight$|bias$).+)"

# Published names, and this project's below the classifier ...
_CLASSIFIER_RULES = (
    (rf"{_BACKBONE}((?:conv1|bn1|layer\d)\..+)", r"backbone.network.\1"),  # ResNet
    (rf"{_BACKBONE}(Mixed_[67]a)\.(.+)", r"backbone.network.\1.block.\2"),  # Inception-v3
    (rf"{_BACKBONE}((?:Conv2d|Mixed)_\w+\..+)", r"backbone.network.\1"),
    (rf"{_BACKBONE}(?:SPG_A3_1b\.[01]|A3_1b\.0)\.(.+)", r"backbone.neck.0.\1"),
    (rf"{_BACKBONE}(?:SPG_A3_2b\.[01]|A3_2b\.0)\.(.+)", r"backbone.neck.2.\1"),
    (rf"{_BACKBONE}features\.(\d+)\.(weight|bias)", r"backbone.network.features_\1.\2"),  # VGG
    (rf"{_BACKBONE}conv6\.(.+)", r"backbone.neck.0.\1"),
    (_HEAD, r"fc.\1"),
)
# ... and elsewhere.
_DECODER_RULES = (
    (r"decoder\.blocks\.(\d+)\.conv1\.([01]\..+)", r"decoder.layers.\1.\2"),  # F-CAM
    (r"decoder\.blocks\.(\d+)\.conv2\.0\.(.+)", r"decoder.layers.\1.3.\2"),
    (r"decoder\.blocks\.(\d+)\.conv2\.1\.(.+)", r"decoder.layers.\1.4.\2"),
    (r"decoder\.center\.0\.([01]\..+)", r"decoder.center.\1"),
    (r"decoder\.center\.1\.0\.(.+)", r"decoder.center.3.\1"),
    (r"decoder\.center\.1\.1\.(.+)", r"decoder.center.4.\1"),
    (r"segmentation_head\.0\.(.+)", r"decoder.scores.\1"),
    *(
        (rf"decoder\.conv1x1_{k + 1}\.([01]\..+)", rf"decoder.branches.{k}.\1")  # CASM
        for k in range(4)
    ),
    (r"decoder\.final\.0\.(.+)", r"decoder.score.\1"),
    (r"attention\.0\.(.+)", r"location_branch.\1"),  # CALM
)


class Conversion(NamedTuple):
    """Outcome of the translation of published weights.

    Attributes:
        state: Weights that fit, by this project's names.
        matched: The published name of each of these weights.
        missing: Names of this project without a published weight.
        unexpected: Published names without a place in this project.
        mismatched: This project's name, the published name and two shapes, the published first.
    """

    state: dict[str, Tensor]
    matched: dict[str, str]
    missing: list[str]
    unexpected: list[str]
    mismatched: list[tuple[str, str, list[int], list[int]]]

    @property
    def complete(self) -> bool:
        """True if every weight of the network was found."""
        return not self.missing and not self.mismatched

    def summary(self) -> str:
        """Summarize in one line how many weights matched, and the first of the others."""
        parts = [f"{len(self.matched)} weights matched"]
        lists = {
            "missing": self.missing,
            "of another shape": [f"{ours} {a} for {b}" for ours, _, a, b in self.mismatched],
            "left over": self.unexpected,
        }
        for what, names in lists.items():
            if names:
                more = ", ..." if len(names) > 3 else ""
                parts.append(f"{len(names)} {what} ({', '.join(names[:3])}{more})")
        return "; ".join(parts)


def convert_published(state: Mapping[str, Tensor], network: nn.Module) -> Conversion:
    """Give published weights the names of a network of this project.

    The known names are those in CALM's (``naver-ai/calm``), F-CAM's (``sbelharbi/fcam-wsol``) and
    CASM's (``kondiz/casme``) code, whose backbones have torchvision's names, and in the WSOL
    benchmark's classifiers. A 1x1 convolution may become a linear layer.

    The same weights make the same maps, except in two networks: CALM's Inception-v3 leaves two
    layers unpadded that are padded here, and F-CAM's decoder for Inception-v3 has a level of 80
    channels where timm gives 192, so that one layer does not fit. F-CAM's published decoder also
    enlarges between levels of equal size and shrinks again, which changes nothing.

    Args:
        state: Published names and weights; the names of F-CAM and CASM begin with the names of
            their parts (``encoder.``, ``decoder.``, ...), as `read_published` gives them.
        network: A `models.CAMClassifier`, `CALM`, `FCAM` or `CASM`; not changed.
    """
    ours = network.state_dict()
    prefix = "classifier." if hasattr(network, "classifier") else ""
    renumbered = _vgg_numbers(state, [name.removeprefix(prefix) for name in ours])
    found, matched = {}, {}
    unexpected, mismatched = [], []
    for published, weight in state.items():
        if re.fullmatch(_DUPLICATE, published):
            continue
        name = _our_name(renumbered.get(published, published), prefix, isinstance(network, CALM))
        if name not in ours and name is not None:
            name = name.replace(".block.", ".")  # a backbone with its usual strides
        if name not in ours:
            unexpected.append(published)
            continue
        shape = ours[name].shape
        if weight.shape != shape and _without_ones(weight.shape) == _without_ones(shape):
            weight = weight.reshape(shape)
        if weight.shape != shape:
            mismatched.append((name, published, list(weight.shape), list(shape)))
            continue
        found[name], matched[name] = weight, published
    known = {*found, *(name for name, *_ in mismatched)}
    missing = [k for k in ours if k not in known and not k.endswith("num_batches_tracked")]
    return Conversion(found, matched, missing, unexpected, mismatched)


def _our_name(published: str, prefix: str, calm: bool) -> str | None:
    if calm:
        published = re.sub(r"^conv_last\.", "class_branch.", published)
        if published.startswith("class_branch."):
            return published
    for pattern, ours in _CLASSIFIER_RULES:
        match = re.fullmatch(pattern, published)
        if match:
            return prefix + match.expand(ours)
    for pattern, ours in _DECODER_RULES:
        match = re.fullmatch(pattern, published)
        if match:
            return match.expand(ours)
    return None


def _vgg_numbers(published: Mapping[str, Tensor], ours: Sequence[str]) -> dict[str, str]:
    """Renumber VGG's convolutions as they are numbered here, where no pool is left out."""
    pattern = rf"({_BACKBONE}features\.)(\d+)(\.(?:weight|bias))"
    theirs = [match for name in published if (match := re.fullmatch(pattern, name))]
    numbers = sorted({int(match[2]) for match in theirs})
    wanted = sorted({int(m[1]) for name in ours if (m := re.search(r"\.features_(\d+)\.", name))})
    if len(numbers) != len(wanted):
        return {}
    new = dict(zip(numbers, wanted, strict=True))
    return {match[0]: f"{match[1]}{new[int(match[2])]}{match[3]}" for match in theirs}


def _without_ones(shape: torch.Size) -> list[int]:
    return [size for size in shape if size != 1]


def count_classes(state: Mapping[str, Tensor]) -> int | None:
    """Count the classes of published weights; None without a classification layer."""
    for name, weight in state.items():
        if re.fullmatch(_HEAD, name):
            return len(weight)
    return None


def read_published(paths: Sequence[Path]) -> dict[str, Tensor]:
    """Read published weights; nothing but tensors and plain values is ever unpickled.

    Args:
        paths: Files, or folders of F-CAM's ``encoder.pt``, ``decoder.pt`` and so on. Later files
            replace weights of the same name.

    Raises:
        UserError: If a file is missing, truncated, holds code or no weights.
    """
    state: dict[str, Tensor] = {}
    for path in paths:
        files = [path]
        if path.is_dir():
            files = [path / f"{part}.pt" for part in _FCAM_PARTS if (path / f"{part}.pt").is_file()]
            if not files:
                raise UserError(f"{path}: holds none of {', '.join(_FCAM_PARTS)} (.pt).")
        for file in files:
            part = f"{file.stem}." if file.stem in _FCAM_PARTS else ""
            state |= {part + name: weight for name, weight in _read(file).items()}
    return state


def _read(path: Path) -> dict[str, Tensor]:
    label = str(path)
    content = read_weights(path, label)
    if isinstance(content, dict) and _CASM_PARTS.keys() <= content.keys():
        content = {
            part + name: weight
            for key, part in _CASM_PARTS.items()
            for name, weight in find_state_dict(content[key], label).items()
        }
    return find_state_dict(content, label)

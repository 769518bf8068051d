"""Work of finished evaluations on each method, by which an added one computes only itself."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from learned_saliency.attribution import PostHocMethod
from learned_saliency.datamodules import WSOLDataModule
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.runs import Subject, method_members
from learned_saliency.storage import WeightsError, read_weights, replacing
from learned_saliency.trainers import NATIVE, KeptMethod, SaliencyModule

_FOLDER = "kept"  # in the folder of an evaluation, with a file for each method
_ROOMS = ("attribution", "datamodules", "metrics", "models", "ops", "trainers")
_MOST_SIBLINGS = 100  # number of folders FOLDER-2, FOLDER-3, ... that are looked at
_OF_SUBJECT = ("classifier", "layer", "layer_layout", "num_classes", "activation", "target")
_OF_EVALUATION = ("split", "limit", "seed", "maps_scale", "maps_resize", "maps_cover")
_OF_EVALUATION += ("channels_last", "fold_batchnorm")


class KeptMethods:
    """Work of earlier evaluations on the methods of this one.

    A method is taken from an earlier evaluation if all is equal that its rows depend on: weights,
    its options, images with their truth and preparation, options of the evaluation, precision, and
    the code of this package; and if that evaluation had all faithfulness metrics that are asked for
    now. What differs is in the name of a method's file.

    Args:
        keys: Description of all that the rows of a method depend on, by method.
        figures: Names of the faithfulness metrics that are asked for.
        folders: Folders of earlier evaluations, the latest last.

    Attributes:
        taken: What is taken, by method.
    """

    def __init__(
        self, keys: Mapping[str, str], figures: Sequence[str], folders: Sequence[Path] = ()
    ) -> None:
        self._keys, self._figures = keys, list(figures)
        self.taken: dict[str, KeptMethod] = {}
        for folder in folders:
            for name, key in keys.items():
                found = self._read(folder / _FOLDER / _file_name(key), key)
                if found is not None and set(figures) <= set(found["figures"]):
                    self.taken[name] = found

    def write(self, folder: Path, methods: Mapping[str, KeptMethod]) -> None:
        """Keep methods in the folder of a finished evaluation, with those that were taken."""
        for name, method in ({**self.taken, **methods}).items():
            if name not in self._keys:
                continue
            path = folder / _FOLDER / _file_name(self._keys[name])
            path.parent.mkdir(exist_ok=True)
            with replacing(path) as temporary:
                torch.save({**method, "key": self._keys[name]}, temporary)

    def _read(self, path: Path, key: str) -> KeptMethod | None:
        """Read what is kept of a method; a file that is damaged or of something else is none."""
        if not path.is_file():
            return None
        try:
            found = read_weights(path)
            parts = {"figures", "sums", "shared", "rows", "examples", "gallery", "key"}
            if not isinstance(found, dict) or not parts <= found.keys() or found["key"] != key:
                raise WeightsError("of something else")
        except WeightsError as error:
            _say(f"evaluate.py: {path} is {error}; its method is computed anew")
            return None
        return found


def find_kept(
    config: DictConfig, module: SaliencyModule, data: WSOLDataModule, subject: Subject
) -> KeptMethods:
    """Find what earlier evaluations kept of the methods of this one.

    Earlier evaluations are those in ``output_dir`` and the folders with a number behind that name,
    or the one that ``reuse`` names. Only the first process looks. A bundle takes nothing.

    Raises:
        UserError: If ``reuse`` names no folder.
    """
    trainer = config.trainer
    parts = trainer.get("limit_test_batches") is not None or trainer.get("fast_dev_run")
    rounded = config.bundle is not None  # other maps, all of which have to be at hand
    if config.studies_only or parts or rounded or rank_zero_only.rank != 0:
        return KeptMethods({}, [])
    base = _base(config, module, data)
    keys = {
        name: json.dumps({**base, **_of_method(name, config, module, subject)}, default=str)
        for name in module.map_names
    }
    kept = KeptMethods(keys, config.evaluate.faithfulness, _folders(config))
    if kept.taken:
        _say(f"evaluate.py: taken from earlier evaluations: {', '.join(kept.taken)}")
    return kept


def _folders(config: DictConfig) -> list[Path]:
    if config.reuse in (False, "false"):  # the command line quotes paths
        return []
    if config.reuse is not None:
        named = Path(config.reuse).expanduser()
        if not named.is_dir():
            raise UserError(f"reuse={config.reuse}: there is no folder of an evaluation.")
        return [named]
    wanted = Path(config.output_dir).expanduser().resolve()
    numbered = (wanted.with_name(f"{wanted.name}-{i}") for i in range(2, _MOST_SIBLINGS))
    return [folder for folder in (wanted, *numbered) if folder.is_dir()]


def _base(config: DictConfig, module: SaliencyModule, data: WSOLDataModule) -> dict[str, Any]:
    """Describe what the rows of all methods depend on."""
    return {
        "code": _code(),
        "network": [type(module).__name__, _digest_of(module.state_dict())],
        "named": {key: str(config[key]) for key in _OF_SUBJECT},
        "images": data.digest(config.split),
        "prepared": [
            *(data.crop_size.plain, data.evaluated_middle),
            *(data.mean, data.std, data.decoding),
        ],
        "classes": [data.class_names, data.classes],
        "batch": data.eval_batch_size,  # sums of floating-point numbers depend on it
        "evaluation": {key: str(config[key]) for key in _OF_EVALUATION},
        "task": [data.task, module.activation.value],
        "explained": [module.explained, module.masking, float(module.box_threshold)],
        "trainer": [str(config.trainer.get(key)) for key in ("precision", "deterministic")],
        "pictures": [config.pictures.images, config.pictures.gallery],
    }


def _of_method(
    name: str, config: DictConfig, module: SaliencyModule, subject: Subject
) -> dict[str, Any]:
    """Describe a method with its options and trained parts."""
    if name in module.given:
        return {"maps": module.given[name].digest()}
    if name == NATIVE:
        return {NATIVE: OmegaConf.to_container(subject.checkpoint.config.model, resolve=True)}
    names = [name, *method_members(config, name)]
    options = {n: OmegaConf.to_container(config.attribution[n], resolve=True) for n in names}
    found = {"method": options.pop(name), "parts": list(_parts(module.methods[name]))}
    return found | ({"members": options} if options else {})


def _parts(value: Any) -> Iterator[str]:
    """Yield digests of the networks and tensors within a method."""
    if isinstance(value, nn.Module):
        yield _digest_of(value.state_dict())
    elif isinstance(value, Tensor):
        yield _digest_of({"": value})
    elif isinstance(value, PostHocMethod):
        for _, inner in sorted(vars(value).items()):
            yield from _parts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _parts(inner)


def _digest_of(state: Mapping[str, Any]) -> str:
    told = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        told.update(name.encode())
        if isinstance(tensor, Tensor):
            told.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            told.update(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
    return told.hexdigest()


def _code() -> str:
    """Return a digest of the code that computes maps and metrics."""
    told = hashlib.sha256()
    folders = [Path(import_module(f"learned_saliency.{room}").__file__).parent for room in _ROOMS]
    for folder in (*folders, Path(__file__).with_name("given_maps")):
        for path in sorted(folder.rglob("*.py")):
            told.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return told.hexdigest()


def _file_name(key: str) -> str:
    return f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.state"


def _say(what: str) -> None:
    print(what, file=sys.stderr)

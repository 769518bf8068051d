"""Data set of an evaluation: the checkpoint's own or another one, and the split that is tested."""

from __future__ import annotations

from collections.abc import Set

import lightning as L
from omegaconf import DictConfig, OmegaConf
from torch.utils.data import DataLoader

from learned_saliency.datamodules import WSOLDataModule
from learned_saliency.pipeline.cli import UserError, check_complete, nearest
from learned_saliency.pipeline.runs import Checkpoint, located_data

_ABSENT = object()


def with_data(config: DictConfig, checkpoint: Checkpoint | None) -> DictConfig:
    """Return the configuration with the checkpoint's data set where none was chosen.

    Raises:
        UserError: If there is no data set, a key of it does not exist, or a value is missing.
    """
    given = config.get("data") or OmegaConf.create()
    if "_target_" not in given:
        if checkpoint is None:
            raise UserError("data=... has no value: without a checkpoint choose a data set: wsol.")
        data = _adapted(checkpoint, given)  # some methods refer to it
        now = {"data": data, "output_dir": config.output_dir}  # the folder that was announced
        config = OmegaConf.create(OmegaConf.to_container(config) | now)
    check_complete(config)
    return config


def _adapted(checkpoint: Checkpoint, given: DictConfig) -> DictConfig:
    """Return the data set of a checkpoint, here, with some of its values replaced."""
    own = checkpoint.config.data
    for key in _leaves(given):
        if OmegaConf.select(own, key, default=_ABSENT) is _ABSENT:
            known = list(_leaves(own))
            raise UserError(f"data.{key} is no key of the configuration{nearest(key, known)}.")
    names = given.get("class_names")
    if names is not None and len(names) != checkpoint.num_classes:
        raise UserError(
            f"data.class_names: names {len(names)} classes, but {checkpoint.path} knows "
            f"{checkpoint.num_classes}."
        )
    if isinstance(own.class_names, str) and "class_names" not in given:
        raise UserError(
            f"{checkpoint.path}: names a file of class names; give your own by "
            "data.class_names=FILE."
        )
    return located_data(own, given, checkpoint.path)


def _leaves(node: DictConfig, prefix: str = "") -> list[str]:
    found: list[str] = []
    for key, value in node.items_ex(resolve=False):
        name = f"{prefix}{key}"
        found += _leaves(value, f"{name}.") if isinstance(value, DictConfig) else [name]
    return found


class EvaluatedSplit(L.LightningDataModule):
    """Data module whose test split is one split of another data module."""

    def __init__(self, data: WSOLDataModule, split: str) -> None:
        super().__init__()
        self.data = data
        self.split = split
        self.done: Set[int] = frozenset()

    def leave_out(self, done: Set[int]) -> None:
        """Leave out the images at these places."""
        self.done = done

    def test_dataloader(self) -> DataLoader:
        """Load what is left of the split."""
        self.data.trainer = self.trainer  # the trainer knows the device
        return self.data.dataloader(self.split, self.done)

"""Maps of any tool as ``maps=FOLDER`` names them, checked and ready to be tested."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig
from torch import Tensor

from learned_saliency.attribution import normalize
from learned_saliency.datamodules import Size, WSOLBatch, WSOLDataModule
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.evaluation.given_maps.files import (
    MapError,
    MapFile,
    check_header,
    read_map,
)
from learned_saliency.pipeline.evaluation.given_maps.finding import (
    FoundMaps,
    candidates,
    find_maps,
)
from learned_saliency.pipeline.evaluation.given_maps.placing import cut, resized

_ROUNDING = 1e-6  # by which a map may leave [0, 1]
_SHOWN = 3  # images that a message names


class MapOptions(NamedTuple):
    """Options of finished maps; see ``configs/evaluate.yaml``."""

    scale: str = "none"
    resize: str = "bilinear"
    cover: str | None = None
    missing: str = "refuse"

    @classmethod
    def of(cls, config: DictConfig) -> MapOptions:
        """Read the keys ``maps_...`` of a configuration."""
        return cls(**{name: config[f"maps_{name}"] for name in cls._fields})


class FolderMaps:
    """Source of the maps of one method, read when a batch asks for them; see `GivenMaps`.

    Args:
        files: Map of each image, by the image's id.
        sizes: Width and height of each image whose map covers the whole of it, where the evaluated
            middle is not the whole image; else empty: the map covers what is evaluated.
        center_crop: See `datamodules.read_resized`.
        options: How values and sizes are treated.
    """

    def __init__(
        self,
        files: Mapping[str, MapFile],
        sizes: Mapping[str, tuple[int, int]],
        center_crop: bool | int,
        options: MapOptions,
    ) -> None:
        self.files = files
        self._sizes, self._center_crop, self._options = sizes, center_crop, options

    def __call__(self, batch: WSOLBatch) -> Tensor:
        """Read the maps (B, H, W) in [0, 1] of a batch, float32 on its device.

        Raises:
            UserError: If a file holds no map, or values that nobody asked to scale.
        """
        images = batch["image"]
        maps = [self._read(image_id, Size(*images.shape[-2:])) for image_id in batch["image_id"]]
        return torch.from_numpy(np.stack(maps)).to(images.device)

    def digest(self) -> str:
        """Return what tells the files from others: their names, sizes and times."""
        told = hashlib.sha256()
        for image_id, file in sorted(self.files.items()):
            found = file.path.stat()
            told.update(f"{image_id}\0{file}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
        return told.hexdigest()

    def _read(self, image_id: str, size: Size) -> np.ndarray:
        way, scales = self._options.resize, self._options.scale == "minmax"
        values = _values(self.files[image_id], self._options)
        if image_id in self._sizes:
            sizes = self._sizes[image_id]
            placed = cut(values, *sizes, size, self._center_crop, way)
        else:
            placed = resized(values, size, way)
        if scales:
            return normalize(torch.from_numpy(np.ascontiguousarray(placed))).numpy()
        return placed.clip(0, 1)


def check_range(values: np.ndarray, file: MapFile | str) -> None:
    """Check that values lie in [0, 1], up to rounding.

    Raises:
        UserError: If they do not; the message says in which range they lie.
    """
    low, high = float(values.min()), float(values.max())
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise UserError(
            f"{file}: has values from {low:.4g} to {high:.4g}, and a map lies in [0, 1]: "
            "maps_scale=minmax scales each map by its own minimum and maximum."
        )


def open_maps(config: DictConfig, data: WSOLDataModule) -> dict[str, FolderMaps]:
    """Find and check the maps of a split's images; leave images without maps out where allowed.

    Args:
        config: The configuration, with ``maps`` by name and the options ``maps_...``.
        data: The data module, set up; with ``maps_missing=skip`` it keeps the images that have maps
            of all methods.

    Returns:
        The source of each method's maps, by name.

    Raises:
        UserError: If a map is missing or unusable, or an option lacks.
    """
    options, split = MapOptions.of(config), config.split
    ids, found = data.image_ids(split), {}
    labels = data.labels(split).tolist()
    for name, place in config.maps.items():
        folder = Path(str(place)).expanduser()
        if folder.is_dir() and folder.samefile(data.root):
            raise UserError(f"maps.{name}={place}: is the folder of the images, not of their maps.")
        found |= find_maps(str(name), folder, ids, labels)
    if not found:
        return {}
    ids = _settle_missing(found, ids, options, data, split)
    for name, maps in found.items():
        if maps.others and config.evaluate.explained == "label":
            _say(f"maps: {maps.others} maps of {name} explain another class than the label")
    _check_files(found, ids, options)
    sizes = _image_sizes(found, options, data, split)
    return {
        name: FolderMaps(
            maps.files,
            sizes if options.cover == "image" or maps.whole else {},
            data.evaluated_middle,
            options,
        )
        for name, maps in found.items()
    }


def _check_files(found: Mapping[str, FoundMaps], ids: list[str], options: MapOptions) -> None:
    """Check each file before the work: by its header, and in the first process by its values.

    A wrong value would otherwise end an evaluation after hours, which the mended file, being
    another one, could not go on with.

    Raises:
        UserError: If a file holds no map, or values that nobody asked to scale.
    """
    files = [maps.files[image_id] for maps in found.values() for image_id in ids]
    for file in files:
        try:
            check_header(file)
        except MapError as error:
            raise _unusable(file, error) from None
    if rank_zero_only.rank == 0:
        for file in files:
            _values(file, options)


def maps_digest(maps: Mapping[str, FolderMaps]) -> dict[str, Any]:
    """Describe the files of maps, for what tells an evaluation from others."""
    return {"maps": {name: source.digest() for name, source in maps.items()}} if maps else {}


def maps_record(config: DictConfig, maps: Mapping[str, FolderMaps]) -> dict[str, Any]:
    """Record where the maps of a table come from, and how they were treated."""
    if not maps:
        return {}
    options = MapOptions.of(config)._asdict()
    places = {str(name): str(place) for name, place in config.maps.items()}
    return {"maps": places} | {f"maps_{key}": value for key, value in options.items()}


def _settle_missing(
    found: Mapping[str, FoundMaps],
    ids: list[str],
    options: MapOptions,
    data: WSOLDataModule,
    split: str,
) -> list[str]:
    """Return the images that are tested: all of them, or those with maps of all methods."""
    for maps in found.values():
        missing = [image_id for image_id in ids if image_id not in maps.files]
        if missing and (options.missing == "refuse" or len(missing) == len(ids)):
            raise UserError(_told_missing(maps, missing, len(ids)))
    places = [i for i, name in enumerate(ids) if all(name in m.files for m in found.values())]
    if len(places) == len(ids):
        return ids
    if not places:
        raise UserError(f"maps: no image of {split} has a map in each of the folders.")
    _say(
        f"maps: {len(places)} of {len(ids)} images have a map of each method; the other "
        f"{len(ids) - len(places)} are left out of all figures"
    )
    data.keep_images(split, places)
    return [ids[i] for i in places]


def _told_missing(maps: FoundMaps, missing: list[str], images: int) -> str:
    names = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
    looked = " or ".join(candidates(missing[0])[:2]) or "names within the folder alone"
    remedy = "maps_missing=skip leaves these images out of all figures"
    if len(missing) == images:
        remedy = "names of files are image ids, relative to data.root, with another ending"
    return (
        f"{maps.source}: has no map of {len(missing)} of {images} images ({names}), looked for as "
        f"{looked} and so on; {remedy}."
    )


def _image_sizes(
    found: Mapping[str, FoundMaps], options: MapOptions, data: WSOLDataModule, split: str
) -> dict[str, tuple[int, int]]:
    """Return the images' sizes where maps of whole images differ from maps of the middle.

    Raises:
        UserError: If nobody said which of them the maps are.
    """
    if not data.evaluated_middle:
        return {}
    sizes = data.image_sizes(split)
    height, width = data.crop_size
    whole = not data.evaluation_resize and bool((sizes[:, 0] * height == sizes[:, 1] * width).all())
    if whole:
        return {}
    unknown = [maps.source for maps in found.values() if not maps.whole]
    if unknown and options.cover is None:
        raise UserError(
            f"maps_cover has no value, but {unknown[0]} may hold maps of whole images "
            "(maps_cover=image) or of the middle alone, which the network sees here "
            "(maps_cover=crop); say which."
        )
    return dict(zip(data.image_ids(split), map(tuple, sizes.tolist()), strict=True))


def _values(file: MapFile, options: MapOptions) -> np.ndarray:
    """Read a map as its file has it, float32 (h, w).

    Raises:
        UserError: If the file holds no map, or values that nobody asked to scale.
    """
    try:
        values = read_map(file)
    except MapError as error:
        raise _unusable(file, error) from None
    if options.scale != "minmax":
        check_range(values, file)
    return values


def _unusable(file: MapFile, error: MapError) -> UserError:
    return UserError(f"{file}: is no map: it {error}; write it again.")


def _say(what: str) -> None:
    if rank_zero_only.rank == 0:
        print(what, file=sys.stderr)

"""Folders for the Hugging Face Hub: weights, configuration, preparation of images, and a card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from PIL import Image

from learned_saliency.pipeline.cli import HUB_FACTS, HUB_WEIGHTS, UserError
from learned_saliency.pipeline.export.card import LIBRARY, card_text, portable, preparation
from learned_saliency.pipeline.export.formats.weights import Safetensors
from learned_saliency.pipeline.export.push import check_push
from learned_saliency.pipeline.export.source import ExportSource
from learned_saliency.storage import read_json, replace_folder

_CARD, _PREPARATION = "README.md", "preprocessor_config.json"
_CURVES, _MAPS = "test_curves.jpg", "test_maps.jpg"  # as pictures/ of a run names them, but smaller
_PICTURES = {
    _CURVES: "Test split: curves behind the metrics, a line per method",
    _MAPS: "Test split: some images and the methods' maps, with true boxes and found ones",
}
_FILES = {HUB_FACTS, HUB_WEIGHTS, _CARD, _PREPARATION, *_PICTURES}
_MAX_SIDE = 1600  # pixels of a picture


class HuggingFace(Safetensors):
    """A folder that the Hub's readers understand, which `read_checkpoint` reads; see `Format`."""

    suffix = ""
    keys = ("license", "photographs", "push")
    packages = ("huggingface_hub",)
    extra = "hub"

    def check(self, config: DictConfig) -> None:
        """Check packages and keys; with ``push``, that the upload can begin."""
        super().check(config)
        if config.checkpoint is None:
            raise UserError(
                "format=hf: is for trained models of this project; give checkpoint=RUN."
            )
        if config.push is not None:
            check_push(config)

    def write(self, source: ExportSource, config: DictConfig, path: Path) -> dict[str, Any]:
        """Write weights, the preparation of images in colors, and the pictures of the run."""
        path.mkdir()
        super().write(source, config, self.model_file(path))
        prepared = preparation(source)
        if prepared is not None:
            (path / _PREPARATION).write_text(json.dumps(prepared, indent=2) + "\n")
        for name in [_CURVES, *([_MAPS] if config.photographs else [])]:
            picture = source.folder.parent / "pictures" / Path(name).with_suffix(".png")
            if source.facts["metrics"] and picture.is_file():
                _shrink(picture, path / name)
        return {}

    def describe(
        self, source: ExportSource, config: DictConfig, path: Path, facts: dict[str, Any]
    ) -> None:
        """Write the JSON, without folders of this machine, and the card."""
        # transformers knows no such type; without one it would guess a type by the folder's name
        facts = {"library_name": LIBRARY, "model_type": LIBRARY, **portable(facts)}
        super().describe(source, config, path, facts)
        pictures = {name: told for name, told in _PICTURES.items() if (path / name).is_file()}
        text = card_text(source, config, facts, pictures)
        (path / _CARD).write_text(text, encoding="utf-8")

    def model_file(self, path: Path) -> Path:
        """Return the file of the weights in the folder."""
        return path / HUB_WEIGHTS

    def facts_file(self, path: Path) -> Path:
        """Return the file of the JSON in the folder."""
        return path / HUB_FACTS

    def check_place(self, path: Path) -> None:
        """Check that nothing is in the way but an earlier export; the folder is replaced whole."""
        if not path.is_dir():
            if path.exists():
                raise UserError(f"out={path}: is a file; name a folder for format=hf.")
            return
        names = {each.name for each in path.iterdir()}
        others = sorted(names - _FILES)
        if names and (others or not self._is_ours(path)):
            held = others[0] if others else HUB_FACTS if HUB_FACTS in names else min(names)
            raise UserError(
                f"out={path}: is no earlier export alone (it holds {held}), and is not replaced; "
                "name another folder."
            )

    def _is_ours(self, path: Path) -> bool:
        try:
            return read_json(self.facts_file(path))["library_name"] == LIBRARY
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def place(self, made: Path, path: Path) -> None:
        """Put the folder in the place of an earlier one."""
        replace_folder(made, path)


def _shrink(picture: Path, path: Path) -> None:
    """Write a picture as a small JPEG."""
    with Image.open(picture) as image:
        image = image.convert("RGB")
    image.thumbnail((_MAX_SIDE, _MAX_SIDE))
    image.save(path, quality=85)

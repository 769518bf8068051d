"""Files and folders that a command line names: whether they are there, before anything is read."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

from omegaconf import DictConfig

from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.cli.hub import fetch, is_on_hub

LIBRARY_WEIGHTS = "default"  # in place of a file: the weights that a network's library has for it
LIBRARIES = ("torchvision", "timm")  # whose networks have names, torchvision:NAME
HUB_WEIGHTS, HUB_FACTS = "model.safetensors", "config.json"  # in a folder of `format=hf`
RECORD_FILE = "run.json"  # what a run goes on by before it has a checkpoint
_FIRST = "classifier"  # folder of the first stage's checkpoints


def find_checkpoint(path: str | Path, of_run: str) -> Path:
    """Find the file of a checkpoint.

    Args:
        path: A file, the folder of a run, or one for the Hugging Face Hub; or ``hf://USER/NAME``,
            which is fetched from there.
        of_run: Which file of a run is meant, ``best.ckpt`` or ``last.ckpt``.

    Raises:
        UserError: If it is not there.
    """
    if is_on_hub(path):
        path = fetch(str(path), (HUB_WEIGHTS, HUB_FACTS))
    path = Path(path).expanduser()
    if path.is_dir():
        hub = not (path / "checkpoints").exists() and (
            (path / HUB_WEIGHTS).exists() or (path / HUB_FACTS).exists()
        )
        path = path / HUB_WEIGHTS if hub else path / "checkpoints" / of_run
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: is no file of a checkpoint.")
    if not path.is_file():
        first = path.parent / _FIRST / of_run
        beside = f"; of its first stage there is {first}" if first.is_file() else ""
        raise UserError(f"{path}: there is no such checkpoint{beside}.")
    return path


class ResumePoint(NamedTuple):
    """Point from which a run goes on.

    Attributes:
        folder: The run's folder.
        checkpoint: Path of the checkpoint to go on from; None before the first one.
    """

    folder: Path
    checkpoint: Path | None


def find_resume_point(path: str | Path) -> ResumePoint:
    """Find where a run goes on: at a checkpoint, or by its folder at the last one of all stages.

    Args:
        path: A checkpoint, or the folder of a run.

    Raises:
        UserError: If there is neither.
    """
    path = Path(path).expanduser()
    if not path.is_dir():
        if not path.is_file():
            raise UserError(f"resume={path}: there is no such run or checkpoint.")
        above = path.resolve().parent
        return ResumePoint(above.parents[above.name == _FIRST], path)
    for stage in ("", _FIRST):
        last = path / "checkpoints" / stage / "last.ckpt"
        if last.is_file():
            return ResumePoint(path.resolve(), last)
    if not (path / RECORD_FILE).is_file():
        raise UserError(
            f"resume={path}: holds no run (neither checkpoints/last.ckpt nor {RECORD_FILE})."
        )
    return ResumePoint(path.resolve(), None)


def check_subject(config: DictConfig, program: str) -> None:
    """Check that one network to explain is named, and that the files of it are there.

    Args:
        config: Its ``checkpoint``, ``classifier``, ``weights`` and, where the command has it,
            ``class_names``.
        program: Name of the command, for a message.

    Raises:
        UserError: If none or both of ``checkpoint`` and ``classifier`` are given, but for code of
            the user's own that a checkpoint was trained on; or a file is missing.
    """
    own = config.classifier is not None and is_own_code(str(config.classifier))
    if config.checkpoint is not None and own:
        find_checkpoint(config.checkpoint, "best.ckpt")
        return
    if (config.checkpoint is None) == (config.classifier is None):
        raise UserError(
            "give either checkpoint=RUN_OR_FILE or classifier=torchvision:NAME layer=...; "
            f"`python {program} --help` shows more."
        )
    if config.checkpoint is not None:
        find_checkpoint(config.checkpoint, "best.ckpt")
        return
    check_classifier(str(config.classifier))
    if Path(config.classifier).expanduser().exists():
        find_checkpoint(config.classifier, "best.ckpt")
        return  # which brings its own weights
    if config.weights not in (None, LIBRARY_WEIGHTS):
        check_file("weights", config.weights)
    if config.get("class_names") is not None:
        check_file("class_names", config.class_names)


def has_network(config: DictConfig) -> bool:
    """Tell whether ``checkpoint`` or ``classifier`` names a network, instead of maps alone."""
    return config.checkpoint is not None or config.classifier is not None


def check_classifier(name: str) -> None:
    """Check that a classifier is the path of something, or has the form of a network's name.

    Raises:
        UserError: If it is neither.
    """
    if not name.partition(":")[2] and not Path(name).expanduser().exists():
        raise UserError(
            f"classifier={name} is not understood: write torchvision:NAME, timm:NAME, "
            "MODULE:FUNCTION or the path of a run or checkpoint (there is none at this one)."
        )


def is_library_network(name: str) -> bool:
    """Tell whether a word names a network of a library, ``torchvision:NAME`` or ``timm:NAME``."""
    return name.partition(":")[0] in LIBRARIES and ":" in name


def is_own_code(name: str) -> bool:
    """Tell whether a word names a network of the user's own code, ``MODULE:FUNCTION``."""
    library, colon, _ = name.partition(":")
    return bool(colon) and library not in LIBRARIES and not Path(name).expanduser().exists()


def is_network(name: str) -> bool:
    """Tell whether a word names a network, instead of the path of something."""
    return is_library_network(name) or is_own_code(name)


def check_file(key: str, value: Any) -> None:
    """Check that the file is there that a key names.

    Raises:
        UserError: If it is not.
    """
    path = Path(str(value)).expanduser()
    if path.is_dir():
        raise UserError(f"{key}={path}: is a folder; name a file.")
    if not path.is_file():
        raise UserError(f"{key}={path}: there is no such file.")


def check_folder(key: str, value: str) -> None:
    """Check that the folder that a key names can be made, or be written to; nothing is made.

    Raises:
        UserError: If it cannot.
    """
    wanted = Path(value).expanduser().absolute()
    place = _nearest(wanted)
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"{key}={value}: cannot be written below {place}; choose another.")
    longest = os.pathconf(place, "PC_NAME_MAX")
    if any(len(os.fsencode(part)) > longest for part in wanted.parts):
        raise UserError(f"{key}={value}: has a name of more than {longest} bytes; shorten it.")


def check_new_file(key: str, value: str, ending: str) -> None:
    """Check that the file that a key names can be made and is not there yet; nothing is left.

    Args:
        key: The key.
        value: Its value.
        ending: How the file's name has to end, ``.zip``.

    Raises:
        UserError: If it cannot.
    """
    path = Path(value).expanduser()
    if path.suffix != ending:
        raise UserError(f"{key}={value}: expected a name that ends in {ending}.")
    if os.path.lexists(path):
        raise UserError(f"{key}={value}: is there already; choose another name, or remove it.")
    check_folder(key, str(path.parent))
    place = _nearest(path.parent)
    try:
        with TemporaryFile(dir=place):  # some file systems refuse what the permissions allow
            pass
    except OSError as error:
        raise UserError(
            f"{key}={value}: no file can be made in {place} ({error.strerror}); choose another."
        ) from None


def _nearest(path: Path) -> Path:
    """Find the folder, or whatever is there, in which a path would be made."""
    place = path.absolute()
    while not os.path.lexists(place):
        place = place.parent
    return place


def check_image_folder(key: str, value: str | Path) -> None:
    """Check that the folder of images is there that a key names.

    Raises:
        UserError: If it is not.
    """
    path = Path(value).expanduser()
    if not path.is_dir():
        found = "is a file; name its folder" if path.exists() else "there is no such folder"
        raise UserError(f"{key}={path}: {found}.")


def check_images(source: str) -> None:
    """Check that there is a file, a folder or a match of a pattern.

    Args:
        source: It, with ``~`` expanded. Addresses, and patterns with ranges ``{000..099}``, are
            looked at when their shards are listed.

    Raises:
        UserError: If there is none.
    """
    if os.path.lexists(source) or "://" in source or re.search(r"\{\d+\.\.\d+\}", source):
        return
    if not glob.has_magic(source):
        raise UserError(f"images={source}: there is no such file or folder.")
    if next(glob.iglob(source, recursive=True), None) is None:
        raise UserError(f"images={source}: the pattern matches no file.")


CLASS_FILES = ("class_names", "known_classes")  # keys of a data set that may name a file


def check_class_names(data: Mapping[str, Any]) -> None:
    """Check that the files are there that give a data set's names of classes.

    Raises:
        UserError: If one is not.
    """
    for key in CLASS_FILES:
        if isinstance(data.get(key), str):
            check_file(f"data.{key}", data[key])


def check_data(data: DictConfig) -> None:
    """Check that the folders of a data set are there, but for those that its reader makes.

    Args:
        data: Its configuration, complete.

    Raises:
        UserError: If one is missing.
    """
    check_class_names(data)
    root, metadata = Path(data.root).expanduser(), Path(data.metadata).expanduser()
    # whether an address can be read, its reader says
    made = metadata.is_relative_to(root) or ":" in str(data.root)
    makes_root = data.reader is not None and made
    if not root.is_dir() and not makes_root:
        raise UserError(
            f"data.root={root}: the root folder of the images is missing; create it or give "
            "another."
        )
    if not metadata.is_dir() and (data.reader is None or data.read_only):
        raise UserError(
            f"data.metadata={metadata}: the folder with train/, val/ and test/ is missing."
        )

"""Records that training scripts keep beside weights, read without running code of their classes."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any


class Record:
    """Stand-in for an object that a file holds, whose content is not kept."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Record:
        """Take what the class itself would take."""
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class _Dictionary:
    """Stand-in for a dictionary of another class: a plain one."""

    def __new__(cls, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        """Make it; what it holds is put in afterwards."""
        return OrderedDict()


class _List:
    """Stand-in for a list of another class: a plain one."""

    def __new__(cls, *args: Any, **kwargs: Any) -> list[Any]:
        """Make it; what it holds is put in afterwards."""
        return []


_PATHS = ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath")
_OMEGACONF = {
    "dictconfig": ("DictConfig",),
    "listconfig": ("ListConfig",),
    "base": ("ContainerMetadata", "Metadata"),
    "nodes": tuple(
        f"{kind}Node"
        for kind in ("Any", "Boolean", "Bytes", "Enum", "Float", "Integer", "Path", "String")
    ),
}

_RECORDS = (
    "argparse.Namespace",
    "types.SimpleNamespace",
    *(f"{module}.{name}" for module in ("pathlib", "pathlib._local") for name in _PATHS),
    *(f"datetime.{name}" for name in ("date", "datetime", "time", "timedelta", "timezone")),
    "functools.partial",
    "typing.Any",
    *(f"builtins.{name}" for name in ("bool", "dict", "float", "int", "list", "str", "tuple")),
    "numpy.dtype",
    "numpy.ndarray",
    *(
        f"numpy.{core}.multiarray.{name}"
        for core in ("core", "_core")
        for name in ("scalar", "_reconstruct")
    ),
    *(f"omegaconf.{module}.{name}" for module, names in _OMEGACONF.items() for name in names),
    "ml_collections.config_dict.config_dict.ConfigDict",
    "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
)
_DICTIONARIES = (
    "addict.addict.Dict",
    "collections.defaultdict",
    "easydict.EasyDict",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "yacs.config.CfgNode",
)

#: Stand-ins and the names of what they stand for: classes and functions that describe a training,
#: such as command lines, configurations, paths, times, and the numbers and arrays of NumPy. A
#: file's unpickler takes the stand-in for the name, so that no code of the class is imported or
#: run, whatever the file hands to it.
STAND_INS: tuple[tuple[type, str], ...] = (
    *((Record, name) for name in _RECORDS),
    *((_Dictionary, name) for name in _DICTIONARIES),
    (_List, "collections.deque"),
)

"""The unpacked npm package of onnxruntime-web, whose files go into the page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

from learned_saliency.pipeline.cli import UserError

_PACKAGE = "onnxruntime-web"
_LEAST = (1, 24, 3)  # earlier ones look for their files beside a page that is no file of a server
_GET = (
    f"`npm install {_PACKAGE}` puts it into node_modules/{_PACKAGE}, and `npm pack {_PACKAGE}` "
    "brings an archive that holds it as the folder package"
)
_SCRIPT = Path("dist", "ort.wasm.min.mjs")  # the CPU alone
_LOADER = Path("dist", "ort-wasm-simd-threaded.mjs")
_BINARY = Path("dist", "ort-wasm-simd-threaded.wasm")


class WebRuntime(NamedTuple):
    """The smallest build of onnxruntime-web that runs on the CPU.

    Attributes:
        version: Version of the package.
        script: Path of the JavaScript module.
        loader: Path of the module that starts the WebAssembly.
        binary: Path of the WebAssembly.
    """

    version: str
    script: Path
    loader: Path
    binary: Path


def find_runtime(folder: str | None) -> WebRuntime:
    """Find what the page needs in the folder that ``ort=`` names.

    Raises:
        UserError: If no folder is given, or it is not that of the package.
    """
    if folder is None:
        raise UserError(
            f"format=html needs ort=FOLDER, the unpacked npm package {_PACKAGE}: {_GET}."
        )
    root = Path(folder).expanduser()
    path = root / "package.json"
    try:
        package = json.loads(path.read_bytes())
        name, version = package["name"], package["version"]
    except OSError:
        raise UserError(f"ort={folder}: there is no {path}; {_GET}.") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"ort={folder}: {path} is no package.json of npm; {_GET}.") from None
    if name != _PACKAGE:
        raise UserError(f"ort={folder}: holds the package {name}, not {_PACKAGE}; {_GET}.")
    numbers = re.match(r"(\d+)\.(\d+)\.(\d+)", str(version))
    if numbers is None or tuple(map(int, numbers.groups())) < _LEAST:
        raise UserError(
            f"ort={folder}: has {_PACKAGE} {version}, which does not run in a page without a "
            f"server; take version {'.'.join(map(str, _LEAST))} or a later one: {_GET}."
        )
    for part in (_SCRIPT, _LOADER, _BINARY):
        if not (root / part).is_file():
            raise UserError(
                f"ort={folder}: {_PACKAGE} {version} has no file {root / part}; take the whole "
                f"package: {_GET}."
            )
    return WebRuntime(str(version), root / _SCRIPT, root / _LOADER, root / _BINARY)

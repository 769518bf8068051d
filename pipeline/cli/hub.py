"""Models on the Hugging Face Hub, which are named ``hf://USER/NAME``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from learned_saliency.pipeline.cli.errors import UserError, first_sentence

_PREFIX = "hf://"


def is_on_hub(name: object) -> bool:
    """Tell whether a word names a model on the Hub."""
    return str(name).startswith(_PREFIX)


def hush_requests() -> None:
    """Let the libraries of the network keep quiet about each request."""
    for library in ("httpx", "httpx2"):  # huggingface_hub has used the one and the other
        logging.getLogger(library).setLevel(logging.WARNING)


def fetch(name: str, files: Sequence[str]) -> Path:
    """Download files of a model into the Hub's cache, unless they are there.

    Without a network the cache is enough.

    Args:
        name: ``hf://USER/NAME``, or ``hf://USER/NAME@REVISION``.
        files: Names of the files.

    Returns:
        The folder with those of the files that the model has.

    Raises:
        UserError: If there is no such model, or it cannot be reached and is not in the cache.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise UserError(
            f"{name}: needs the package huggingface_hub: pip install -e '.[hub]'."
        ) from None
    hush_requests()
    model, _, revision = name.removeprefix(_PREFIX).partition("@")
    try:
        folder = snapshot_download(model, revision=revision or None, allow_patterns=list(files))
    except Exception as error:  # whatever the libraries of the network raise
        raise UserError(f"{name}: cannot be fetched ({first_sentence(error)}).") from None
    return Path(folder)

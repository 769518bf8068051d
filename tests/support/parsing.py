"""Files and references of configurations that are parsed once per process."""

import copy
import functools
import io
from pathlib import Path

from omegaconf import OmegaConf, _utils, base


def parse_once(monkeypatch) -> None:
    """Let OmegaConf remember what it has parsed, by its text: a third of a composition's time."""
    load, parse = OmegaConf.load, base.parse
    loaded = functools.cache(lambda text: load(io.StringIO(text)))
    parsed = functools.cache(parse)

    def load_copy(file_):
        text = file_.read() if hasattr(file_, "read") else Path(file_).read_text(encoding="utf-8")
        try:
            return copy.deepcopy(loaded(text))
        except Exception:  # whose message is to name the file
            if hasattr(file_, "seek"):
                file_.seek(0)
            return load(file_)

    monkeypatch.setattr(OmegaConf, "load", staticmethod(load_copy))
    for module in (base, _utils):
        monkeypatch.setattr(module, "parse", parsed)

"""Files of torch.save and of safetensors, spoilt in ways that their checksums do not show."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable

import torch
from hypothesis import strategies as st
from safetensors.torch import save

from tests.fuzz.generators import INTEGERS, TEXTS, changed_bytes, changed_plain, plain_values


def saved(content: object, zipped: bool = True) -> bytes:
    """Return what torch.save writes, in its present form or the one before torch 1.6."""
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


@st.composite
def spoilt_archives(draw: st.DrawFn, whole: bytes) -> bytes:
    """Archive of torch.save whose entries are changed and whose checksums are right again."""
    entries = {}
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    names = sorted(entries)
    likely = [name for name in names if name.endswith("data.pkl")]
    for _ in range(draw(st.integers(1, 2))):
        name = draw(st.sampled_from([*likely, *likely, *names]))
        kind = draw(st.sampled_from(["change", "change", "change", "out", "again", "rename"]))
        if kind == "change":
            entries[name] = draw(changed_bytes(entries.get(name, b"")))
        elif kind == "out":
            entries.pop(name, None)
        elif kind == "again":
            entries[f"{name}x"] = entries.get(name, b"")
        else:
            entries[draw(st.sampled_from(["../x", "/x", "a/../../x", "data.pkl"]))] = b"x"
    file = io.BytesIO()
    packing = draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    with zipfile.ZipFile(file, "w", packing) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file.getvalue()


@st.composite
def spoilt_safetensors(draw: st.DrawFn, whole: bytes) -> bytes:
    """File of safetensors whose header is changed and whose length fits again, or does not."""
    length = int.from_bytes(whole[:8], "little")
    header, rest = json.loads(whole[8 : 8 + length]), whole[8 + length :]
    kinds = ["F64", "F32", "F16", "BF16", "I64", "I8", "U8", "BOOL", "F8_E4M3", "X", ""]
    values = plain_values() | st.sampled_from(kinds) | st.lists(st.integers(0, 300), max_size=3)
    header = draw(changed_plain(header, values, draw(st.integers(1, 3))))
    text = json.dumps(header).encode()
    told = draw(
        st.sampled_from(
            [len(text), len(text), len(text), *filter(lambda n: 0 <= n < 2**64, INTEGERS)]
        )
    )
    return told.to_bytes(8, "little") + text + rest


def odd_tensors() -> st.SearchStrategy[torch.Tensor]:
    """Tensors of odd types, shapes, layouts and numbers, none of them large in a file."""
    types = [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]
    types += [torch.complex64, torch.float8_e4m3fn]
    shapes = st.sampled_from([(), (0,), (1,), (4,), (4, 3, 3, 3), (3, 4), (2, 4, 1, 1), (1000,)])
    plain = st.builds(
        lambda shape, kind: torch.zeros(shape, dtype=kind), shapes, st.sampled_from(types)
    )
    return plain | st.sampled_from(list(_ODD)).map(lambda name: _ODD[name]())


_ODD: dict[str, Callable[[], torch.Tensor]] = {
    "repeated": lambda: torch.zeros(1).expand(4, 3, 3, 3),
    "repeated without end": lambda: torch.zeros(1).expand(2**40),
    "sparse": lambda: torch.eye(4).to_sparse(),
    "without memory": lambda: torch.zeros(4, 3, 3, 3, device="meta"),
    "of few bits": lambda: torch.quantize_per_tensor(torch.zeros(4), 0.1, 0, torch.quint8),
    "infinite": lambda: torch.full((4,), float("inf")),
    "no numbers": lambda: torch.full((4, 3, 3, 3), float("nan")),
    "parameter": lambda: torch.nn.Parameter(torch.zeros(4)),
    "transposed": lambda: torch.zeros(3, 3, 3, 4).permute(3, 2, 1, 0),
    "part": lambda: torch.zeros(5000)[7:11],
}


def odd_values() -> st.SearchStrategy:
    """Values that a file of torch.save may hold."""
    keyed = st.dictionaries(st.sampled_from([*TEXTS, *INTEGERS[:5]]), odd_tensors(), max_size=3)
    return plain_values() | odd_tensors() | keyed | st.just(set()) | st.just(b"x") | st.just((1, 2))


@st.composite
def weight_files(
    draw: st.DrawFn, content: object, state: dict[str, torch.Tensor]
) -> tuple[str, bytes]:
    """Ending and content of a file of weights.

    Args:
        draw: Of Hypothesis.
        content: What a good file of torch.save holds.
        state: What a good file of safetensors holds.
    """
    kind = draw(
        st.sampled_from(
            ["values", "values", "archive", "bytes", "old", "safe", "safe bytes", "free"]
        )
    )
    if kind == "values":
        changed = draw(changed_plain(content, odd_values(), draw(st.integers(1, 3))))
        return ".ckpt", saved(changed, draw(st.booleans()))
    if kind == "archive":
        return ".ckpt", draw(spoilt_archives(saved(content)))
    if kind in ("bytes", "old"):
        return ".ckpt", draw(changed_bytes(saved(content, kind == "bytes")))
    if kind == "safe":
        return ".safetensors", draw(spoilt_safetensors(save(state)))
    if kind == "safe bytes":
        return ".safetensors", draw(changed_bytes(save(state)))
    odd = draw(st.binary(max_size=100) | plain_values().map(lambda value: pickle.dumps(value)))
    return draw(st.sampled_from([".ckpt", ".safetensors", ".pth"])), odd

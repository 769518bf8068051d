"""Layers of a network that give feature maps of several scales below another layer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from learned_saliency.attribution.core.cut import LayerError
from learned_saliency.attribution.core.layout import LAYOUTS, Layout, recognize

_EQUAL = 3  # levels beside the layer's own, where all grids are equally big
_TRIES = 6  # modules of one scale whose layout is looked for
_AXES = frozenset(LAYOUTS.values())


class LevelError(LayerError):
    """A layer that was named as a level and cannot be one."""


class Level(NamedTuple):
    """A layer whose output is a level, and the layout of that output."""

    layer: str
    layout: Layout


class FoundLevel(NamedTuple):
    """A level with the feature maps (2, K, h, w) of the trial pass."""

    level: Level
    grid: Tensor


class _Output(NamedTuple):
    """Output (B, ...) of a module that ran in the trial pass."""

    layer: str
    tensor: Tensor
    kind: type  # type of the module
    version: int  # counts the operations that overwrote it
    raw: bool  # the module returned the tensor alone


def noise(size: Sequence[int], channels: int = 3) -> Tensor:
    """Draw two images of unit noise, (2, C, H, W), always the same."""
    return torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(0))


def find_levels(
    network: nn.Module, layer: str, images: Tensor, layout: Layout, grid: Sequence[int]
) -> list[FoundLevel]:
    """Find the levels below a layer; see `attribution.split_levels`.

    Args:
        network: In evaluation mode, without gradients.
        layer: Name of the layer.
        images: Images (2, 3, H, W) of the trial pass.
        layout: Layout of the layer's output.
        grid: Height and width of the layer's grid, in cells.

    Returns:
        The levels from fine to coarse; none where no layer gives one.
    """
    ran = _run(network, layer, images)
    outputs = [output for output in ran if _is_usable(output)]
    around = _reducing_blocks(ran, images.shape[-2:])
    scales: dict[int, list[tuple[_Output, str]]] = {}
    for output in outputs:
        for name, cells in _grids(output.tensor, images.shape[-2:]):
            doublings = round(math.log2(math.sqrt(math.prod(cells) / math.prod(grid))))
            if doublings > 0 and cells[0] > grid[0] and cells[1] > grid[1]:
                scales.setdefault(doublings, []).append((output, name))
    found = []
    for _, candidates in sorted(scales.items(), reverse=True):
        candidates = sorted(reversed(candidates), key=lambda each: around[each[0].layer])
        tries = (_recognized(network, images, *each) for each in candidates[:_TRIES])
        if (level := next(filter(None, tries), None)) is not None:
            found.append(level)
    return found or _evenly_spaced(outputs, layer, images, layout, grid)


def named_levels(
    network: nn.Module, layer: str, images: Tensor, names: Sequence[str]
) -> list[FoundLevel]:
    """Look at the levels that a user has named; see `find_levels`.

    Raises:
        LevelError: If a name is no layer, does not run once before the layer has its output, gives
            no grid, or is overwritten in place; or if the order is not from fine to coarse.
    """
    known = [name for name, _ in network.named_modules()]
    outputs = {output.layer: output for output in _run(network, layer, images)}
    found: list[FoundLevel] = []
    for name in names:
        if name not in known:
            raise LevelError(f"there is no layer {name!r} to be a level")
        if name not in outputs or name == layer:
            raise LevelError(
                f"layer {name!r} does not run once, with images first in its output, before "
                f"{layer!r} has its output: it cannot be a level of that"
            )
        output = outputs[name]
        if not _is_usable(output):
            raise LevelError(
                f"the output of layer {name!r} is overwritten in place by what follows, or is no "
                "tensor of three or four axes: name the module after it as a level"
            )
        try:
            found.append(_level(network, images, output))
        except LayerError as error:
            raise LevelError(str(error)) from None
        if len(found) > 1 and _cells(found[-1]) > _cells(found[-2]):
            raise LevelError(
                f"layer {name!r} has a finer grid than {found[-2].level.layer!r}: name the levels "
                "from fine to coarse"
            )
    return found


def _cells(found: FoundLevel) -> int:
    return math.prod(found.grid.shape[-2:])


def _run(network: nn.Module, layer: str, images: Tensor) -> list[_Output]:
    """List the outputs of all modules that ran once before a layer had its output, in order.

    Modules before the first one with parameters are left out: they give the image itself.
    """
    outputs: list[_Output] = []
    calls: Counter[str] = Counter()
    reached: list[str] = []
    learned: list[str] = []

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            calls[name] += 1
            tensor = output[0] if isinstance(output, tuple) and output else output
            if not learned and next(module.parameters(), None) is not None:
                learned.append(name)
            if name == layer:
                reached.append(name)
            elif learned and not reached and _is_spatial(tensor, len(images)):
                raw = isinstance(output, Tensor)
                outputs.append(_Output(name, tensor, type(module), tensor._version, raw))

        return hook

    handles = [
        module.register_forward_hook(keep(name)) for name, module in network.named_modules() if name
    ]
    try:
        network(images)
    finally:
        for handle in handles:
            handle.remove()
    return [output for output in outputs if calls[output.layer] == 1]


def _is_spatial(value: Any, batch: int) -> bool:
    return isinstance(value, Tensor) and value.dim() in _AXES and len(value) == batch


def _is_usable(output: _Output) -> bool:
    """Tell whether an output is still there when the network has its own."""
    return output.tensor._version == output.version and output.tensor.is_floating_point()


def _reducing_blocks(outputs: Sequence[_Output], size: Sequence[int]) -> Counter[str]:
    """Count the blocks around each module that end with the next smaller grid."""
    cells = {
        output.layer: max((math.prod(grid) for _, grid in _grids(output.tensor, size)), default=0)
        for output in outputs
    }
    around: Counter[str] = Counter()
    for name, own in cells.items():
        above = name.rpartition(".")[0]
        while above:
            around[name] += own > cells.get(above, own) > own / 8  # a quarter, roughly
            above = above.rpartition(".")[0]
    return around


def _grids(tensor: Tensor, size: Sequence[int]) -> Iterator[tuple[str, tuple[int, int]]]:
    """List the layouts by which an output is a grid in the proportions of the image."""
    height, width = size
    if tensor.dim() == LAYOUTS["tokens"]:
        count = tensor.shape[1]
        cells = round(math.sqrt(count * height / width)), round(math.sqrt(count * width / height))
        if count > 1 and math.prod(cells) == count:
            yield "tokens", cells
        return
    for name, axes in (("channels_first", (2, 3)), ("channels_last", (1, 2))):
        rows, columns = (tensor.shape[axis] for axis in axes)
        if min(rows, columns) > 1 and abs(rows - columns * height / width) <= 1:
            yield name, (rows, columns)


def _recognized(
    network: nn.Module, images: Tensor, output: _Output, name: str
) -> FoundLevel | None:
    """Return a level if its layout is found to be the one of a name."""
    if not output.raw:
        return None
    try:
        found = _level(network, images, output)
    except LayerError:
        return None
    return found if found.level.layout.name == name else None


def _level(network: nn.Module, images: Tensor, output: _Output) -> FoundLevel:
    """Recognize the layout of an output.

    Raises:
        LayerError: If it is no grid, or that cannot be told.
    """
    declared = getattr(network, "num_prefix_tokens", None)
    prefixes: tuple[int | None, ...] = (None,) if declared in (None, 0) else (declared, 0)
    try:
        if not output.raw:
            raise LayerError("it returns several values")
        layout = recognize(network, output.layer, images[:1], output.tensor[:1], prefixes)
        grid = layout.to_grid(output.tensor, images.shape[-2:])[1]
    except ValueError as error:
        raise LayerError(f"layer {output.layer!r} cannot be a level: {error}") from None
    return FoundLevel(Level(output.layer, layout), grid)


def _evenly_spaced(
    outputs: Sequence[_Output],
    layer: str,
    images: Tensor,
    layout: Layout,
    grid: Sequence[int],
) -> list[FoundLevel]:
    """Choose blocks of the longest sequence whose grids are those of the layer."""
    sequences: dict[tuple[str, type], list[FoundLevel]] = {}
    for output in outputs:
        parent, _, number = output.layer.rpartition(".")
        if not number[-1:].isdigit() or layer.startswith(f"{output.layer}."):
            continue
        try:
            cells = layout.to_grid(output.tensor, images.shape[-2:])[1]
        except ValueError:
            continue
        if tuple(cells.shape[-2:]) == tuple(grid):
            found = FoundLevel(Level(output.layer, layout), cells)
            sequences.setdefault((parent, output.kind), []).append(found)
    blocks = max(sequences.values(), key=len, default=[])
    parts = _EQUAL + 1
    places = [round((len(blocks) + 1) * part / parts) - 1 for part in range(1, parts)]
    there = sorted({place for place in places if 0 <= place < len(blocks)})
    return [blocks[place] for place in there]

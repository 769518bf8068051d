"""Layout of a layer's output: which axes are rows, columns and channels, or that it is tokens.

Neither sizes nor names of layers tell it: h, w and K may be equal. What changes with the image
does.
First the image is made higher, then wider: the axis that grows with it holds the rows, the columns.
Of a network that takes one size alone, bands of the image are changed one after the other: in the
true layout each changes its own rows or columns most. The latter must also hold for tokens, whose
order no size shows. Where that leaves a grid open (every cell may depend on the whole image alike),
a function such as a convolution, applied to it, shows that channels come first.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learned_saliency.attribution.core.cut import LayerError
from learned_saliency.attribution.core.known_axes import has_channels_first
from learned_saliency.attribution.core.tokens import to_grid

LAYOUTS = {"channels_first": 4, "channels_last": 4, "tokens": 3}  # names, and numbers of axes

_BANDS = 4  # parts of an image, along each side, that are changed one after the other
_MARGIN = 1.1  # by which a part must change its own cells more than the mean of all parts does
_GROWTH = 64  # least number of pixels by which an image is enlarged

Run = Callable[[Tensor], Tensor]  # images (B, 3, H, W) to the layer's output (B, ...)


class Layout(NamedTuple):
    """Layout of a layer's output.

    Attributes:
        name: ``"channels_first"`` (B, K, h, w), ``"channels_last"`` (B, h, w, K) or ``"tokens"``
            (B, N, K), row by row.
        prefix_tokens: Number of tokens before those of the grid; None where `to_grid` finds it.
    """

    name: str
    prefix_tokens: int | None = None

    def to_grid(self, output: Tensor, size: Sequence[int]) -> tuple[Tensor | None, Tensor]:
        """Bring an output to the form of activations.

        Args:
            output: Output of the layer.
            size: Height and width of the image, in pixels.

        Returns:
            The tokens before the grid (B, P, K), None without such; activations (B, K, h, w).

        Raises:
            ValueError: If the output has another number of axes, or its tokens are no grid.
        """
        if output.dim() != LAYOUTS[self.name]:
            raise ValueError(
                f"{self.name} has {LAYOUTS[self.name]} axes, the output {tuple(output.shape)}"
            )
        if self.name == "channels_first":
            return None, output
        if self.name == "channels_last":
            return None, output.permute(0, 3, 1, 2)
        return to_grid(output, size, self.prefix_tokens)

    def to_output(self, grid: Tensor, prefix: Tensor | None) -> Tensor:
        """Undo `to_grid`: activations (R, K, h, w) and tokens (R, P, K) become an output."""
        if self.name == "channels_first":
            return grid
        if self.name == "channels_last":
            return grid.permute(0, 2, 3, 1)
        tokens = grid.flatten(2).transpose(1, 2)  # (R, h * w, K)
        return tokens if prefix is None else torch.cat([prefix, tokens], dim=1)


@torch.no_grad()
def recognize(
    network: nn.Module,
    layer: str,
    images: Tensor,
    output: Tensor,
    prefixes: Sequence[int | None] = (None,),
) -> Layout:
    """Find the layout of a layer's output by what changes with the image.

    Args:
        network: In evaluation mode; may raise anything for other sizes.
        layer: Qualified name of the layer.
        images: A batch (B, 3, H, W); only its form is used.
        output: The layer's output for this batch, of three or four axes.
        prefixes: Numbers of tokens before the grid that are possible; None where `to_grid` finds
            the number.

    Returns:
        The layout.

    Raises:
        LayerError: If the output is neither grid nor tokens, or that cannot be told.
    """

    def run(given: Tensor) -> Tensor:
        return _run_up_to(network, layer, given)

    growth = _growth(run, images, output)
    if growth is not None:
        found = _grown(growth, output)
        if found.name != "tokens":
            return found
        if None in prefixes and found.prefix_tokens is not None:
            prefixes = [found.prefix_tokens]
    if output.dim() == 3:
        candidates = _grids(output, images.shape[-2:], prefixes)
    else:
        candidates = [Layout(name) for name, axes in LAYOUTS.items() if axes == 4]
    fitting = _that_follow(run, images, candidates)
    if len(fitting) == 1:
        return fitting[0]
    if output.dim() == 4 and not fitting and has_channels_first(network, layer, images[:1]):
        return Layout("channels_first")
    raise LayerError(
        f"it gives {_form(output)}, and neither other sizes nor changes of an image show which of "
        "these are rows, columns and channels"
    )


class _Reached(BaseException):
    """End of a pass at a layer; no exception that a network handles itself."""

    def __init__(self, output: Any) -> None:
        self.output = output


def _run_up_to(root: nn.Module, layer: str, images: Tensor) -> Any:
    """Run a network on images (B, 3, H, W) until a layer has its output; return that.

    Raises:
        LayerError: If the layer does not run.
        Exception: Whatever the network raises for these images.
    """

    def end(module: nn.Module, inputs: Any, output: Any) -> None:
        raise _Reached(output)

    handle = root.get_submodule(layer).register_forward_hook(end)
    try:
        root(images)
    except _Reached as reached:
        return reached.output
    finally:
        handle.remove()
    raise LayerError(f"layer {layer!r} runs 0 times")


def _grids(output: Tensor, size: Sequence[int], prefixes: Sequence[int | None]) -> list[Layout]:
    """Select the numbers of prefix tokens that leave a grid; raise ValueError if none does."""
    found, failure = [], None
    for prefix in prefixes:
        try:
            Layout("tokens", prefix).to_grid(output, size)
            found.append(Layout("tokens", prefix))
        except ValueError as error:
            failure = error
    if not found:
        raise failure
    return found


class _Growth(NamedTuple):
    """Sizes of the axes where the image is ``factors`` times as high, and as wide."""

    factors: tuple[int, int]
    higher: tuple[int, ...]
    wider: tuple[int, ...]


def _growth(run: Run, images: Tensor, output: Tensor) -> _Growth | None:
    """Run larger images; None if the network does not take them, or the output stays the same."""
    height, width = images.shape[-2:]
    rows, columns = (1 + -(-max(_GROWTH, side) // side) for side in (height, width))
    try:
        higher = run(_noise(images, (rows * height, width), 0)).shape
        wider = run(_noise(images, (height, columns * width), 0)).shape
    except Exception:  # the network's own: it takes images of one size, or square ones
        return None
    if len(higher) != output.dim() or len(wider) != output.dim():
        return None
    same = output.shape[1:]
    if higher[1:] == same and wider[1:] == same:
        return None
    return _Growth((rows, columns), tuple(higher), tuple(wider))


def _grown(growth: _Growth, output: Tensor) -> Layout:
    axes = range(1, output.dim())
    rows = [axis for axis in axes if growth.higher[axis] != output.shape[axis]]
    columns = [axis for axis in axes if growth.wider[axis] != output.shape[axis]]
    if output.dim() == 4 and (rows, columns) in (([2], [3]), ([1], [2])):
        return Layout("channels_first" if rows == [2] else "channels_last")
    if output.dim() == 3 and rows == columns == [1]:
        return Layout("tokens", _prefix(growth, output))
    raise LayerError(
        f"it gives {_form(output)}, which is no grid with channels: a higher image changes "
        f"{_named(rows)}, a wider image {_named(columns)}"
    )


def _prefix(growth: _Growth, output: Tensor) -> int | None:
    """Compute P from N = P + h w tokens and N' = P + f h w; None where it is no such number."""
    factor, count = growth.factors[0], output.shape[1]
    prefix, rest = divmod(factor * count - growth.higher[1], factor - 1)
    return prefix if rest == 0 and 0 <= prefix < count else None


def _that_follow(run: Run, images: Tensor, candidates: Sequence[Layout]) -> list[Layout]:
    """Select the layouts in which each band of an image changes its own part of the grid most."""
    size = images.shape[-2:]
    changed = [_banded(images, side) for side in (-2, -1)]
    output = run(torch.cat([_noise(images, size, 0), *changed])).double()
    energy = (output[1:] - output[:1]).square()
    fitting = []
    for layout in candidates:
        grid = layout.to_grid(energy, size)[1].sum(dim=1)  # (2 * bands, h, w)
        rows, columns = grid[:_BANDS].sum(dim=2), grid[_BANDS:].sum(dim=1)
        if _follows(rows) and _follows(columns):
            fitting.append(layout)
    return fitting


def _banded(images: Tensor, side: int) -> Tensor:
    """Make images (bands, 3, H, W) of noise of which each differs from the noise in one band."""
    base, other = (_noise(images, images.shape[-2:], seed) for seed in (0, 1))
    length = images.shape[side]
    place = torch.arange(length, device=images.device) * _BANDS // length
    place = place[:, None] if side == -2 else place
    return torch.cat([torch.where(place == band, other, base) for band in range(_BANDS)])


def _follows(energy: Tensor) -> bool:
    """Return whether each band is what changes its own part of an axis most: energy (bands, L)."""
    parts = min(energy.shape)
    energy = F.adaptive_avg_pool2d(energy[None], (parts, parts))[0]
    # 1 where neither the band nor the part of the axis matters but for their own strength
    share = energy * energy.sum() / (energy.sum(dim=0) * energy.sum(dim=1, keepdim=True))
    own = share.argmax(dim=0) == torch.arange(parts, device=energy.device)
    return parts == 1 or bool((own & (share.diagonal() > _MARGIN)).all())


def _noise(images: Tensor, size: Sequence[int], seed: int) -> Tensor:
    """Draw one image of unit noise, in the type and on the device of others."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, images.shape[1], *size, generator=generator)
    return noise.to(images.device, images.dtype)


def _form(output: Tensor) -> str:
    return f"(B, {', '.join(map(str, output.shape[1:]))})"


def _named(axes: Sequence[int]) -> str:
    names = [f"axis {axis}" for axis in axes]
    return " and ".join(names) if names else "none of its axes"

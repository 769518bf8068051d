"""Classifier with feature maps of several scales, made of any network by naming a layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn

from learned_saliency.attribution.core.backbone import LevelBackbone
from learned_saliency.attribution.core.cut import LayerError
from learned_saliency.attribution.core.layout import LAYOUTS, Layout
from learned_saliency.attribution.core.scales import (
    Level,
    find_levels,
    named_levels,
    noise,
)
from learned_saliency.attribution.core.split import SplitClassifier


class LeveledClassifier(SplitClassifier):
    """A frozen network cut at a layer, with feature maps from before it; see `split_levels`.

    The network is taken over and frozen in place: its parameters need no gradient, and it stays in
    evaluation mode whatever ``train`` says.

    Args:
        model: See `split_levels`.
        layer: Name of the layer; its output is the last level.
        layout: Layout of its output.
        levels: The levels before it, from fine to coarse.
        channels: Channels of all levels, the layer's last.
        reductions: Pixels of the image per cell of all levels.
        num_classes: Number of classes C.
        tracing: See `attribution.split`.

    Attributes:
        backbone: See `LevelBackbone`.
        num_classes: Number of classes C.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str,
        *,
        layout: Layout,
        levels: Sequence[Level],
        channels: Sequence[int],
        reductions: Sequence[int],
        num_classes: int,
        tracing: bool | None = None,
    ) -> None:
        super().__init__(
            model.requires_grad_(False).eval(),
            layer,
            layout=layout.name,
            prefix_tokens=layout.prefix_tokens,
            tracing=tracing,
            levels=[level.layer for level in levels],
        )
        if not len(levels) + 1 == len(channels) == len(reductions):
            raise ValueError(
                f"expected channels and reductions of {len(levels) + 1} levels, got "
                f"{list(channels)} and {list(reductions)}"
            )
        self._levels = list(levels)
        self.num_classes = num_classes
        self.backbone = LevelBackbone(self, channels, reductions)

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode."""
        return super().train(False)

    def levels(self, images: Tensor) -> list[Tensor]:
        """Extract feature maps of all scales in one pass of the network.

        Args:
            images: Normalized images of shape (B, 3, H, W).

        Returns:
            Maps of shape (B, K_i, h_i, w_i) from fine to coarse; the last one is what `features`
            returns, and `head` and `head_of` are those of this pass.

        Raises:
            LayerError: If a layer gives another number of axes than it is known for, or does not
                run once.
        """
        return self.backbone(images)

    def extract(self, images: Tensor) -> list[Tensor]:
        """Compute `levels`, which may come from a store of the backbone's instead."""
        size = images.shape[-2:]
        with _kept(self.model, [level.layer for level in self._levels]) as outputs:
            last = self.features(images)
        grids = []
        for level in self._levels:
            if len(outputs[level.layer]) != 1:
                raise LayerError(
                    f"layer {level.layer!r} runs {len(outputs[level.layer])} times before "
                    f"{self.layer!r} has its output: name another level"
                )
            try:
                grids.append(level.layout.to_grid(outputs[level.layer][0], size)[1])
            except ValueError as error:
                raise LayerError(f"layer {level.layer!r}: {error}") from None
        return [*grids, last]

    @property
    def description(self) -> dict[str, Any]:
        """Plain values of which `described_levels` makes this classifier again."""
        return {
            "layer": self.layer,
            "layout": list(self.layout),
            "levels": [[level.layer, *level.layout] for level in self._levels],
            "channels": list(self.backbone.channels),
            "reductions": list(self.backbone.reductions),
            "tracing": self.traced,
        }


def described_levels(
    model: nn.Module, description: Mapping[str, Any], num_classes: int
) -> LeveledClassifier:
    """Make a classifier with levels again, without any pass of the network.

    Args:
        model: The network, also one whose weights are on the device ``meta``.
        description: See `LeveledClassifier.description`.
        num_classes: Number of classes C.

    Raises:
        ValueError: If the description is none, or not of this network.
    """
    try:
        layout = _layout(*description["layout"])
        levels = [Level(str(name), _layout(*rest)) for name, *rest in description["levels"]]
        numbers = {
            key: [int(number) for number in description[key]] for key in ("channels", "reductions")
        }
        layer, tracing = str(description["layer"]), bool(description["tracing"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the description of the levels is damaged ({error})") from None
    known = {name for name, _ in model.named_modules()}
    for name in (layer, *(level.layer for level in levels)):
        if name not in known:
            raise ValueError(f"the network has no layer {name!r}")
    return LeveledClassifier(
        model,
        layer,
        layout=layout,
        levels=levels,
        num_classes=num_classes,
        tracing=tracing,
        **numbers,
    )


def split_levels(
    model: nn.Module,
    layer: str,
    levels: Sequence[str] | None = None,
    *,
    size: tuple[int, int] = (224, 224),
    channels: int = 3,
    layout: str | None = None,
    prefix_tokens: int | None = None,
    tracing: bool | None = None,
) -> LeveledClassifier:
    """Make a classifier with feature maps of several scales of any network by naming a layer.

    The last level is the layer's output. The finer ones are found in one trial pass: for each
    doubling of the layer's grid, the output of the module that finishes last with such a grid
    before the layer has its output; modules within a block that reduces the grid come last. Where
    no grid is finer (a vision transformer), they are the outputs of three blocks, evenly spaced
    below the layer and all of the same size.

    Args:
        model: Network of images (B, 3, H, W) to logits (B, C). It is used, not copied, and frozen
            in place: no gradient for its parameters, evaluation mode.
        layer: Name of the layer, see `attribution.split`.
        levels: Names of the layers of the finer levels, from fine to coarse; an empty list for
            none. By default they are found.
        size: Height and width of the images of the trial pass, in pixels.
        channels: Number of their channels.
        layout: Layout of the layer's output, see `attribution.split`.
        prefix_tokens: See `attribution.split`.
        tracing: See `attribution.split`.

    Returns:
        A classifier as `models.MultiScaleClassifier` describes it, with ``backbone`` and
        ``num_classes``; one pass up to the layer gives all levels.

    Raises:
        TypeError: If ``model`` is not a module.
        LevelError: If a layer that was named as a level gives no grid, does not run once, comes
            after the layer, or its output is overwritten in place.
        ValueError: As `attribution.split`.
        OutputError: If the network's output has no logits.
    """
    if isinstance(model, nn.Module):
        model.requires_grad_(False).eval()
    cut = SplitClassifier(model, layer, layout=layout, prefix_tokens=prefix_tokens, tracing=tracing)
    return _with_levels(cut, levels, size, channels)


def _with_levels(
    cut: SplitClassifier, levels: Sequence[str] | None, size: tuple[int, int], channels: int
) -> LeveledClassifier:
    """Find the levels below the layer of a classifier, or look at those that are named."""
    model = cut.model
    device = next((weight.device for weight in model.parameters()), torch.device("cpu"))
    images = noise(size, channels).to(device)
    with torch.inference_mode(False), torch.no_grad():
        own = cut.features(images)
        num_classes = cut(images).shape[1]
        if levels is None:
            chosen = find_levels(model, cut.layer, images, cut.layout, own.shape[-2:])
        else:
            chosen = named_levels(model, cut.layer, images, levels)
    grids = [*(level.grid for level in chosen), own]
    return LeveledClassifier(
        model,
        cut.layer,
        layout=cut.layout,
        levels=[found.level for found in chosen],
        channels=[grid.shape[1] for grid in grids],
        reductions=[max(1, round(max(size) / max(grid.shape[2:]))) for grid in grids],
        num_classes=num_classes,
        tracing=cut.traced,
    )


def _layout(name: str, prefix_tokens: int | None) -> Layout:
    if name not in LAYOUTS or not isinstance(prefix_tokens, int | None):
        raise ValueError(f"{name!r} with {prefix_tokens!r} tokens before it is no layout")
    return Layout(name, prefix_tokens)


@contextmanager
def _kept(network: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, list[Any]]]:
    """Keep what layers return while the context lasts, by their names, a list each."""
    outputs: dict[str, list[Any]] = {name: [] for name in layers}
    handles = [
        network.get_submodule(name).register_forward_hook(partial(_keep, outputs[name]))
        for name in layers
    ]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _keep(outputs: list[Any], module: nn.Module, inputs: Any, output: Any) -> None:
    outputs.append(output[0] if isinstance(output, tuple) else output)

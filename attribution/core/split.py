"""Classifier made of any network by naming a layer."""

import difflib
import warnings
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from learned_saliency.attribution.core.classifier import Head, frozen
from learned_saliency.attribution.core.cut import Context, GraphCut, HookCut, LayerError
from learned_saliency.attribution.core.layout import LAYOUTS, Layout, recognize
from learned_saliency.attribution.core.outputs import Outputs, find_scores


class _Rest(NamedTuple):
    """Values that the pass up to the layer hands to the pass from there on."""

    layout: Layout
    prefix: Tensor | None  # (B, P, K): class token and the like
    context: Context
    batch: int
    known: tuple[Tensor, Tensor] | None = None  # activations and logits of the pass itself


class SplitClassifier(nn.Module):
    """A network cut at a layer: ``features`` runs up to it, ``head`` from it; see `split`.

    Both follow the evaluation path of the network; calling the classifier is calling the network.
    It comes in the mode of the network.

    Where the rest of the network reads more than the layer's output (a skip connection around
    it, a class token), ``features`` remembers that for the ``head`` calls that follow, until the
    next ``features``. ``encode`` returns a head that holds the rest instead; the methods of this
    room use ``encode``.

    Args:
        model: See `split`, as for the other arguments.
        layer: Name of the layer.
        layout: Layout of its output, or None.
        prefix_tokens: Number of tokens before the grid, or None.
        tracing: True, False or None.
        levels: Names of layers before it whose hooks are called in its pass, too.
        outputs: Function of what the network returns, or None.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str,
        *,
        layout: str | None = None,
        prefix_tokens: int | None = None,
        tracing: bool | None = None,
        levels: Sequence[str] = (),
        outputs: Outputs | None = None,
    ) -> None:
        super().__init__()
        check_layer(model, layer)
        if outputs is not None and not callable(outputs):
            raise TypeError(f"outputs must be a function, got {type(outputs).__name__}")
        if layout is not None and layout not in LAYOUTS:
            raise ValueError(f"layout must be None or one of {tuple(LAYOUTS)}, got {layout!r}")
        if prefix_tokens is not None and prefix_tokens < 0:
            raise ValueError(f"prefix_tokens must not be negative, got {prefix_tokens}")
        self.model = model
        self.training = model.training  # metrics refuse a model in training mode
        self.layer = layer
        self.outputs = outputs
        self.prefix_tokens = prefix_tokens
        if prefix_tokens is None:
            prefix_tokens = getattr(model, "num_prefix_tokens", None)
        self.layout = None if layout is None else Layout(layout, prefix_tokens)
        self._cut = make_cut(self, tracing, levels)
        self._last: _Rest | None = None
        self._last_features: Tensor | None = None

    def forward(self, images: Tensor) -> Tensor:
        """Run the network: images (B, 3, H, W) to logits (B, C), or to the scores of `outputs`."""
        output = self.model(images)
        if isinstance(images, fx.Proxy):  # a cut ends with what the network itself returns
            return output
        return find_scores(
            output, images.shape[0], self.outputs
        )  # len() would fix the batch of an export

    def features(self, images: Tensor) -> Tensor:
        """Run up to the layer: images (B, 3, H, W) to activations (B, K, h, w)."""
        self._last_features, self._last = self._features(images)
        return self._last_features

    def head(self, features: Tensor) -> Tensor:
        """Run from the layer on: activations of the last `features` call, to logits (B, C).

        Any number of rows will do where the head reads nothing else (``classifier.pure``).

        Raises:
            RuntimeError: If `features` has not run, and the head reads more or no layout was named.
        """
        if self._last is None and (self.layout is None or not self.pure):
            raise RuntimeError(f"head() after {self.layer!r} needs a features() call before it")
        return self._head(self._last or _Rest(self.layout, None, (), 0), features)

    def encode(self, images: Tensor) -> tuple[Tensor, Head]:
        """Compute the activations (B, K, h, w) and the head that belongs to them.

        Returns:
            Activations, and ``head(features, rows=None) -> logits``; see `attribution.encode`.
        """
        features, rest = self._features(images)
        return features, partial(self._head, rest)

    def head_of(self, features: Tensor) -> Head | None:
        """Find the head that belongs to the activations of the last `features` call.

        Args:
            features: The very tensor that the call returned; any where the head is ``pure``.

        Returns:
            ``head(features, rows=None) -> logits``, see `encode`; later calls do not change it.
            None for other activations, of which the rest that the head reads is not known.
        """
        known = self._last is not None or getattr(self.layout, "name", "tokens") != "tokens"
        if known and self.pure:
            return partial(self._head, _Rest(self.layout, None, (), features.shape[0]))
        if self._last is None or features is not self._last_features:
            return None
        return partial(self._head, self._last)

    @property
    def traced(self) -> bool:
        """True if the head is found by tracing, false if a hook replaces the layer's output."""
        return isinstance(self._cut, GraphCut)

    @property
    def pure(self) -> bool:
        """True if the network after the layer reads nothing of the image but its output."""
        return self._cut.pure and (self._last is None or self._last.prefix is None)

    def _features(self, images: Tensor) -> tuple[Tensor, _Rest]:
        output, context, returned = self._cut.body(self, images)
        if not isinstance(output, Tensor) or output.dim() not in (3, 4):
            got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise LayerError(f"layer {self.layer!r} gives no spatial grid or tokens, but {got}")
        if output.shape[0] != images.shape[0]:
            raise LayerError(
                f"layer {self.layer!r} gives {tuple(output.shape)} for {len(images)} images, not "
                "one grid for each: name a layer around it"
            )
        try:
            if self.layout is None:
                self.layout = self._recognized(images, output)
            prefix, grid = self.layout.to_grid(output, images.shape[-2:])
        except ValueError as error:
            raise LayerError(
                f"layer {self.layer!r}: {error}; name another layer, or its layout, one of "
                f"{', '.join(LAYOUTS)}"
            ) from None
        batch = images.shape[0]
        known = None if returned is None else (grid, find_scores(returned, batch, self.outputs))
        return grid, _Rest(self.layout, prefix, context, batch, known)

    def _recognized(self, images: Tensor, output: Tensor) -> Layout:
        declared = getattr(self.model, "num_prefix_tokens", None)
        if self.prefix_tokens is not None:
            prefixes: tuple[int | None, ...] = (self.prefix_tokens,)
        else:  # a layer may come before the class token joins, or have tokens of its own
            prefixes = (None,) if declared in (None, 0) else (declared, 0)
        with frozen(self.model):
            return recognize(self.model, self.layer, images, output, prefixes)

    def _head(self, rest: _Rest, features: Tensor, rows: Tensor | None = None) -> Tensor:
        prefix, context = rest.prefix, rest.context
        if rest.known and features is rest.known[0] and not torch.is_grad_enabled():
            return rest.known[1]
        if prefix is None and not context:
            rows = None
        elif rows is None and features.shape[0] != rest.batch:
            raise ValueError(
                f"features of {len(features)} rows after a pass of {rest.batch} images: the head "
                f"after {self.layer!r} needs to know which image each row belongs to"
            )
        if rows is not None:
            prefix, context = pytree.tree_map(partial(_pick, rows, rest.batch), (prefix, context))
        if not torch.is_autocast_enabled(features.device.type):
            context = pytree.tree_map(partial(_converted, features.dtype), context)
        features = rest.layout.to_output(features, prefix)
        output = self._cut.tail(self, features, context)
        return find_scores(output, features.shape[0], self.outputs)


def split(
    model: nn.Module,
    layer: str,
    *,
    layout: str | None = None,
    prefix_tokens: int | None = None,
    tracing: bool | None = None,
    outputs: Outputs | None = None,
) -> SplitClassifier:
    """Make a classifier of any network (torchvision, timm, your own) by naming a layer.

    The activations A are the layer's output; the head is the rest of the network, run from A
    alone. ``split(vgg16, "features.29")``, ``split(resnet50, "layer4")``, and for vision
    transformers the first norm of the last block, ``split(vit, "blocks.11.norm1")``: its tokens
    become the grid, while the class token and the residual stream stay as they are in the image.
    Logits may have a name, and a single one becomes two classes, see `attribution.core.outputs`.

    Args:
        model: Network of images (B, 3, H, W) to logits (B, C). It is used, not copied.
        layer: Name of a submodule as ``model.named_modules()`` has it, which runs once.
        layout: Layout of the layer's output: ``"channels_first"`` (B, K, h, w),
            ``"channels_last"`` (B, h, w, K; as in Swin) or ``"tokens"`` (B, N, K). By default it
            is recognized in the first pass, by some passes of noise up to the layer; see
            `attribution.core.layout`.
        prefix_tokens: Tokens before those of the grid (class, distillation, registers). Default:
            the model's ``num_prefix_tokens``, else what an image of another size shows, else as
            many as a grid in the proportions of the image leaves over, at most two.
        tracing: Whether the head is found by tracing the network (torch.fx). False: a hook replaces
            the layer's output in a run of the whole network, which works for every network but
            costs a full pass. Default: tracing where it works, else the hook, with a warning.
        outputs: Function of what the network returns for R images, altered ones among them, to
            scores (R, T) or (R,): what is explained if it is no class, see `attribution.targets`. A
            method's ``targets`` are then indices in [0, T), by default that of the largest score.

    Returns:
        A `Classifier` around ``model``.

    Raises:
        TypeError: If ``model`` is not a module or ``outputs`` no function.
        ValueError: If the layer does not exist, runs never or more than once, or does not reach the
            output; in the first pass, if its layout is not recognized.
    """
    return SplitClassifier(
        model,
        layer,
        layout=layout,
        prefix_tokens=prefix_tokens,
        tracing=tracing,
        outputs=outputs,
    )


def check_layer(model: nn.Module, layer: str) -> None:
    """Check that a network has a layer; raises what `split` does if not."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, got {type(model).__name__}")
    names = [name for name, _ in model.named_modules() if name]
    if layer in names:
        return
    nearest = difflib.get_close_matches(layer, names, n=len(names) or 1, cutoff=0.0)
    raise ValueError(f"there is no layer {layer!r}; there are, nearest first: {', '.join(nearest)}")


def make_cut(
    root: SplitClassifier, tracing: bool | None, others: Sequence[str] = ()
) -> GraphCut | HookCut:
    """Cut the network of a classifier at its layer, by tracing or a hook; see `split`.

    Args:
        root: The classifier, with its network and its layer.
        tracing: See `split`.
        others: Names of further layers whose hooks the pass up to the layer calls.

    Raises:
        LayerError: If the network cannot be cut at the layer.
        Exception: Whatever tracing raises, with ``tracing=True``.
    """
    layer = f"model.{root.layer}"
    if tracing is False:
        return HookCut(layer)
    try:
        with frozen(root):
            return GraphCut(root, layer, [f"model.{name}" for name in others])
    except LayerError:
        raise
    except Exception as error:  # whatever the network's own code does when traced
        if tracing:
            raise
        warnings.warn(
            f"{type(root.model).__name__} cannot be traced ({error}); each head call will cost a "
            "pass of the whole network. tracing=False silences this.",
            stacklevel=4,
        )
        return HookCut(layer)


def _pick(rows: Tensor, batch: int, value: object) -> object:
    """Repeat a value per image for the rows that belong to the image."""
    if not isinstance(value, Tensor):
        return value
    if value.dim() == 0 or len(value) != batch:
        raise RuntimeError(
            f"the network hands a tensor {tuple(value.shape)} around the layer that has not one "
            f"entry for each of the {batch} images: split it elsewhere, or with tracing=False"
        )
    return value.index_select(0, rows)


def _converted(dtype: torch.dtype, value: object) -> object:
    """Convert what autocast left in half precision to the type of the head's other input."""
    halves = (torch.float16, torch.bfloat16)
    return value.to(dtype) if isinstance(value, Tensor) and value.dtype in halves else value

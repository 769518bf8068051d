"""Classifier made of any network by naming a layer."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from learned_saliency.attribution.core.classifier import Head
from learned_saliency.attribution.core.cut import GraphCut, HookCut, LayerError
from learned_saliency.attribution.core.cutting import (
    Known,
    Rest,
    check_layer,
    converted,
    pick,
    recognized,
)
from learned_saliency.attribution.core.inputs import (
    Call,
    Inputs,
    check_inputs,
    needed,
    run_plainly,
)
from learned_saliency.attribution.core.layout import LAYOUTS, Layout
from learned_saliency.attribution.core.outputs import Outputs, find_scores
from learned_saliency.ops import Activation, activation_of


class SplitClassifier(nn.Module):
    """A network cut at a layer: ``features`` runs up to it, ``head`` from it; see `split`.

    Both follow the evaluation path of the network; calling the classifier is calling the network.
    It comes in the mode of the network. One of a network with further inputs is for the batch that
    `bind` gave the inputs of.

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
        call: ``call(model, images, **inputs)``.
        activation: Function of the logits to probabilities, or None for that of the model.

    Attributes:
        inputs: The further inputs of the batch, see `bind`.
        known: Layout and cuts of the network.
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
        call: Call = run_plainly,
        activation: Activation | str | None = None,
    ) -> None:
        super().__init__()
        check_layer(model, layer, layout, prefix_tokens)
        if outputs is not None and not callable(outputs):
            raise TypeError(f"outputs must be a function, got {type(outputs).__name__}")
        self.model = model
        self.training = model.training  # metrics refuse a model in training mode
        self.layer = layer
        self.outputs = outputs
        self.activation = activation_of(model) if activation is None else Activation(activation)
        self.prefix_tokens = prefix_tokens
        if prefix_tokens is None:
            prefix_tokens = getattr(model, "num_prefix_tokens", None)
        named = None if layout is None else Layout(layout, prefix_tokens)
        self.known = Known(named, tracing, levels)
        self.call = call
        self.inputs = Inputs({})
        if not needed(call):
            self.known.make_cut(self)
        self._last: Rest | None = None
        self._last_features: Tensor | None = None

    def bind(self, **inputs: Any) -> SplitClassifier:
        """Return the classifier for a batch of images with these further inputs.

        Methods and metrics take it like any other classifier; `of_rows` picks the inputs of some of
        the images. The network and what is known of it are shared, not copied.

        Args:
            **inputs: What ``call`` gets beside model and images, by name: tensors whose first axis
                has one entry for each image, also within tuples, lists and dictionaries; or one
                number, string, flag or None for all images. A tensor that all images share is not
                bound: ``call`` holds it.

        Raises:
            TypeError: If an input is missing, unknown or of another type.
            ValueError: If the tensors do not have one entry for each image of one batch.
        """
        check_inputs(self.call, inputs)
        bound = self._with(Inputs(inputs))
        self.known.make_cut(bound)
        return bound

    def of_rows(self, rows: Tensor) -> SplitClassifier:
        """Return the classifier for variants of the images of the batch; see `of_rows`.

        Args:
            rows: Index of an image for each variant, int (R,).
        """
        return self._with(self.inputs.of_rows(rows)) if self.inputs.given else self

    def _with(self, inputs: Inputs) -> SplitClassifier:
        twin = copy.copy(self)
        twin.inputs, twin._last, twin._last_features = inputs, None, None
        return twin

    def forward(self, images: Tensor, tensors: Sequence[Tensor] | fx.Proxy | None = None) -> Tensor:
        """Run the network: images (B, 3, H, W) to logits (B, C), or to the scores of `outputs`.

        Args:
            images: Shape (B, 3, H, W).
            tensors: Tensors in the place of those among the further inputs, in their order.
        """
        output = self.returned(images, tensors)
        if isinstance(images, fx.Proxy):  # a cut ends with what the network itself returns
            return output
        batch = images.shape[0]  # len() would fix the batch of an export
        return find_scores(output, batch, self.outputs, self.activation)

    def returned(self, images: Tensor, tensors: Sequence[Tensor] | fx.Proxy | None = None) -> Any:
        """Run the network, see `forward`; return what it returns."""
        if tensors is None:
            self._check_bound()
            tensors = self.inputs.of_images(images)
        return self.call(self.model, images, **self.inputs.replaced(tensors))

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
        return self._head(self._last or Rest(self.layout, None, (), 0), features)

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
            return partial(self._head, Rest(self.layout, None, (), features.shape[0]))
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

    @property
    def layout(self) -> Layout | None:
        """Layout of the layer's output; None before the first pass unless it was named."""
        return self.known.layout

    @property
    def _cut(self) -> GraphCut | HookCut:
        self._check_bound()
        return self.known.cuts[self.inputs.form]

    def _check_bound(self) -> None:
        if self.inputs.form not in self.known.cuts:
            names = ", ".join(f"{name}=..." for name in needed(self.call))
            raise TypeError(f"the network takes more than images: classifier.bind({names}) first")

    def _features(self, images: Tensor) -> tuple[Tensor, Rest]:
        output, context, returned = self._cut.body(self, images, self.inputs.of_images(images))
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
                self.known.layout = recognized(self, images, output)
            prefix, grid = self.layout.to_grid(output, images.shape[-2:])
        except ValueError as error:
            raise LayerError(
                f"layer {self.layer!r}: {error}; name another layer, or its layout, one of "
                f"{', '.join(LAYOUTS)}"
            ) from None
        batch = images.shape[0]
        known = None if returned is None else (grid, self._scores(returned, batch))
        return grid, Rest(self.layout, prefix, context, batch, known, images)

    def _head(self, rest: Rest, features: Tensor, rows: Tensor | None = None) -> Tensor:
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
            self.known.check_context(self, rest)
            prefix, context = pytree.tree_map(partial(pick, rows, rest.batch), (prefix, context))
        if not torch.is_autocast_enabled(features.device.type):
            context = pytree.tree_map(partial(converted, features.dtype), context)
        features = rest.layout.to_output(features, prefix)
        output = self._cut.tail(self, features, context)
        return self._scores(output, features.shape[0])

    def _scores(self, output: Any, batch: int) -> Tensor:
        return find_scores(output, batch, self.outputs, self.activation)


def split(
    model: nn.Module,
    layer: str,
    *,
    layout: str | None = None,
    prefix_tokens: int | None = None,
    tracing: bool | None = None,
    outputs: Outputs | None = None,
    call: Call = run_plainly,
    activation: Activation | str | None = None,
) -> SplitClassifier:
    """Make a classifier of any network (torchvision, timm, your own) by naming a layer.

    The activations A are the layer's output; the head is the rest of the network, run from A
    alone: ``split(resnet50, "layer4")``. Of vision transformers name the first norm of the last
    block, ``split(vit, "blocks.11.norm1")``: its tokens become the grid, while class token and
    residual stream stay as they are. Logits may have a name, see `attribution.core.outputs`.

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
        tracing: Whether the head is found by tracing (torch.fx). False: a hook replaces the layer's
            output in a run of the whole network, which works always but makes a head call a full
            pass. Default: tracing where it works, else the hook, with a warning.
        call: Function ``call(model, images, **inputs)`` that runs a network which takes more than
            images, see `SplitClassifier.bind`; by default ``model(images)``. Of a layer that runs
            several times, traced, the run on the images themselves is explained.
        outputs: Function of what the network returns for R images, altered ones among them, to
            scores (R, T) or (R,): what is explained if it is no class, see `attribution.targets`. A
            method's ``targets`` are then indices in [0, T), by default that of the largest score.
        activation: ``"softmax"``, or ``"sigmoid"`` where each class is there or not, maybe of a
            single one; by default what the model declares, see `ops.Activation`, else softmax.

    Returns:
        A `Classifier` around ``model``; where ``call`` needs inputs, ``classifier.bind(...)`` is.

    Raises:
        TypeError: If ``model`` is not a module, or ``call`` or ``outputs`` no function.
        ValueError: If the layer does not exist, runs never or more than once, or does not reach the
            output, or ``activation`` is none; in the first pass, if its layout is not recognized.
    """
    cut = {"layout": layout, "prefix_tokens": prefix_tokens, "tracing": tracing}
    return SplitClassifier(model, layer, **cut, outputs=outputs, call=call, activation=activation)

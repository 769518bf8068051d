"""Choice of the cut that suits a network, and the values that a cut hands around its layer."""

import difflib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from learned_saliency.attribution.core.classifier import frozen
from learned_saliency.attribution.core.cut import Context, GraphCut, HookCut, LayerError
from learned_saliency.attribution.core.inputs import OfFirstImage, run_plainly
from learned_saliency.attribution.core.layout import LAYOUTS, Layout, recognize


class Rest(NamedTuple):
    """Values that the pass up to the layer hands to the pass from there on."""

    layout: Layout
    prefix: Tensor | None  # (B, P, K): class token and the like
    context: Context
    batch: int
    known: tuple[Tensor, Tensor] | None = None  # activations and logits of the pass itself
    images: Tensor | None = None  # None only without prefix and context


def check_layer(
    model: nn.Module, layer: str, layout: str | None, prefix_tokens: int | None
) -> None:
    """Check that a network has a layer, and its options; raises what `split` does if not."""
    if layout is not None and layout not in LAYOUTS:
        raise ValueError(f"layout must be None or one of {tuple(LAYOUTS)}, got {layout!r}")
    if prefix_tokens is not None and prefix_tokens < 0:
        raise ValueError(f"prefix_tokens must not be negative, got {prefix_tokens}")
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, got {type(model).__name__}")
    names = [name for name, _ in model.named_modules() if name]
    if layer in names:
        return
    nearest = difflib.get_close_matches(layer, names, n=len(names) or 1, cutoff=0.0)
    raise ValueError(f"there is no layer {layer!r}; there are, nearest first: {', '.join(nearest)}")


def make_cut(
    root: nn.Module, tracing: bool | None, others: Sequence[str] = ()
) -> GraphCut | HookCut:
    """Cut the network of a classifier at its layer, by tracing or a hook; see `split`.

    Args:
        root: The classifier, with its network as ``model`` and its layer.
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
            stacklevel=5,
        )
        return HookCut(layer)


def recognized(classifier: nn.Module, images: Tensor, output: Tensor) -> Layout:
    """Recognize the layout of the layer's output of a `SplitClassifier`; see `recognize`."""
    network, layer = classifier.model, classifier.layer
    declared = getattr(network, "num_prefix_tokens", None)
    if classifier.prefix_tokens is not None:
        prefixes: tuple[int | None, ...] = (classifier.prefix_tokens,)
    else:  # a layer may come before the class token joins, or have tokens of its own
        prefixes = (None,) if declared in (None, 0) else (declared, 0)
    if classifier.call is not run_plainly:
        network, layer = OfFirstImage(classifier), f"classifier.model.{layer}"
    with frozen(network):
        return recognize(network, layer, images, output, prefixes)


class Known:
    """Knowledge of a network, shared by the classifiers of all batches of further inputs.

    Args:
        layout: Layout of the layer's output, or None until it is recognized.
        tracing: See `split`.
        levels: Names of further layers whose hooks the pass up to the layer calls.

    Attributes:
        layout: As given, or as it was recognized.
        cuts: Cut of the network by the form of the inputs.
    """

    def __init__(self, layout: Layout | None, tracing: bool | None, levels: Sequence[str]) -> None:
        self.layout = layout
        self.cuts: dict[str, GraphCut | HookCut] = {}
        self._cutting = tracing, levels
        self._checked: set[str] = set()  # forms whose context has an entry for each image

    def make_cut(self, classifier: nn.Module) -> None:
        """Cut the network of a `SplitClassifier`, once for its form of inputs; see `make_cut`."""
        if classifier.inputs.form not in self.cuts:
            self.cuts[classifier.inputs.form] = make_cut(classifier, *self._cutting)

    @contextmanager
    def uncut(self, layer: str) -> Iterator[None]:
        """Run the network whole, module by module, while the context lasts.

        Args:
            layer: Name of the layer, whose output a hook takes meanwhile.
        """
        cuts = self.cuts
        self.cuts = {form: HookCut(f"model.{layer}") for form in cuts}
        try:
            yield
        finally:
            self.cuts = cuts

    def recut(self, classifier: nn.Module) -> None:
        """Trace the network of a `SplitClassifier` anew, after modules of it were replaced."""
        if any(isinstance(cut, GraphCut) for cut in self.cuts.values()):
            self.cuts.clear()
            self.make_cut(classifier)

    def check_context(self, classifier: nn.Module, rest: Rest) -> None:
        """Check once that all tensors handed around the layer have an entry for each image.

        An axis of another meaning (the words of a question) may be as long as the batch by chance:
        in a batch of another size it is not.

        Args:
            classifier: A `SplitClassifier`.
            rest: What its pass handed over.

        Raises:
            RuntimeError: If a tensor has another first axis.
        """
        inputs, cut = classifier.inputs, self.cuts[classifier.inputs.form]
        if inputs.form in self._checked or isinstance(cut, HookCut):
            return
        rows = torch.zeros(1 if rest.batch > 1 else 2, dtype=torch.int64, device=rest.images.device)
        with frozen(classifier), torch.no_grad():
            _, context, _ = cut.body(classifier, rest.images[rows], inputs.of_rows(rows).tensors)
        pytree.tree_map(partial(pick, rows, len(rows)), context)
        self._checked.add(inputs.form)


def pick(rows: Tensor, batch: int, value: object) -> object:
    """Repeat a value per image for the rows that belong to the image."""
    if not isinstance(value, Tensor):
        return value
    if value.dim() == 0 or len(value) != batch:
        raise RuntimeError(
            f"the network hands a tensor {tuple(value.shape)} around the layer that has not one "
            f"entry for each of the {batch} images: split it elsewhere, or with tracing=False"
        )
    return value.index_select(0, rows)


def converted(dtype: torch.dtype, value: object) -> object:
    """Convert what autocast left in half precision to the type of the head's other input."""
    halves = (torch.float16, torch.bfloat16)
    return value.to(dtype) if isinstance(value, Tensor) and value.dtype in halves else value

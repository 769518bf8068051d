"""BatchNorm folded into the convolutions before it, for faster passes of a trained network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from learned_saliency.attribution.core.classifier import Classifier, encode, frozen, of_rows
from learned_saliency.attribution.core.conv_norm import ConvNorm, activation, find_pairs
from learned_saliency.attribution.core.split import SplitClassifier
from learned_saliency.ops import widen

_WATCHED = 2  # images are enough to see what reads what
_ROUNDING = 1e-3  # share of the largest value of each output

Pass = Callable[[Tensor], Any]


class FoldingError(ValueError):
    """A network of which no BatchNorm can be folded."""


class FoldedBatchNorm:
    """BatchNorms that are folded into convolutions in place; see `fold_batchnorm`.

    As a context manager it takes them out again at its end.

    Args:
        network: The network.
        pairs: The pairs, of which none is folded yet.

    Attributes:
        count: Number of folded BatchNorms.
    """

    def __init__(self, network: nn.Module, pairs: Sequence[ConvNorm]) -> None:
        self.count = len(pairs)
        self._network = network
        self._weights = [
            (pair.convolution, pair.convolution.weight, pair.convolution.bias) for pair in pairs
        ]
        with torch.inference_mode(False), torch.no_grad():  # else gradients could not pass later
            folded = [_folded(pair) for pair in pairs]
        norms = {pair.norm: activation(pair.norm).eval() for pair in pairs}
        self._places = [
            (parent, name, child)
            for parent in network.modules()
            for name, child in parent._modules.items()
            if child in norms
        ]
        try:
            for pair, (weight, bias) in zip(pairs, folded, strict=True):
                pair.convolution.weight, pair.convolution.bias = weight, bias
            for parent, name, child in self._places:
                parent._modules[name] = norms[child]
            _recut(network)
        except BaseException:
            self.undo()
            raise

    def undo(self) -> None:
        """Put the network back as it was; a second call does nothing."""
        for parent, name, child in self._places:
            parent._modules[name] = child
        for convolution, weight, bias in self._weights:
            convolution.weight, convolution.bias = weight, bias
        if self._places:
            _recut(self._network)
        self._places, self._weights = [], []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.undo()


def fold_batchnorm(
    classifier: Classifier,
    images: Tensor,
    passes: Sequence[Pass] = (),
    network: nn.Module | None = None,
) -> FoldedBatchNorm:
    """Fold each BatchNorm that alone reads a convolution's result into that convolution.

    The BatchNorm of a trained network scales and shifts each channel by fixed numbers: the
    convolution does both, with other weights, and the BatchNorm's pass over memory is saved. What
    the network computes stays the same up to rounding, with all activations but those between the
    two, gradients and DeepLIFT's multipliers included. Which modules are a pair is seen while the
    network runs, not from their names or order: a layer that is explained, or whose result anything
    else reads, is left as it is. So is an activation within a BatchNorm's module (timm).

    The network is changed in place until `FoldedBatchNorm.undo`, or the end of a ``with``; save its
    weights before or after. It stays in evaluation mode meanwhile: folded numbers are not trained.

    Args:
        classifier: A `Classifier`, whose network is one with BatchNorm.
        images: Images as it will explain them, (B, 3, H, W): on the first two the pairs are found,
            on all of them the folded network is checked.
        passes: Further functions of images that run the network and return tensors, such as one
            for a map of its own.
        network: Module of all that runs; None for the classifier.

    Returns:
        What undoes it.

    Raises:
        FoldingError: If no BatchNorm can be folded, or what the network returns differs by more
            than rounding; the network is then as it was.
    """
    network = classifier if network is None else network
    few = images[:_WATCHED]
    rows = torch.arange(len(few), device=images.device)
    watched = [*_runs(of_rows(classifier, rows)), *passes]
    runs = [*_runs(classifier), *passes]
    with frozen(network), torch.no_grad(), _uncut(network):
        found = find_pairs(network, [partial(run, few) for run in watched])
    if not found.pairs:
        raise FoldingError(_reason(found.norms, found.by_batch))
    before = _outputs(network, runs, images)
    folded = FoldedBatchNorm(network, found.pairs)
    try:
        _compare(before, _outputs(network, runs, images))
    except BaseException:
        folded.undo()
        raise
    return folded


def _runs(classifier: Classifier) -> list[Pass]:
    """List the ways in which methods and metrics run a classifier."""
    halves = [partial(_in_halves, classifier)] if isinstance(classifier, Classifier) else []
    return [classifier, *halves]  # a network without halves is watched as a whole


def _in_halves(classifier: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """Run a classifier up to its activations and from there on; return both results."""
    features, head = encode(classifier, images)
    return features, head(features)


def _outputs(network: nn.Module, runs: Sequence[Pass], images: Tensor) -> list[Tensor]:
    """Run a network in all ways; list the tensors that it returns."""
    with frozen(network), torch.no_grad():
        leaves = pytree.tree_leaves([run(images) for run in runs])
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def _compare(before: Sequence[Tensor], after: Sequence[Tensor]) -> None:
    """Raise FoldingError where numbers differ by more than rounding."""
    for old, new in zip(before, after, strict=True):
        least = float(widen(old).abs().max())
        error = float((widen(new) - widen(old)).abs().max())
        if not error <= _ROUNDING * least:
            raise FoldingError(
                f"with it the network gives other numbers, by {error:.3g} of at most {least:.3g}"
            )


def _folded(pair: ConvNorm) -> tuple[nn.Parameter, nn.Parameter]:
    """Compute the weights and biases of the convolution that does what a pair does."""
    convolution, norm = pair.convolution, pair.norm
    weight, bias = convolution.weight, convolution.bias
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    shift = -norm.running_mean.double() if bias is None else bias.double() - norm.running_mean
    shift = shift * scale
    if norm.bias is not None:
        shift = shift + norm.bias.double()
    if pair.transposed:  # (inputs, outputs / groups, ...)
        parts = weight.double().unflatten(0, (pair.groups, -1))
        parts = parts * scale.view(pair.groups, 1, -1, *[1] * (weight.dim() - 2))
        scaled = parts.flatten(0, 1)
    else:
        scaled = weight.double() * scale.view(-1, *[1] * (weight.dim() - 1))
    scaled = torch.empty_like(weight).copy_(scaled)  # the layout in memory is kept
    return tuple(
        nn.Parameter(values.to(weight.dtype), requires_grad=weight.requires_grad)
        for values in (scaled, shift)
    )


def _reason(norms: int, by_batch: int) -> str:
    """Say why nothing can be folded, without a full stop."""
    if not norms:
        return "the network has no BatchNorm"
    if by_batch == norms:
        return "no BatchNorm of it works with statistics that training has fixed"
    return "no convolution's result goes into a BatchNorm alone"


def _splits(network: nn.Module) -> list[SplitClassifier]:
    return [module for module in network.modules() if isinstance(module, SplitClassifier)]


@contextmanager
def _uncut(network: nn.Module) -> Iterator[None]:
    """Let split classifiers run their networks whole, module by module."""
    with ExitStack() as stack:
        for part in _splits(network):
            stack.enter_context(part.known.uncut(part.layer))
        yield


def _recut(network: nn.Module) -> None:
    for part in _splits(network):
        part.known.recut(part)

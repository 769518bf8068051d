"""Search for convolutions whose results go into one BatchNorm each, and nowhere else."""

from __future__ import annotations

import inspect
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

_CONVOLUTIONS = {f"conv{axes}d" for axes in (1, 2, 3)}
_TRANSPOSED = {f"conv_transpose{axes}d" for axes in (1, 2, 3)}
_METADATA = {"size", "dim", "ndimension", "numel", "nelement", "stride", "is_floating_point"}
_METADATA |= {"is_contiguous", "__len__"}
_PLAIN = (_BatchNorm.forward, nn.SyncBatchNorm.forward)
_SIGNATURE = inspect.signature(F.batch_norm)


class ConvNorm(NamedTuple):
    """A convolution and the BatchNorm that alone reads what it returns.

    Attributes:
        convolution: Module of the convolution.
        norm: Module of the BatchNorm.
        transposed: Whether the convolution is a transposed one.
        groups: Groups of its channels.
    """

    convolution: nn.Module
    norm: nn.Module
    transposed: bool
    groups: int


class _Use(NamedTuple):
    """A call of a convolution or a BatchNorm that was seen."""

    owner: nn.Module | None  # the running module that holds the weights; None for another one
    tensor: Tensor  # a convolution's result, a BatchNorm's input
    transposed: bool = False
    groups: int = 1


class _Watch(TorchFunctionMode):
    """Record convolutions, BatchNorms and everything that reads a convolution's result."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.convolutions: list[_Use] = []
        self.norms: list[_Use] = []
        self.reads: Counter[int] = Counter()  # numbers of reads, by the ids of results
        self.unfit: set[nn.Module] = set()  # modules whose work is more than their weights tell
        self.by_batch = 0  # number of BatchNorms that normalize by the batch
        self._results: dict[int, Tensor] = {}
        self._running: list[nn.Module] = []
        self._normalized: dict[int, Tensor] = {}  # copies, by the ids of modules
        self._owners = _owners(network)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if name in _METADATA or (name == "__get__" and not isinstance(result, Tensor)):
            return result
        self.read((args, kwargs))
        if name in _CONVOLUTIONS | _TRANSPOSED:
            self._convolved(result, args, kwargs, name in _TRANSPOSED)
        elif func is F.batch_norm:
            self._normed(result, _SIGNATURE.bind(*args, **kwargs).arguments)
        return result

    def read(self, tree: Any) -> None:
        """Count the results of convolutions in what a call takes or a pass returns."""
        for value in pytree.tree_leaves(tree):
            if isinstance(value, Tensor) and id(value) in self._results:
                self.reads[id(value)] += 1

    def enter(self, module: nn.Module, args: Any) -> None:
        """Note, as a hook, that a module begins to run."""
        self._running.append(module)

    def leave(self, module: nn.Module, args: Any, output: Any) -> None:
        """Note, as a hook, that a module has run."""
        self._running.pop()
        kept = self._normalized.pop(id(module), None)
        if kept is None:
            return
        follow = activation(module)
        if follow is None or not torch.equal(follow(kept), output):
            self.unfit.add(module)

    def _convolved(
        self, result: Tensor, args: Sequence[Any], kwargs: Mapping[str, Any], transposed: bool
    ) -> None:
        """Note a convolution; one by weights that are computed, or of another module, is unfit."""
        weight = args[1] if len(args) > 1 else kwargs.get("weight")
        bias = args[2] if len(args) > 2 else kwargs.get("bias")
        owner = self._owner(weight)
        if owner is not None:
            own = owner._parameters
            fits = own.get("weight") is weight and "bias" in own and own["bias"] is bias
            groups = _weight_groups(result, weight, transposed, owner)
            shared = bias is not None and self._owner(bias) is not owner
            if not fits or shared or groups is None:
                self.unfit.add(owner)
            self._results[id(result)] = result
            self.convolutions.append(_Use(owner, result, transposed, groups or 1))

    def _normed(self, result: Tensor, given: Mapping[str, Any]) -> None:
        """Note a BatchNorm; one by the statistics of the batch has no owner."""
        mean = given.get("running_mean")
        if mean is None or given.get("training"):
            self.by_batch += 1
            self.norms.append(_Use(None, given["input"]))
            return
        owner = self._owner(mean)
        self.norms.append(_Use(owner, given["input"]))
        if owner is not None and type(owner).forward not in _PLAIN:
            self._normalized[id(owner)] = result.clone()  # an activation may overwrite it

    def _owner(self, tensor: Any) -> nn.Module | None:
        """Return the running module that alone has this parameter or buffer."""
        owners = self._owners.get(id(tensor), [])
        running = self._running[-1] if self._running else None
        return running if len(owners) == 1 and owners[0] is running else None


class Found(NamedTuple):
    """Result of `find_pairs`.

    Attributes:
        pairs: The pairs.
        norms: Number of BatchNorm calls in the passes.
        by_batch: Number of those that normalize by the batch.
    """

    pairs: list[ConvNorm]
    norms: int
    by_batch: int


def find_pairs(network: nn.Module, passes: Iterable[Callable[[], Any]]) -> Found:
    """Find the pairs of a network by watching it run.

    A pair is one in all runs of all passes: whatever the convolution returns goes into that
    BatchNorm and nowhere else, and the BatchNorm gets nothing else. Weights that two modules share
    or that are computed anew in each run, modules with hooks, and BatchNorms that normalize by the
    batch are in no pair.

    Args:
        network: Module of all that runs, in evaluation mode.
        passes: Functions that run it; what they return counts as read.
    """
    hooked = {module for module in network.modules() if _has_hooks(module)}
    watch = _Watch(network)
    handles = []
    for module in network.modules():
        handles.append(module.register_forward_pre_hook(watch.enter))
        handles.append(module.register_forward_hook(watch.leave))
    try:
        with watch:
            for run in passes:
                watch.read(run())
    finally:
        for handle in handles:
            handle.remove()
    norms = len(watch.norms)
    return Found(_pairs(watch, hooked | watch.unfit), norms, watch.by_batch)


def activation(norm: nn.Module) -> nn.Module | None:
    """Return what a BatchNorm's module does after the normalization; None if that is not known."""
    if type(norm).forward in _PLAIN:
        return nn.Identity()
    drop, act = getattr(norm, "drop", None), getattr(norm, "act", None)
    if isinstance(drop, nn.Module) and isinstance(act, nn.Module):  # as timm's BatchNormAct2d
        return Activation(drop, act)
    return None


class Activation(nn.Module):
    """Dropout and activation of a BatchNorm's module, under its names for them.

    Args:
        drop: The dropout.
        act: The activation.
    """

    def __init__(self, drop: nn.Module, act: nn.Module) -> None:
        super().__init__()
        self.drop, self.act = drop, act
        self.training = False

    def forward(self, numbers: Tensor) -> Tensor:
        """Apply both to numbers (B, K, ...)."""
        return self.act(self.drop(numbers))


def _pairs(watch: _Watch, unfit: set[nn.Module]) -> list[ConvNorm]:
    """Pick the pairs that hold in every call."""
    made = {id(use.tensor): use for use in watch.convolutions}
    sources: dict[nn.Module, set[nn.Module | None]] = defaultdict(set)
    readers: dict[int, nn.Module | None] = {}
    for norm in watch.norms:
        source = made.get(id(norm.tensor))
        if norm.owner is not None:
            sources[norm.owner].add(None if source is None else source.owner)
        readers[id(norm.tensor)] = norm.owner
    targets: dict[nn.Module, set[nn.Module | None]] = defaultdict(set)
    for use in watch.convolutions:
        alone = watch.reads[id(use.tensor)] == 1
        targets[use.owner].add(readers.get(id(use.tensor)) if alone else None)
    last = {use.owner: use for use in watch.convolutions}
    pairs = []
    for convolution, norms in targets.items():
        norm = next(iter(norms))
        if len(norms) == 1 and norm is not None and sources[norm] == {convolution}:
            use = last[convolution]
            if convolution not in unfit and norm not in unfit:
                pairs.append(ConvNorm(convolution, norm, use.transposed, use.groups))
    return pairs


def _owners(network: nn.Module) -> dict[int, list[nn.Module]]:
    """Collect the modules that have each parameter and buffer, by its id."""
    owners: dict[int, list[nn.Module]] = defaultdict(list)
    for module in network.modules():
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is not None:
                owners[id(tensor)].append(module)
    return owners


def _weight_groups(
    result: Tensor, weight: Tensor, transposed: bool, owner: nn.Module
) -> int | None:
    """Return the groups of a convolution's channels; None where its weights do not show them."""
    groups = getattr(owner, "groups", None)
    if not isinstance(groups, int):
        return None
    spatial = weight.dim() - 2
    channels = result.shape[-spatial - 1]
    shown = weight.shape[1] * groups if transposed else weight.shape[0]
    return groups if shown == channels else None


def _has_hooks(module: nn.Module) -> bool:
    """Return whether hooks may read or change what goes into or comes out of a module."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, kind, None) for kind in kinds)

"""Strategy that shares a frozen trunk out among processes while something is trained on it."""

from __future__ import annotations

import copy
import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard

from learned_saliency.trainers.strategies.ddp import ExactEvaluationDDP
from learned_saliency.trainers.strategies.processes import place


class SharedTrunk:
    """Frozen trunk of whose weights each process holds a share, and all of them where needed.

    The shares are those of torch's FSDP2 (``fully_shard``): before a block runs, forward or
    backward, its weights are gathered from all processes, and let go of afterwards. They lie in a
    copy of the trunk that is no part of the network: the trunk itself stays where it is, keeps its
    parameters' names and identity, and answers by the copy, with the levels that it would give
    itself. `gather` puts the weights back into it, to the bit and in their strides.

    All processes have to run the trunk and to call `gather` equally often.

    Args:
        trunk: Network of images to levels that is frozen, the same on every process, whose training
            step calls it alone and none of its layers.
        mesh: The processes.

    Attributes:
        total: Size of the trunk's weights in bytes.
        share: Size of the memory for the part of them that this process holds.
    """

    def __init__(self, trunk: nn.Module, mesh: DeviceMesh) -> None:
        self._trunk = trunk
        weights = list(trunk.parameters())
        self.total = sum(weight.nbytes for weight in weights)
        self._copy = copy.deepcopy(trunk, {id(weight): _contiguous(weight) for weight in weights})
        self._strides = [weight.stride() for weight in weights]
        for part in [*_blocks(self._copy), self._copy]:
            fully_shard(part, mesh=mesh, reshard_after_forward=True)
        shares = [weight.to_local().untyped_storage() for weight in self._copy.parameters()]
        self.share = sum(share.nbytes() for share in shares)
        # FSDP takes contiguous weights; so images tell the kernels that the trunk itself would use
        contiguous = all(weight.is_contiguous() for weight in weights)
        self._format = torch.contiguous_format if contiguous else torch.channels_last
        self._is_whole = True

    def release(self) -> None:
        """Let go of all weights but this process's share."""
        if self._is_whole:
            for weight in self._trunk.parameters():
                weight.data = weight.data.new_empty(0)
            self._is_whole = False
        self._trunk.forward = self._answer

    @torch.no_grad()
    def gather(self) -> None:
        """Put all weights into the trunk, which then answers by itself."""
        if not self._is_whole:
            shares = self._copy.parameters()
            for weight, share, stride in zip(
                self._trunk.parameters(), shares, self._strides, strict=True
            ):
                whole = share.full_tensor()
                weight.data = whole.new_empty_strided(whole.shape, stride).copy_(whole)
            self._is_whole = True
        vars(self._trunk).pop("forward", None)

    def _answer(self, images: Tensor) -> list[Tensor]:
        """Compute the levels of images by shares, as the trunk's ``forward``."""
        return self._copy(images.contiguous(memory_format=self._format))


class ShardedTrunkDDP(ExactEvaluationDDP):
    """DDP whose processes share the weights of a frozen trunk while they train.

    What is trained is replicated as by `ExactEvaluationDDP`, so that optimizers, losses and
    checkpoints are those of DDP. The trunk of a module that declares no ``shard_obstacle`` is a
    `SharedTrunk` from the first training step on. It is gathered for checkpoints and for
    evaluation, where processes may have different numbers of batches and every post-hoc method
    meets the network as it is.
    """

    _shared: SharedTrunk | None = None

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Train on a batch, with shares of the trunk's weights."""
        if self._shared is None and self.lightning_module.shard_obstacle is None:
            self._share_out()
        if self._shared is not None:
            self._shared.release()
        return super().training_step(*args, **kwargs)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Return the state of the whole module; all processes have to call this."""
        self._gather()
        return super().lightning_module_state_dict()

    def on_validation_start(self) -> None:
        """Gather the trunk."""
        self._gather()
        super().on_validation_start()

    def on_train_end(self) -> None:
        """Gather the trunk for good."""
        self._gather()
        self._shared = None
        super().on_train_end()

    def _gather(self) -> None:
        if self._shared is not None:
            self._shared.gather()

    def _share_out(self) -> None:
        processes = place().world
        if processes == 1:
            return
        mesh = init_device_mesh(self.root_device.type, (processes,), mesh_dim_names=("share",))
        self._shared = SharedTrunk(self.lightning_module.classifier.backbone, mesh)
        if self.is_global_zero:
            total, share = self._shared.total / 1e6, self._shared.share / 1e6
            print(
                f"the frozen trunk's {total:.3g} MB are shared out among {processes} processes: "
                f"{share:.3g} MB in the first",
                file=sys.stderr,
                flush=True,
            )


def _contiguous(weight: nn.Parameter) -> nn.Parameter:
    """Return the parameter's values in the order that FSDP takes."""
    return nn.Parameter(weight.detach().contiguous(), requires_grad=False)


def _blocks(module: nn.Module) -> list[nn.Module]:
    """List the members of the outermost lists and sequences of layers that have weights."""
    found: list[nn.Module] = []
    for child in module.children():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            found += [part for part in child if next(part.parameters(), None) is not None]
        else:
            found += _blocks(child)
    return found

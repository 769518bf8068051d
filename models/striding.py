"""Changes to a network in place for larger feature maps: strides removed, borders padded."""

import copy
from functools import partial

import torch
from timm.models.inception_v3 import InceptionB, InceptionD
from torch import Tensor, nn
from torch.nn import functional

from learned_saliency.models.first_layer import find_first_layer

_TRIAL_SIZE = 160  # pixels: five halvings give five different sizes, in padded networks and others


class _ReductionBlock(nn.Module):
    """Inception-v3's size-reducing block, whose pooling branch is a function and has no stride.

    Args:
        block: A timm ``InceptionB`` or ``InceptionD``.

    Attributes:
        stride: Stride of the pooling branch, to be kept equal to that of the convolutions.
        padding: Padding of the pooling branch in pixels, to be kept equal likewise.
    """

    def __init__(self, block: InceptionB | InceptionD) -> None:
        super().__init__()
        self.block = block
        self.stride = 2
        self.padding = 0

    def forward(self, inputs: Tensor) -> Tensor:
        *convolved, _ = self.block._forward(inputs)
        pooled = functional.max_pool2d(inputs, 3, stride=self.stride, padding=self.padding)
        return torch.cat([*convolved, pooled], dim=1)


def unstride(network: nn.Module, stages: int) -> int:
    """Set the strides of the last size-reducing stages of a network to 1, without dilation.

    A stage halves the map once: it is all strided layers, side by side or in a row, that see maps
    of the same size in a trial run; layers after the last level do not count. Convolutions and
    overlapping pools keep their kernel and their padding. A pool whose windows do not overlap has
    nothing left to do and is removed, as in the WSOL benchmark's VGG16; so is the pool in the
    shortcut of a ResNet-D.

    Args:
        network: Network of images (1, C, H, W) to a list of levels (1, K_i, h_i, w_i), fine to
            coarse. Changed in place.
        stages: Number of stages that lose their stride, at least 1.

    Returns:
        The factor by which the map of the last level has grown.

    Raises:
        ValueError: If the network has fewer such stages, or if its last level did not grow to
            the size at which these stages begin. The network is then half changed.
    """
    _wrap_reduction_blocks(network)
    strided: dict[str, int] = {}  # name of the layer: height of its input
    last_height = _trial_run(network, strided)
    heights = sorted(height for height in set(strided.values()) if height > last_height)
    if stages > len(heights):
        raise ValueError(f"unstrided_stages is {stages}, but only {len(heights)} stages have one")
    expected = heights[stages - 1]
    factor = 1
    for height in heights[:stages]:
        names = [name for name, seen in strided.items() if seen == height]
        factor *= max(_stride(network.get_submodule(name)) for name in names)
        for name in names:
            _remove_stride(network, name)
    try:
        reached = _trial_run(network, {})
    except RuntimeError as error:
        raise ValueError(f"its branches no longer agree in size: {error}") from error
    # Without padding a 3x3 layer still costs two pixels; half of the size would be an error.
    if abs(reached - expected) > min(2 * stages, (expected - last_height) / 2):
        raise ValueError(f"its last level has {reached} rows where {expected} were expected")
    return factor


def pad_same(network: nn.Module) -> None:
    """Pad every layer that has no padding, so that only strides make the maps smaller.

    Convolutions and pools whose padding is zero get half of their kernel, rounded down. Layers
    whose windows do not overlap are left alone. The function is made for Inception-v3, which the
    WSOL benchmark pads in the same way to get maps of 28x28 from images of 224x224.

    Args:
        network: Any network. Changed in place.
    """
    _wrap_reduction_blocks(network)
    for module in network.modules():
        if isinstance(module, _ReductionBlock):
            module.padding = 1
        elif isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            kernel = _pair(module.kernel_size)
            if max(kernel) > _stride(module) and module.padding in (0, (0, 0)):
                module.padding = (kernel[0] // 2, kernel[1] // 2)


def _trial_run(network: nn.Module, strided: dict[str, int]) -> int:
    """Run on one image; note each strided layer's input height, return the coarsest level's.

    A copy without weights runs, which computes sizes alone; the network itself, on a blank image,
    where some layer of it cannot run so. All modes are restored afterwards.
    """
    try:
        return _heights(_without_weights(network), strided)
    except Exception:  # a network of timm may raise anything there
        strided.clear()
        return _heights(network, strided)


def _without_weights(network: nn.Module) -> nn.Module:
    """Copy a network onto torch's meta device, where tensors have a size and no values."""
    tensors = [*network.parameters(), *network.buffers()]
    known = {id(tensor): tensor.detach().to("meta") for tensor in tensors}
    known |= {id(p): nn.Parameter(known[id(p)], False) for p in network.parameters()}
    return copy.deepcopy(network, known)


@torch.no_grad()
def _heights(network: nn.Module, strided: dict[str, int]) -> int:
    """Run a network for `_trial_run`."""

    def note(name: str, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        strided.setdefault(name, inputs[0].shape[-2])

    handles = [
        module.register_forward_pre_hook(partial(note, name))
        for name, module in network.named_modules()
        if _stride(module) > 1
    ]
    modes = {module: module.training for module in network.modules()}
    parameter = next(network.parameters())
    try:
        levels = network.eval()(
            parameter.new_zeros(1, _channels(network), _TRIAL_SIZE, _TRIAL_SIZE)
        )
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
    return levels[-1].shape[-2]


def _channels(network: nn.Module) -> int:
    """Return the number of channels of the images that a network takes."""
    return find_first_layer(network)[1].in_channels


def _remove_stride(network: nn.Module, name: str) -> None:
    module = network.get_submodule(name)
    pool = isinstance(module, nn.MaxPool2d | nn.AvgPool2d)
    if pool and max(_pair(module.kernel_size)) <= _stride(module):
        _replace(network, name, nn.Identity())
    else:
        module.stride = 1 if isinstance(module.stride, int) else (1, 1)


def _wrap_reduction_blocks(network: nn.Module) -> None:
    """Give the functional pools of Inception-v3 a stride and a padding that can be changed."""
    for parent in list(network.modules()):
        if isinstance(parent, _ReductionBlock):
            continue
        for name, child in list(parent.named_children()):
            if isinstance(child, InceptionB | InceptionD):
                _replace(parent, name, _ReductionBlock(child))


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    network.get_submodule(parent).register_module(child, module)


def _stride(module: nn.Module) -> int:
    """Return the stride of one layer; 1 for a layer without strides."""
    stride = getattr(module, "stride", 1)
    if isinstance(stride, tuple | list):
        stride = max(stride)
    return stride if isinstance(stride, int) else 1


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)

"""Features of a frozen backbone, kept on disk from one epoch and one run to the next."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from weakref import ref

import safetensors.torch
import timm
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from learned_saliency.storage import replacing

_TAG = "CACHEDIR.TAG"  # https://bford.info/cachedir: programs for backups leave such folders out
_TAG_TEXT = """Signature: 8a477f597d28d172789f06886806bc55
# Features of a frozen network, kept by learned-saliency; what is missing is made again.
"""
_LAYOUT = 1  # raise it with every change of the files
_CHECK, _LAST = "crc32", "channels_last"  # names of the tensors beside the levels in a file
_DAMAGED = (OSError, SafetensorError, ValueError, KeyError, RuntimeError)


class FeatureCache:
    """Levels of a frozen backbone on disk, so that an image goes through the backbone once.

    Attached to a backbone, it takes the place of the backbone's ``forward``. It answers for the
    tensors alone that `expect` was told, recognized by identity. Masked or noisy copies of them and
    images that want a gradient go through the backbone, as does everything while a graph is
    recorded for export or compilation, while the backbone is in training mode (unless it is
    ``frozen``, as a `Trunk` that computes in evaluation mode alone), and once its weights have
    changed. An image is known by a hash of its very values, their type and device and the
    precision of the computation, so that other images or settings never find its features. Images
    of a batch that are not kept yet are computed together, in one pass.

    What is kept are the values that the backbone gave, to the bit. A network may round otherwise
    in a batch of another size or on other hardware; the values are then those of the first time.

    There is a file per image, written under another name first, so that several processes may
    share a folder. A damaged file is made again.

    Args:
        folder: Folder of the caches of all backbones; it is made if needed.
        key: What the levels depend on beside the image, as text; see `feature_key`.

    Attributes:
        folder: Folder of this backbone's features, below the given one and marked as a cache.
        hits: Number of images whose levels were found.
        misses: Number of images whose levels were computed and kept.
        image_bytes: Size of an image's levels; 0 before the first image.
    """

    def __init__(self, folder: str | Path, key: str) -> None:
        name = hashlib.sha256(f"{_LAYOUT} {key}".encode()).hexdigest()[:32]
        self.folder, self._key = Path(folder).expanduser().absolute() / name, key
        self.hits = self.misses = self.image_bytes = 0
        self._expected: list[ref[Tensor]] = []
        self._backbone: nn.Module | None = None

    def attach(self, backbone: nn.Module, network: nn.Module | None = None) -> None:
        """Answer for a backbone from now on.

        Args:
            backbone: Network of images (B, 3, H, W) to a list of levels (B, K_i, h_i, w_i).
            network: Module that holds the weights of a backbone without weights of its own.

        Raises:
            ValueError: If a parameter of it needs a gradient.
            RuntimeError: If the cache is attached already.
            OSError: If the folder cannot be made.
        """
        if self._backbone is not None:
            raise RuntimeError("the cache is attached to a backbone already")
        network = network or backbone
        if not is_frozen(network):
            raise ValueError("features are kept of a frozen backbone only, this one is trained")
        for name, text in (("about.txt", f"{self._key}\n"), (_TAG, _TAG_TEXT)):
            with replacing(self.folder / name, shared=True) as temporary:
                temporary.write_text(text, encoding="utf-8")
        self._backbone, self._own = backbone, vars(backbone).get("forward")
        self._forward, self._state = backbone.forward, _State(network)
        self._threads = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
        backbone.forward = self._answer

    def detach(self) -> None:
        """Leave the backbone as it was found; without effect where the cache is not attached."""
        if self._backbone is None:
            return
        if self._own is None:
            del self._backbone.forward
        else:
            self._backbone.forward = self._own
        self._backbone, self._expected = None, []
        self._threads.shutdown()

    def expect(self, images: Tensor) -> None:
        """Answer for a tensor of images (B, 3, H, W) from the cache, as long as it exists."""
        self._expected = [known for known in self._expected if known() is not None]
        self._expected.append(ref(images))

    def count(self) -> int:
        """Count the images whose levels are kept."""
        return sum(1 for _ in self.folder.glob("*/*.safetensors"))

    def _answer(self, images: Tensor) -> list[Tensor]:
        """Give the levels of images, as the backbone's ``forward``."""
        if not self._serves(images):
            return self._forward(images)
        kind = _kind(images)
        pixels = images.detach().cpu().contiguous()
        paths = list(self._threads.map(lambda image: self._path(image, kind), pixels))
        found = list(self._threads.map(_read, paths))
        missing = [row for row, levels in enumerate(found) if levels is None]
        self.hits += len(found) - len(missing)
        self.misses += len(missing)
        if missing:
            every = len(missing) == len(images)
            computed = self._forward(images if every else images[missing])
            rows = _rows(computed)
            list(self._threads.map(_write, [paths[row] for row in missing], rows))
            if every:
                self.image_bytes = sum(level.nbytes for level in rows[0])
                return computed
            for row, levels in zip(missing, rows, strict=True):
                found[row] = levels
        self.image_bytes = sum(level.nbytes for level in found[0])
        return [_joined(levels, images.device) for levels in zip(*found, strict=True)]

    def _serves(self, images: Tensor) -> bool:
        return (
            any(known() is images for known in self._expected)
            and len(images) > 0
            and not images.requires_grad
            and (getattr(self._backbone, "frozen", False) or not self._backbone.training)
            and not torch.compiler.is_compiling()
            and not torch.jit.is_tracing()
            and self._state.is_unchanged()
        )

    def _path(self, image: Tensor, kind: str) -> Path:
        name = hashlib.blake2b(_bytes(image), digest_size=20, person=_person(kind)).hexdigest()
        return self.folder / name[:2] / f"{name}.safetensors"


class _State:
    """State of a network that its levels depend on, remembered to notice a change."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._weights = _versions(network.parameters())
        self._buffers = _versions(network.buffers())
        self._values = [buffer.clone() for buffer in network.buffers()]

    def is_unchanged(self) -> bool:
        """Tell whether the state is the remembered one."""
        buffers = list(self._network.buffers())
        if self._weights != _versions(self._network.parameters()):
            return False
        if self._buffers == _versions(buffers):
            return True
        if not all(map(torch.equal, buffers, self._values)):
            return False
        self._buffers = _versions(buffers)  # DDP writes the same values before each validation
        return True


def is_frozen(backbone: nn.Module) -> bool:
    """Tell whether a network has parameters, none of which needs a gradient."""
    needs = [weight.requires_grad for weight in backbone.parameters()]
    return bool(needs) and not any(needs)


def is_feature_cache(folder: str | Path) -> bool:
    """Tell whether a `FeatureCache` has kept features in a folder before."""
    try:
        tags = [tag for tag in Path(folder).expanduser().glob(f"*/{_TAG}") if tag.is_file()]
        return any(_begins(tag, _TAG_TEXT.encode()) for tag in tags)
    except OSError:
        return False


def feature_key(network: nn.Module, options: str) -> str:
    """Describe all that a backbone's levels depend on, beside the images.

    Args:
        network: The backbone, or what holds its weights. Its class, its structure and the values of
            its parameters and buffers count.
        options: What it was made with.

    Returns:
        A text; the values are in it as a hash.
    """
    digest = hashlib.sha256()
    tensors = dict(network.named_parameters()) | dict(network.named_buffers())
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(_bytes(tensor.detach().cpu().contiguous()))
    kind = f"{type(network).__module__}.{type(network).__qualname__}"
    versions = f"torch {torch.__version__}, timm {timm.__version__}"
    return "\n".join((kind, versions, options, digest.hexdigest(), repr(network)))


def _begins(path: Path, content: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(content)) == content


def _kind(images: Tensor) -> str:
    """Describe what the values of levels depend on, beside the network and the images' values."""
    device = images.device.type
    casts = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    precision = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    return f"{device} {images.dtype} {tuple(images.shape[1:])} {casts} {precision}"


def _person(kind: str) -> bytes:
    return hashlib.blake2b(kind.encode(), digest_size=16).digest()


def _bytes(tensor: Tensor) -> Any:
    """View the values of a contiguous tensor on the CPU as bytes."""
    return tensor.reshape(-1).view(torch.uint8).numpy()


def _versions(tensors: Iterable[Tensor]) -> list[tuple[int, int]]:
    """Return what changes when a tensor is replaced or written to."""
    return [(id(tensor), tensor._version) for tensor in tensors]


def _rows(levels: Sequence[Tensor]) -> list[list[Tensor]]:
    """Split the levels of a batch into those of its images, on the CPU."""
    return list(map(list, zip(*(level.detach().cpu() for level in levels), strict=True)))


def _joined(images: Sequence[Tensor], device: torch.device) -> Tensor:
    """Make a batch (B, K, h, w) of a level of several images; the order in memory is theirs."""
    if _is_channels_last(images[0]):
        return torch.stack([image.permute(1, 2, 0) for image in images]).to(device).movedim(3, 1)
    return torch.stack(list(images)).to(device)


def _is_channels_last(level: Tensor) -> bool:
    return not level.is_contiguous() and level.stride(0) == 1


def _read(path: Path) -> list[Tensor] | None:
    """Read the levels of an image, (K_i, h_i, w_i) each; None where there is no whole file."""
    try:
        tensors = safetensors.torch.load(path.read_bytes())
        sums, last = tensors.pop(_CHECK).tolist(), tensors.pop(_LAST).tolist()
        levels = [tensors[str(number)] for number in range(len(tensors))]
        if [zlib.crc32(_bytes(level)) for level in levels] != sums:
            return None
        pairs = zip(levels, last, strict=True)
        return [level.permute(2, 0, 1) if moved else level for level, moved in pairs]
    except _DAMAGED:
        return None


def _write(path: Path, levels: Sequence[Tensor]) -> None:
    """Write the levels of an image.

    Raises:
        OSError: If the disk is full or cannot be written to.
    """
    last = [_is_channels_last(level) for level in levels]
    ordered = [
        (level.permute(1, 2, 0) if moved else level).contiguous()
        for level, moved in zip(levels, last, strict=True)
    ]
    tensors = {str(number): level for number, level in enumerate(ordered)}
    tensors[_CHECK] = torch.tensor([zlib.crc32(_bytes(level)) for level in ordered])
    tensors[_LAST] = torch.tensor(last)
    content = safetensors.torch.save(tensors)
    try:
        with replacing(path, shared=True) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None

"""Graph of a trained model: colors in, class probabilities and maps out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind

from learned_saliency.datamodules import Size
from learned_saliency.trainers import SaliencyModule

INPUTS = ("images", "labels")
OUTPUTS = ("probabilities", "logits", "saliency")
MAPS = ("label", "predicted", "all")


class ExportedModel(nn.Module):
    """Computation of an exported file.

    Args:
        module: The trained module; put into evaluation mode and frozen.
        maps: Classes that get maps: the class given with each image (``"label"``), the
            ``"predicted"`` class, or ``"all"`` classes; None for a module with one map for all
            classes, as its ``native`` map declares. A CALM whose classes share one superset is such
            a module, too: the class would change nothing.

    Raises:
        ValueError: If ``maps`` does not suit the method.
    """

    def __init__(self, module: SaliencyModule, maps: str | None) -> None:
        super().__init__()
        suitable = MAPS if module.native.per_class else (None,)
        if maps not in suitable:
            raise ValueError(f"maps must be one of {suitable}, got {maps!r}")
        self.module = module.eval().requires_grad_(False)
        self.maps = maps

    @property
    def has_labels(self) -> bool:
        """True if the classes to explain are an input."""
        return self.maps == "label"

    def forward(self, images: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Classify and explain.

        Args:
            images: RGB, or other channels, in [0, 1], float32 (B, C, H, W), not normalized.
            labels: Classes to explain, int64 (B,) in [0, C); with ``maps="label"`` alone.

        Returns:
            ``probabilities`` and ``logits`` (B, C), and ``saliency`` (B, H, W) in [0, 1], or
            (B, C, H, W) of all classes. NaN throughout for an image with a NaN or infinite pixel:
            on the way through a network some runtimes turn such values into plausible ones.
        """
        normalized = (images - self.module.mean) / self.module.std
        if self.maps == "all":
            found = self.module.explain_all(normalized)
        else:
            found = self.module.explain(normalized, labels)
        probabilities = self.module.activation.probabilities(found.logits)
        values = (probabilities, found.logits, found.saliency)
        zero = (0 * images).sum(dim=(1, 2, 3))  # NaN for such an image
        marked = (value + zero.view(-1, *[1] * (value.ndim - 1)) for value in values)
        return dict(zip(OUTPUTS, marked, strict=True))


@torch.no_grad()
def trace(model: ExportedModel, size: int | Sequence[int], channels: int = 3) -> ExportedProgram:
    """Export the graph for batches of any number of images of one size.

    Args:
        model: The computation.
        size: Side of the images in pixels, or height and width.
        channels: Number of their channels.

    State that the graph does not read (of a loss, EM's second network) is left out, and so are the
    example images and the paths of the source files.
    """
    inputs: tuple[Tensor, ...] = (torch.rand(2, channels, *Size.of(size)),)
    if model.has_labels:
        inputs += (torch.zeros(2, dtype=torch.int64),)
    shapes = tuple({0: Dim("batch", min=1)} for _ in inputs)
    with _plain_attention(model):
        program = torch.export.export(model, inputs, dynamic_shapes=shapes)
    _drop_unused_state(program)
    program.example_inputs = None
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


@contextmanager
def _plain_attention(model: nn.Module) -> Iterator[None]:
    """Let timm's layers compute attention step by step: Hiera's fused form has no ONNX operator."""
    fused = [module for module in model.modules() if getattr(module, "fused_attn", False) is True]
    for module in fused:
        module.fused_attn = False
    try:
        yield
    finally:
        for module in fused:
            module.fused_attn = True


def _drop_unused_state(program: ExportedProgram) -> None:
    specs = program.graph_signature.input_specs
    nodes = [node for node in program.graph.nodes if node.op == "placeholder"]
    for spec, node in zip(list(specs), nodes, strict=True):
        if spec.kind is InputKind.USER_INPUT or node.users:
            continue
        program.graph.erase_node(node)
        specs.remove(spec)
        for store in (program.state_dict, program.constants):
            store.pop(spec.target, None)
    program.graph_module.recompile()

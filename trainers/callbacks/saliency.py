"""Maps of any network at validation, drawn and logged while its own LightningModule trains it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn

from learned_saliency.attribution import (
    Outputs,
    PostHocMethod,
    SharedFeatures,
    SplitClassifier,
    split,
)
from learned_saliency.ops import Activation, activation_of
from learned_saliency.storage import write_bytes
from learned_saliency.trainers.callbacks.inference_tensors import normal_tensors
from learned_saliency.trainers.callbacks.named_methods import named_methods
from learned_saliency.trainers.callbacks.showing import show_picture
from learned_saliency.trainers.callbacks.shown_images import Drawn, first_images, to_colors
from learned_saliency.trainers.outputs import class_name, is_flat, score_line
from learned_saliency.visualization import DEFAULT_COLORMAP, Picture, encode_png, grid, overlay

_SHARDED = (DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy)
_CELL = 160  # pixels, width of a column

Images = Callable[[Any], Tensor]


class SaliencyCallback(L.Callback):
    """Draws what any network looks at in some validation images, after each validation.

    The network belongs to a LightningModule that need not know of this project. Maps explain the
    predicted classes. A row of the picture holds an image, with the predicted class and its
    probability below it, and its map by each method. It is written as PNG and shown by the loggers
    that can: TensorBoard, W&B, MLflow, and any with a method ``log_image(key, images)``.

    It works under Lightning's inference mode, in any precision and with several processes, of which
    the first one draws while the others go on. Nothing is left behind in the training: weights,
    gradients, modes, flags, hooks and random states are as they were found. Strategies that spread
    a network's weights over processes (FSDP, DeepSpeed, model parallelism) are left alone, with a
    warning. All is tried once on one image in Lightning's sanity check of the validation.

    Args:
        layer: Name of the layer to explain, as ``network.named_modules()`` has it: ``"layer4"``.
        methods: Names in ``configs/attribution/all.yaml`` and methods themselves; or either by the
            titles of their columns, where a mapping of options goes with the name of a method:
            ``{"opticam": {"iterations": 20}, "mine": GradCAM()}``.
        images: Number of images, 1 or more.
        every_n_epochs: Epochs from one picture to the next, 1 or more.
        network: Attribute of the LightningModule that holds the network of images to logits,
            ``"model"`` or ``"model.classifier"``; None for the LightningModule itself.
        mean: Mean of each channel that the images were normalized with, in [0, 1]; None for images
            that are drawn as they are, or stretched to [0, 1] where they reach beyond it.
        std: Standard deviation of each channel, likewise; given with ``mean`` or not at all.
        seed: Seed of the draw of images among all of the validation; None takes the first ones. Of
            several processes those of the first one count.
        batch_to_images: Function of a batch to its images (B, C, H, W); None takes the first
            floating-point tensor of four dimensions in a tuple, list or dictionary.
        class_names: Names of the classes; numbers stand for those that have none.
        layout: Layout of the layer's output, see `attribution.split`; None to recognize it.
        target: What is explained: a word of `attribution.TARGETS` for methods given by their names,
            ``"probability"``; or a function of what the network returns for B images to scores
            (B, T), of which the largest is explained, see ``outputs`` of `attribution.split`; None
            for the logit of the predicted class.
        activation: ``"sigmoid"`` where the network's classes do not exclude each other, see
            `attribution.split`; None for softmax, or what the network declares.
        folder: Folder of the PNG files; None takes ``saliency/LAYER`` below the trainer's
            ``log_dir`` or ``default_root_dir``.

    Raises:
        ValueError: If a number is out of range, a method does not exist, or one of ``mean`` and
            ``std`` is given alone; at the begin of a training, if the layer or the network does not
            exist; at the first validation, if no images are found or a method does not fit.
    """

    def __init__(
        self,
        layer: str,
        methods: Sequence[str | PostHocMethod] | Mapping[str, Any] = ("gradcam",),
        *,
        images: int = 8,
        every_n_epochs: int = 1,
        network: str | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        seed: int | None = None,
        batch_to_images: Images | None = None,
        class_names: Sequence[str] = (),
        layout: str | None = None,
        target: str | Outputs | None = None,
        activation: Activation | str | None = None,
        folder: str | Path | None = None,
    ) -> None:
        if images < 1 or every_n_epochs < 1:
            raise ValueError(
                f"expected images and every_n_epochs of 1 or more, got {images} and "
                f"{every_n_epochs}"
            )
        if (mean is None) != (std is None):
            raise ValueError("mean and std must be given together or not at all")
        self.layer, self.network = layer, network
        self.outputs = target if callable(target) else None
        self._options = {"layout": layout, "outputs": self.outputs, "activation": activation}
        self.methods = named_methods(methods, None if callable(target) else target)
        self.every_n_epochs, self.class_names = every_n_epochs, list(class_names)
        self.mean, self.std = mean, std
        self.folder = None if folder is None else Path(folder)
        self._find = batch_to_images or first_images
        self._drawn = Drawn(images, seed)
        self._classifier: SplitClassifier | None = None
        self._place: Path | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Settle where pictures are written, on which the processes agree."""
        root = Path(trainer.log_dir or trainer.default_root_dir)
        self._place = self.folder or root / "saliency" / self.layer
        self._classifier = None
        if isinstance(trainer.strategy, _SHARDED):
            name = type(trainer.strategy).__name__
            rank_zero_warn(f"SaliencyCallback draws nothing: {name} spreads the weights.")

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Find the layer, so that a wrong name ends the training before it begins."""
        if self._draws(trainer):
            self._split(pl_module)

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin to gather images."""
        self._drawn.begin()

    def on_validation_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Gather images of the first loader."""
        if dataloader_idx == 0 and self._draws(trainer):
            with torch.inference_mode(False):
                self._drawn.add(self._find(batch))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw the images and their maps, and log the picture."""
        if not self._draws(trainer):
            return
        images = self._drawn.images()
        epoch, step = trainer.current_epoch, trainer.global_step
        if not images or (epoch % self.every_n_epochs and not trainer.sanity_checking):
            return
        with torch.inference_mode(False), isolate_rng():
            if trainer.sanity_checking:
                self._rows(trainer, pl_module, images[:1])
                return
            picture = self._picture(self._rows(trainer, pl_module, images))
        path = self._place / f"epoch_{epoch:03d}_step_{step:06d}.png"
        write_bytes(path, encode_png(picture))
        for logger in trainer.loggers:
            show_picture(logger, f"saliency/{self.layer}", path, picture, epoch, step)

    def _draws(self, trainer: L.Trainer) -> bool:
        return trainer.is_global_zero and not isinstance(trainer.strategy, _SHARDED)

    def _split(self, module: L.LightningModule) -> SplitClassifier:
        if self._classifier is None:
            network = _network(module, self.network)
            with torch.inference_mode(False):
                self._classifier = split(network, self.layer, **self._options)
        return self._classifier

    def _rows(
        self, trainer: L.Trainer, module: L.LightningModule, images: Sequence[Tensor]
    ) -> list[tuple[Tensor, str, dict[str, Tensor]]]:
        """Explain images, of which those of equal shape go through the network together.

        Returns:
            Each image (C, H, W), its predicted class or largest score in words, and its maps (H, W)
            by title, on the CPU.
        """
        rows = []
        classifier = self._split(module)
        with normal_tensors(classifier), trainer.precision_plugin.forward_context():
            for batch in _stacked(images):
                moved = batch.to(module.device)
                shared = SharedFeatures(classifier, moved)
                with torch.no_grad():
                    logits = shared(moved).float()
                maps = {title: how(shared, moved) for title, how in self.methods.items()}
                for row, image in enumerate(batch):
                    told = self._told(logits[row])
                    found = {title: values[row].float().cpu() for title, values in maps.items()}
                    rows.append((image, told, found))
        return rows

    def _told(self, logits: Tensor) -> str:
        """Name the predicted class with its probability, or the largest score, of logits (C,)."""
        best = int(logits.argmax())
        if self.outputs is not None:
            return score_line(best, float(logits[best]))
        probs = activation_of(self._classifier).probabilities(logits)
        return f"{class_name(self.class_names, best)} {float(probs[best]):.1%}"

    def _picture(self, rows: Sequence[tuple[Tensor, list[str], dict[str, Tensor]]]) -> Picture:
        cells, captions = [], []
        heading = ["predicted:"] if self.outputs is None else []
        for image, told, maps in rows:
            colors = to_colors(image, self.mean, self.std)
            values = [saliency.numpy() for saliency in maps.values()]
            cells.append([colors, *(overlay(colors, saliency) for saliency in values)])
            flat = [["flat map"] if is_flat(saliency) else [] for saliency in values]
            captions.append([[*heading, told], *flat])
        titles = ["image", *self.methods]
        return grid(cells, titles, _CELL, captions=captions, colormap=DEFAULT_COLORMAP)


def _network(module: L.LightningModule, name: str | None) -> nn.Module:
    """Find the network of images to logits: a submodule, or the module itself.

    Raises:
        ValueError: If there is none of this name, or the module itself has no ``forward``.
    """
    if name is None and not is_overridden("forward", module):
        known = ", ".join(child for child, _ in module.named_children())
        raise ValueError(
            f"SaliencyCallback: {type(module).__name__} has no forward(images): name its network "
            f"by network=, one of {known}"
        )
    if name is None:
        return module
    try:
        return module.get_submodule(name)
    except AttributeError:
        known = ", ".join(child for child, _ in module.named_children())
        raise ValueError(
            f"SaliencyCallback: network={name!r} is no module of {type(module).__name__}; it has "
            f"{known}"
        ) from None


def _stacked(images: Sequence[Tensor]) -> Iterator[Tensor]:
    """Stack neighbors of equal shape."""
    batch: list[Tensor] = []
    for image in images:
        if batch and image.shape != batch[0].shape:
            yield torch.stack(batch)
            batch = []
        batch.append(image)
    yield torch.stack(batch)

"""Training of CALM, a classifier with a latent location of its cue."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from learned_saliency.attribution import CAM, normalize, resize, superset_members
from learned_saliency.datamodules import WSOLBatch
from learned_saliency.losses import CALMLoss
from learned_saliency.models import CALM, CueDistribution
from learned_saliency.trainers.base import SaliencyModule
from learned_saliency.trainers.layer_rates import check_decay, rate_groups
from learned_saliency.trainers.outputs import Explanation, NativeMap

EM_TARGETS = ("current", "ema", "epoch")


class CALMModule(SaliencyModule):
    """Module that trains CALM (Kim et al., ICCV 2021) by marginal likelihood or EM.

    The native map of a class is the attribution to its superset (Sec. 5.4): p(Y, z|x), which is
    the paper's s_z of Eq. 7 where the superset is the class alone, resized bilinearly and min-max
    normalized as in the released evaluation. Logits are log p(y|x).

    EM's pseudo-targets come from parameters theta' (Eq. 5). The paper takes the current parameters,
    with which EM has the gradient of the marginal likelihood. A second, slowly updated set is a
    moving average (after each optimizer step) or a copy made at the start of each epoch. This set
    is part of the checkpoint, and runs in training mode on the same batch, so that theta' = theta
    gives exactly the target of ``"current"``.

    Args:
        network: A `models.CALM`.
        loss: The objective.
        em_target: Source of EM's pseudo-targets: ``"current"``, ``"ema"`` or ``"epoch"``.
        ema_decay: Part of the moving average that a step keeps, in [0, 1); for ``"ema"`` alone.
        superset: Classes that the native map sums over; see `attribution.superset_members`.
        class_ids: WordNet ids of the classes, for ``superset="wordnet"``; see there, too.
        head_lr_factor: Learning rate of the new layers over the backbone's; 10 in the released
            code, while the paper gives a single learning rate.
        slow_layers: Substrings of the names of the parameters that learn at the backbone's rate;
            all other parameters learn ``head_lr_factor`` times as fast. Default: the whole
            backbone. The released ResNet recipe has ``conv1, layer1, layer2, layer3``: there the
            stem's BatchNorm is fast and so is the last stage, except for the first convolution of
            each block.
        layer_decay: Learning rate of each layer of the backbone, over that of the layer above it,
            in (0, 1]; None for one rate. See `rate_groups`.
        **options: See `SaliencyModule`.

    Attributes:
        cam: Method that gives the map of a class alone, without its superset.

    Raises:
        ValueError: If an option is unknown or out of range, or ML is given a pseudo-target.
    """

    refusals: ClassVar[Mapping[str, str]] = {
        "multilabel": "has one distribution p(y, z|x) over classes and cells, in which several "
        "classes of an image would have to share a probability of 1"
    }
    network: CALM

    def __init__(
        self,
        *,
        network: CALM,
        loss: CALMLoss,
        em_target: str = "current",
        ema_decay: float = 0.999,
        superset: str | Sequence[str] = "class",
        class_ids: Sequence[str] | None = None,
        head_lr_factor: float = 10.0,
        slow_layers: Sequence[str] | None = None,
        layer_decay: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(network=network, **options)
        check_decay(layer_decay)
        if em_target not in EM_TARGETS:
            raise ValueError(f"em_target must be one of {EM_TARGETS}, got {em_target!r}")
        if em_target != "current" and loss.objective != "em":
            raise ValueError(f"em_target={em_target} needs objective=em, got {loss.objective}")
        if not 0 <= ema_decay < 1:
            raise ValueError(f"ema_decay must be in [0, 1), got {ema_decay}")
        self.loss = loss
        self.em_target = em_target
        self.ema_decay = ema_decay
        self.head_lr_factor = head_lr_factor
        self.slow_layers = None if slow_layers is None else tuple(slow_layers)
        self.layer_decay = layer_decay
        self.target_network = None if em_target == "current" else _copy(network)
        members = superset_members(superset, network.num_classes, class_ids)
        self.register_buffer("members", members, persistent=False)
        self.cam = CAM()

    @property
    def classifier(self) -> CALM:
        """The trained network itself."""
        return self.network

    @property
    def compiled_parts(self) -> list[nn.Module]:
        """Backbones of the network and of the pseudo-targets' network; see `SaliencyModule`."""
        networks = [self.network, self.target_network]
        return [network.backbone for network in networks if network is not None]

    @property
    def shard_obstacle(self) -> str | None:
        """Tell that pseudo-targets need a second trunk; see `SaliencyModule.shard_obstacle`."""
        if self.target_network is not None:
            return "its pseudo-targets come from a copy of the network, trunk and all"
        return super().shard_obstacle

    @property
    def native(self) -> NativeMap:
        """Attribution to the class's superset; one map for all classes if they share a superset.

        The class-wise maps belong to each class alone, whatever the supersets.
        """
        per_class = not bool((self.members == self.members[:1]).all())
        return NativeMap(per_class, probabilities=True, class_wise=self.cam)

    def explain(self, images: Tensor, labels: Tensor | None) -> Explanation:
        """Compute attributions to the classes' supersets; see `SaliencyModule.explain`."""
        features = self.network.features(images)
        found = self.network.distribution(features)
        logits = found.log_probs()
        targets = self.known_targets(labels, logits)
        return Explanation(self._attribution(found, images, targets), logits, features)

    def native_maps(self, features: Tensor, images: Tensor, targets: Tensor) -> Tensor:
        """Compute attributions to any classes' supersets; see `SaliencyModule.native_maps`."""
        return self._attribution(self.network.distribution(features), images, targets)

    def _attribution(self, found: CueDistribution, images: Tensor, targets: Tensor) -> Tensor:
        maps = found.subset(self.members[targets])
        return normalize(resize(maps, images.shape[-2:]))

    def explain_all(self, images: Tensor) -> Explanation:
        """Compute attributions to all classes' supersets; see `SaliencyModule.explain_all`."""
        features = self.network.features(images)
        found = self.network.distribution(features)
        maps = resize(found.subsets(self.members), images.shape[-2:])
        return Explanation(normalize(maps), found.log_probs(), features)

    def training_step(self, batch: WSOLBatch, batch_idx: int) -> Tensor:
        """Compute the objective (Eq. 3-4 or 5-6) of the image labels."""
        images, labels = batch["image"], batch["label"]
        found = self.network.distribution(self.network.features(images))
        loss = self.loss(found.log_joint, labels, self._target_log_joint(images))
        self.log_losses(loss, {self.loss.objective: loss}, len(labels))
        accuracy = (found.log_probs().argmax(1) == labels).float().mean()
        self.log_means({"train/accuracy": accuracy}, len(labels), on_step=False)
        return loss

    def _target_log_joint(self, images: Tensor) -> Tensor | None:
        """Compute log p(y, z|x) with the parameters theta'; None if those are the current ones."""
        if self.target_network is None:
            return None
        with torch.no_grad():
            target = self.target_network
            return target.distribution(target.features(images)).log_joint

    def on_train_epoch_start(self) -> None:
        """Set the random state and, with ``em_target="epoch"``, theta' = theta."""
        super().on_train_epoch_start()
        if self.em_target == "epoch":
            self.target_network.load_state_dict(self.network.state_dict())

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then update the moving average."""
        super().optimizer_step(*args, **kwargs)
        if self.em_target == "ema":
            self.update_average()

    @torch.no_grad()
    def update_average(self) -> None:
        """Update the moving average: theta' becomes decay theta' + (1 - decay) theta."""
        pairs = zip(self.target_network.parameters(), self.network.parameters(), strict=True)
        for average, current in pairs:
            average.lerp_(current, 1 - self.ema_decay)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Group what is trained by its learning rate; see `rate_groups`."""
        return rate_groups(self.network, self.head_lr_factor, self.layer_decay, self.slow_layers)


def _copy(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).requires_grad_(False)

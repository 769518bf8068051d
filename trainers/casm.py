"""Training of CASM, whose mask network has to hide the evidence from a family of classifiers."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.func import functional_call

from learned_saliency.attribution import frozen
from learned_saliency.datamodules import WSOLBatch
from learned_saliency.losses import CASMLoss, casm_classifier_loss
from learned_saliency.models import CASM, MultiScaleClassifier
from learned_saliency.ops import full_precision
from learned_saliency.storage import fit_state_dict, read_weights
from learned_saliency.trainers.base import SaliencyModule
from learned_saliency.trainers.casm_files import FILES, SNAPSHOTS, Snapshot, SnapshotFiles
from learned_saliency.trainers.casm_pool import SnapshotPool
from learned_saliency.trainers.outputs import Explanation, NativeMap
from learned_saliency.trainers.strategies.ddp import broadcast_buffers
from learned_saliency.trainers.training import OptimizerFactory, SchedulerFactory

_POOL = "pool"  # folder of the snapshots, beside the checkpoints
_OF_GIVEN = "model."  # before the names of a given network's weights, see `LeveledClassifier`


class CleanPass(NamedTuple):
    """Output of the classifier for clean images, without a graph: levels and logits (B, C)."""

    levels: list[Tensor]
    logits: Tensor
    loss: Tensor


class CASMModule(SaliencyModule):
    """Module that trains a mask network beside its classifiers (Zolna, Geras and Cho, Alg. 1).

    The order of one iteration over a batch, under manual optimization:

    1. Where the pool's thinning asks for it, a copy of the current classifier is stored.
    2. The current classifier sees the clean images. Its optimizer steps on the cross-entropy
       (first term of Eq. 8).
    3. The mask network gives masks, from the levels of that same pass where the encoder is shared.
       One classifier is drawn: the current one, after step 2, or one from the pool. The drawn
       classifier sees the masked-out images, images * (1 - mask), where 0 is the mean color.
    4. The gradient of the mask objective (Eq. 7) on the mask is taken, through the drawn classifier
       with the weights that it was drawn with.
    5. Where the current classifier was drawn, its optimizer steps on the masked-out images'
       cross-entropy (second term of Eq. 8).
    6. The mask network's optimizer steps with the gradient of step 4, its norm clipped.

    Thinning ``F`` freezes the classifier: steps 2 and 5 are left out, and the pool may hold other
    networks of its architecture, which are frozen likewise. There the class of an image
    may be unknown, and what the classifier predicts for the clean image stands for it. Stored
    classifiers are evaluated with their own BatchNorm statistics, the current one with the batch's
    statistics.

    With ``Trainer(accumulate_grad_batches=n)`` an iteration covers n batches: each of the steps 2,
    5 and 6 has the gradient of all n batches, and all of them meet the same drawn classifier.

    Departure from the released code: there step 6 differentiates after step 5 has changed the
    weights, which current torch refuses. Taking the gradient before step 5 is what was meant.

    In multi-label tasks the cross-entropies are binary ones, and of the scores only that of the
    classification loss has a meaning, see `negative_entropy`.

    Args:
        network: A `models.CASM` around a trained classifier.
        pool: Stored classifiers. Its draws follow the iterations, so a pool serves one training.
        loss: Objective of the mask network.
        classifier_optimizer: Factory of the classifier's optimizer, given parameter groups.
        classifier_scheduler: Factory of this optimizer's scheduler, stepped once per epoch.
        gradient_clip: Largest norm of the mask network's gradient, above 0.
        **options: See `SaliencyModule`; ``optimizer`` and ``scheduler`` are the mask network's.

    Raises:
        ValueError: If ``gradient_clip`` is not above 0, or the loss's score is not defined for the
            task.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"multiclass", "multilabel"})
    for_given: ClassVar[Mapping[str, Any]] = {"thinning": "F"}
    network: CASM

    def __init__(
        self,
        *,
        network: CASM,
        pool: SnapshotPool,
        loss: CASMLoss,
        classifier_optimizer: OptimizerFactory,
        classifier_scheduler: SchedulerFactory | None = None,
        gradient_clip: float = 10.0,
        **options: Any,
    ) -> None:
        super().__init__(network=network, **options)
        if not gradient_clip > 0:
            raise ValueError(f"gradient_clip must be above 0, got {gradient_clip}")
        if not self.task.exclusive:
            one = torch.zeros(1, 1)
            loss.score(one, one, one.bool())  # raises where it has no meaning
        self.automatic_optimization = False
        self.pool = pool
        self.loss = loss
        self.gradient_clip = gradient_clip
        self._classifier_optimizer = classifier_optimizer
        self._classifier_scheduler = classifier_scheduler
        self._batches_an_iteration = 1
        self._batches: list[WSOLBatch] = []
        if not pool.trains:
            network.freeze_classifier()

    @property
    def classifier(self) -> MultiScaleClassifier:
        """The current classifier."""
        return self.network.classifier

    @property
    def native(self) -> NativeMap:
        """Mask that hides the evidence of every class; its values are the part of a pixel taken."""
        return NativeMap(per_class=False, probabilities=False, in_parts=True)

    @property
    def compile_obstacle(self) -> str | None:
        """Tell that steps 4 and 5 need one graph twice, and that the pool's weights take turns."""
        return (
            "its step goes back through one pass of the classifier twice, which compiled code does "
            "not allow, and puts other weights into it"
        )

    @property
    def shard_obstacle(self) -> str | None:
        """Tell that the pool's weights take turns in the classifier."""
        return "it puts the weights of earlier classifiers into its trunk in turn"

    def explain(self, images: Tensor, labels: Tensor | None) -> Explanation:
        """Compute masks, the same for every class; see `SaliencyModule.explain`."""
        output = self.network(images)
        return Explanation(output.saliency, output.logits, output.levels[-1])

    def on_fit_start(self) -> None:
        """Read the networks of the pool, unless a checkpoint has brought them."""
        super().on_fit_start()
        self.pool.open(self.classifier.state_dict(), self.device)
        if len(self.pool):
            return
        for path in self.pool.networks:
            wanted = {k.removeprefix(_OF_GIVEN): v for k, v in self.classifier.state_dict().items()}
            found = fit_state_dict(read_weights(Path(path).expanduser()), wanted).state
            # in the strides of the current classifier, by which some CPUs round differently
            laid = {k: torch.empty_like(wanted[k]).copy_(value) for k, value in found.items()}
            self.pool.take({f"{_OF_GIVEN}{name}": value for name, value in laid.items()})

    def configure_callbacks(self) -> list[Any]:
        """Take over the trainer's accumulation of batches, which manual optimization leaves out.

        Lightning calls this hook before it refuses the combination.
        """
        self._batches_an_iteration = self.trainer.accumulate_grad_batches
        self.trainer.accumulate_grad_batches = 1
        return []

    def configure_optimizers(self) -> list[dict[str, Any]]:
        """Build optimizer and scheduler of the mask network, then those of a trained classifier."""
        configured = [super().configure_optimizers()]
        if self.pool.trains:
            parameters = [{"params": self._trained_classifier()}]
            found = {"optimizer": self._classifier_optimizer(parameters)}
            if self._classifier_scheduler is not None:
                found["lr_scheduler"] = self._classifier_scheduler(found["optimizer"])
            configured.append(found)
        return configured

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the mask network's parameters."""
        return [{"params": list(self.network.mask_parameters())}]

    def _trained_classifier(self) -> list[nn.Parameter]:
        """List the classifier's parameters but those of a frozen backbone."""
        return [weight for weight in self.classifier.parameters() if weight.requires_grad]

    @property
    def accumulates(self) -> bool:
        """Tell whether an iteration waits for further batches."""
        return bool(self._batches)

    def training_step(self, batch: WSOLBatch, batch_idx: int) -> None:
        """Run one iteration once its batches are there; the class docstring numbers its steps."""
        self._batches.append(batch)
        if len(self._batches) < self._batches_an_iteration and not self.trainer.is_last_batch:
            return
        batches, self._batches = self._batches, []
        images = sum(len(b["label"]) for b in batches)
        shares = [len(b["label"]) / images for b in batches]
        mask_optimizer, *classifier_optimizers = self._optimizers()

        if self.pool.is_due():
            broadcast_buffers(self.classifier)  # each process has BatchNorm statistics of its own
            self.pool.take(self.classifier.state_dict())
        last = len(batches) - 1
        clean = [self._clean_pass(b, shares[i], i == last) for i, b in enumerate(batches)]
        for optimizer in classifier_optimizers:
            _step(optimizer)
        drawn = self.pool.draw(self.device)
        for i, b in enumerate(batches):
            self._masked_pass(b, clean[i], drawn, shares[i], i == last)
        if drawn is None:
            for optimizer in classifier_optimizers:
                _step(optimizer)
        _step(mask_optimizer)

    def _clean_pass(self, batch: WSOLBatch, share: float, last: bool) -> CleanPass:
        """Classify clean images and add the gradient of their cross-entropy (step 2)."""
        with torch.set_grad_enabled(self.pool.trains):
            levels = self.classifier.levels(batch["image"])
            logits = self.classifier.head(levels[-1])
            targets = self.task.known_truth(batch, logits)
            loss = casm_classifier_loss(targets, clean_logits=logits)
        if self.pool.trains:
            self._backward(loss * share, last)
        return CleanPass([level.detach() for level in levels], logits.detach(), loss.detach())

    def _masked_pass(
        self,
        batch: WSOLBatch,
        clean: CleanPass,
        drawn: Snapshot | None,
        share: float,
        last: bool,
    ) -> None:
        """Add the gradients of a drawn classifier that sees masked-out images (steps 3 to 6)."""
        images = batch["image"]
        targets = self.task.known_truth(batch, clean.logits)
        saliency = self.network.masks(images, clean.levels)
        mask = saliency.detach().requires_grad_()  # where the graph of the classifier ends
        masked = (images * (1 - mask[:, None])).to(images.dtype)
        logits = self._classify(masked, drawn)
        terms = self.loss(mask, clean.logits, logits, targets)
        loss = casm_classifier_loss(targets, masked_logits=logits)
        learns = drawn is None and self.pool.trains
        gradient = self._gradient(terms.total * share, mask, retain_graph=learns)
        if learns:
            self._backward(loss * share, last, inputs=self._trained_classifier())
        self._backward(saliency, last, gradient=gradient)
        parts = {"clean": clean.loss, "masked": loss, **terms.parts()}
        self.log_losses(terms.total, parts, len(images))
        self.log_means({"train/map_mean": mask.mean()}, len(images))

    def _classify(self, images: Tensor, drawn: Snapshot | None) -> Tensor:
        """Compute logits (B, C) by the current classifier, or a stored one in evaluation mode."""
        if drawn is None:
            return self.classifier(images)
        with frozen(self.classifier):
            return functional_call(self.classifier, drawn, (images,))

    def _gradient(self, loss: Tensor, mask: Tensor, retain_graph: bool) -> Tensor:
        """Compute the gradient of a scalar by the mask alone, loss-scaled under half precision."""
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        scaled = loss if scaler is None else scaler.scale(loss)
        with full_precision(mask.device):
            (gradient,) = torch.autograd.grad(scaled, mask, retain_graph=retain_graph)
        return gradient if scaler is None else gradient / scaler.get_scale()

    def _backward(self, tensor: Tensor, last: bool, **options: Any) -> None:
        """Differentiate; send other processes only the sum of several batches' gradients."""
        strategy = self.trainer.strategy
        waits = not last and hasattr(strategy, "block_backward_sync")
        held = strategy.block_backward_sync() if waits else nullcontext()
        with held, full_precision(tensor.device):  # as under automatic optimization
            self.manual_backward(tensor, **options)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip the mask network's gradient, which has its true scale here in any precision."""
        if optimizer is self.trainer.optimizers[0]:
            parameters = list(self.network.mask_parameters())
            torch.nn.utils.clip_grad_norm_(parameters, self.gradient_clip)

    def _optimizers(self) -> list[LightningOptimizer]:
        found = self.optimizers()
        return found if isinstance(found, list) else [found]

    def on_train_epoch_end(self) -> None:
        """Log means and learning rates, then step the schedulers."""
        super().on_train_epoch_end()
        _, *classifier_optimizers = self._optimizers()
        for optimizer in classifier_optimizers:
            self.log("train/lr_classifier", optimizer.param_groups[0]["lr"], sync_dist=True)
        schedulers = self.lr_schedulers() or []
        for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
            scheduler.step()

    def keep_files(self, folder: Path) -> None:
        """Keep the pool's snapshots as files; see `SnapshotPool.keep_in`."""
        self.pool.keep_in(folder / _POOL)

    def check_files(self, folder: Path, checkpoint: Mapping[str, Any]) -> None:
        """Check that the files of the snapshots are there; see the base."""
        SnapshotFiles(folder / _POOL).check(checkpoint[SNAPSHOTS].get(FILES, []))

    def drop_files(self) -> None:
        """Remove the files of snapshots that no checkpoint names any more."""
        self.pool.drop_unused()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the pool."""
        checkpoint[SNAPSHOTS] = self.pool.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the pool."""
        self.pool.load_state_dict(checkpoint[SNAPSHOTS])


def _step(optimizer: LightningOptimizer) -> None:
    optimizer.step()
    optimizer.zero_grad()

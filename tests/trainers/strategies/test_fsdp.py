"""Two processes share a frozen trunk out: what they learn is what they learn with DDP."""

import lightning as L
import pytest
import torch
from torch import nn

from learned_saliency.losses import CALMLoss
from learned_saliency.models import CALM, CAMClassifier
from learned_saliency.trainers import CALMModule, ExactEvaluationDDP, ShardedTrunkDDP
from tests.support.learned import CLASSES, SGD, cut, fit, make_batches, make_module
from tests.support.networks import TinyBackbone
from tests.support.two_processes import run_on_two

SHARED = ("fcam", "trilite", "amortized", "rtis")


class Watch(L.Callback):
    """Notes what a process holds of the trunk after a step, and the state that it would save."""

    def __init__(self):
        self.found = {}

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        weights = module.classifier.backbone.parameters()
        self.found[f"held{batch_idx}"] = sum(weight.nbytes for weight in weights)
        shared = getattr(trainer.strategy, "_shared", None)
        self.found["share"] = shared and shared.share
        if batch_idx == 1:  # the next step lets go again of what is gathered here
            state = trainer.strategy.lightning_module_state_dict()
            self.found["kept"] = {name: value.clone() for name, value in state.items()}
            self.found["loss"] = outputs["loss"].detach()


def train_in_process(rank, folder):
    """Train each method on half of every batch by both strategies."""
    for method in SHARED:
        halves = cut(make_batches(8, 8), 4, 4, 4, 4)[rank::2] + cut(make_batches(8), 4, 4)[rank::2]
        for strategy in (ExactEvaluationDDP, ShardedTrunkDDP):
            module, watch = make_module(method), Watch()
            trunk = module.classifier.backbone
            before = {name: value.clone() for name, value in trunk.named_parameters()}
            strides = {name: value.stride() for name, value in trunk.named_parameters()}
            options = {"devices": 2, "strategy": strategy(), "callbacks": [watch]}
            fit(module, halves, use_distributed_sampler=False, **options)
            assert "forward" not in vars(trunk)
            for name, value in trunk.named_parameters():  # whole again, to the bit
                assert torch.equal(value, before[name]), name
                assert value.stride() == strides[name], name
            found = {"state": {**module.state_dict()}, "watch": watch.found}
            torch.save(found, folder / f"{method}-{strategy.__name__}{rank}.pt")


def exactly(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_shares_change_nothing_but_the_memory(tmp_path):
    run_on_two(train_in_process, tmp_path)
    for method in SHARED:
        ddp, shared = (
            [torch.load(tmp_path / f"{method}-{name}{rank}.pt") for rank in range(2)]
            for name in ("ExactEvaluationDDP", "ShardedTrunkDDP")
        )
        total = sum(p.nbytes for p in make_module(method).classifier.backbone.parameters())
        for rank in range(2):
            found = shared[rank]["watch"]
            assert ddp[rank]["watch"]["held2"] == total
            assert [found[f"held{step}"] for step in range(3)] == [0, 0, 0], method
            for name in ("loss", "kept"):
                exactly(found[name], ddp[rank]["watch"][name])
            exactly(shared[rank]["state"], ddp[rank]["state"])
        shares = [shared[rank]["watch"]["share"] for rank in range(2)]
        assert sum(shares) == total
        assert max(shares) < 0.7 * total, method


class Keep(L.Callback):
    """Writes a checkpoint after the first epoch, while the trunk is shared out."""

    def __init__(self, path):
        self.path = path

    def on_train_epoch_end(self, trainer, module):
        if trainer.current_epoch == 0:
            assert not any(p.numel() for p in module.classifier.backbone.parameters())
            trainer.save_checkpoint(self.path)


def resume_in_process(rank, folder):
    """Train two epochs, and the second one again from the checkpoint of the first."""
    halves = cut(make_batches(8, 8), 4, 4, 4, 4)[rank::2]
    options = {"devices": 2, "use_distributed_sampler": False, "epochs": 2}
    whole, resumed = make_module("trilite"), make_module("trilite")
    keep = Keep(folder / "first.ckpt")
    fit(whole, halves, strategy=ShardedTrunkDDP(), callbacks=[keep], **options)
    fit(resumed, halves, strategy=ShardedTrunkDDP(), resume=keep.path, **options)
    found = {"whole": whole.state_dict(), "resumed": resumed.state_dict()}
    torch.save(found, folder / f"{rank}.pt")


def test_a_run_goes_on_from_a_checkpoint_that_was_written_between_its_steps(tmp_path):
    run_on_two(resume_in_process, tmp_path)
    first = torch.load(tmp_path / "first.ckpt", weights_only=True)["state_dict"]
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        exactly(found["resumed"], found["whole"])
        assert any(not torch.equal(value, found["whole"][name]) for name, value in first.items())


def calm(**options):
    classifier = CAMClassifier(TinyBackbone().requires_grad_(False), CLASSES)
    loss = CALMLoss("em")
    return CALMModule(network=CALM(classifier), loss=loss, optimizer=SGD, **options)


@pytest.mark.parametrize(
    ("module", "obstacle"),
    [
        (lambda: make_module("cam"), "its trunk is trained"),
        (lambda: make_module("calm"), "its trunk is trained"),
        (lambda: calm(em_target="ema"), "a copy of the network"),
        (lambda: make_module("casm"), "weights of earlier classifiers"),
        (lambda: make_module("fcam"), None),
        (calm, None),
    ],
)
def test_a_module_declares_why_its_trunk_cannot_be_shared_out(module, obstacle):
    found = module().shard_obstacle
    assert found is None if obstacle is None else obstacle in found


def test_pseudo_labels_from_more_than_the_last_features_keep_the_trunk_whole():
    module = make_module("fcam")
    module.seed_method.export_obstacle = "its maps need gradients of every layer"
    assert "every layer" in module.shard_obstacle
    module.classifier.backbone = nn.Identity()  # as that of a given network, without weights
    module.classifier.backbone.channels = [6]
    assert "given network" in module.shard_obstacle

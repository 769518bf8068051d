"""A training over shards on two processes, ended in mid-epoch: each sample once per epoch."""

import json

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from learned_saliency.datamodules import WebDatasetReader, WSOLDataModule
from learned_saliency.models import CAMClassifier
from learned_saliency.trainers import CAMModule, ExactEvaluationDDP
from tests.support.networks import SGD, TinyBackbone
from tests.support.tarred import shard_set
from tests.support.two_processes import run_on_two

QUIET = {
    **{"accelerator": "cpu", "logger": False, "inference_mode": False, "num_sanity_val_steps": 0},
    **{"enable_progress_bar": False, "enable_model_summary": False, "limit_val_batches": 0},
}


class Seen(L.Callback):
    """Notes the images of each epoch of the training, and those of the test."""

    def __init__(self):
        self.images = {}

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.images.setdefault(f"epoch {trainer.current_epoch}", []).extend(batch["image_id"])

    def on_test_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        self.images.setdefault("test", []).extend(batch["image_id"])


def make(folder):
    data = WSOLDataModule(
        *(folder / "set", folder / "metadata"),
        reader=WebDatasetReader(shuffle_window=6),
        **{"resize_size": 16, "crop_size": 16, "batch_size": 4},
    )
    torch.manual_seed(0)
    return CAMModule(network=CAMClassifier(TinyBackbone(), 2), optimizer=SGD), data


def train_in_process(rank, folder):
    """Take the first of three steps of the second epoch, begin anew and go on, and test."""
    seen = Seen()
    for options in ({"max_steps": 4}, {"max_epochs": 2}):
        module, data = make(folder)
        kept = ModelCheckpoint(folder, "{step}", every_n_train_steps=4, save_top_k=-1)
        path = folder / "step=4.ckpt" if "max_epochs" in options else None
        pair = {"devices": 2, "strategy": ExactEvaluationDDP(), "callbacks": [seen, kept]}
        trainer = L.Trainer(**QUIET, **pair, **options)
        trainer.fit(module, data, ckpt_path=path, weights_only=True)
    trainer.test(module, data, verbose=False)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    (folder / f"{rank}.json").write_text(json.dumps([seen.images, metrics]))
    torch.save(module.state_dict(), folder / f"{rank}.pt")


def test_each_sample_comes_once_per_epoch_and_once_in_the_test(tmp_path):
    shard_set(tmp_path / "set")
    run_on_two(train_in_process, tmp_path)
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    module, data = make(tmp_path)
    data.setup()
    for epoch in ("epoch 0", "epoch 1"):
        shares = [images[epoch] for images, _ in found]
        assert [len(share) for share in shares] == [12, 12]
        assert sorted(shares[0] + shares[1]) == data.image_ids("train")
    assert found[0][0]["epoch 0"] != found[0][0]["epoch 1"]
    shares = [images["test"] for images, _ in found]
    assert [len(share) for share in shares] == [3, 3]
    assert sorted(shares[0] + shares[1]) == data.image_ids("test")
    module.load_state_dict(torch.load(tmp_path / "0.pt", weights_only=True))
    trainer = L.Trainer(**QUIET, enable_checkpointing=False)
    trainer.test(module, data, verbose=False)
    alone = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert alone
    for _, metrics in found:
        torch.testing.assert_close({name: metrics[name] for name in alone}, alone)

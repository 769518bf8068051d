"""The data module under a trainer: interrupted training, prediction, overfitting."""

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from tests.support.tiny import tiny_data


class _Recorder(lightning.LightningModule):
    """Notes which images a run trains on and how they look."""

    def __init__(self, stop_at=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.stop_at = stop_at
        self.seen = []

    def training_step(self, batch, batch_idx):
        if self.global_step == self.stop_at:
            raise InterruptedError
        self.seen.append((self.current_epoch, batch["image_id"], batch["image"].sum().item()))
        return self.weight * batch["image"].mean()

    def predict_step(self, batch, batch_idx):
        return batch["image_id"]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def _fit(folder, tmp_path, *, stop_at=None, resume=None, every=2, workers=0, **options):
    trainer = lightning.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        callbacks=[ModelCheckpoint(tmp_path, save_last=True, every_n_train_steps=every)],
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        limit_val_batches=0,
        **options,
    )
    model = _Recorder(stop_at)
    trainer.fit(model, datamodule=tiny_data(folder, num_workers=workers), ckpt_path=resume)
    return model.seen


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("every", "stop_at", "resumed_at", "workers"),
    [(2, 5, 4, 0), (3, 5, 3, 0), (3, 7, 6, 2), (5, 6, 5, 2)],
)
def test_interrupted_training_goes_on_as_if_it_had_not_stopped(
    tiny, tmp_path, every, stop_at, resumed_at, workers
):
    folder = tiny()
    whole = _fit(folder, tmp_path / "whole")
    assert len(whole) == 9  # three batches an epoch
    with pytest.raises(InterruptedError):
        _fit(folder, tmp_path / "cut", stop_at=stop_at, every=every, workers=workers)
    checkpoint = tmp_path / "cut" / "last.ckpt"
    rest = _fit(folder, tmp_path / "cut", resume=checkpoint, every=every, workers=workers)
    assert rest == whole[resumed_at:]


@pytest.mark.filterwarnings("ignore")
def test_lightning_predicts_each_image_once_and_can_overfit(tiny, tmp_path):
    folder = tiny()
    seen = _fit(folder, tmp_path, overfit_batches=1)
    assert [ids for _, ids, _ in seen] == [[f"train/{i}.png" for i in range(4)]] * 3
    trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    predicted = trainer.predict(_Recorder(), datamodule=tiny_data(folder))
    assert [image_id for ids in predicted for image_id in ids] == [
        f"test/{i}.png" for i in range(7)
    ]

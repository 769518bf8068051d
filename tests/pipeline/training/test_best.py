"""Choice of the epoch that is kept as the best."""

import pytest
import torch

from learned_saliency.pipeline.training.best import KeepBest


class Saver:
    """Trainer that notes the epochs that it is asked to save."""

    def __init__(self):
        self.saved, self.callback_metrics, self.sanity_checking = [], {}, False

    def save_checkpoint(self, path, weights_only):
        path.touch()
        self.saved.append(self.epoch)

    def run(self, keep, values):
        for self.epoch, value in enumerate(values):
            if value is not None:
                self.callback_metrics["val/native/x"] = torch.tensor(value)
                keep.on_validation_end(self, None)
            self.current_epoch = self.epoch
            keep.on_train_epoch_end(self, None)
        return self.saved


@pytest.mark.parametrize(
    ("values", "higher_is_better", "saved"),
    [
        ([0.5, 0.7, 0.6, 0.7], True, [0, 1]),
        ([0.5, 0.7, 0.6, 0.4], False, [0, 3]),
        ([None, 0.2, None, 0.3], True, [0, 1, 3]),  # validated every second epoch
        ([None, None], True, [0, 1]),  # never
    ],
)
def test_the_best_epoch_is_kept_or_the_last_where_nothing_chooses(
    values, higher_is_better, saved, tmp_path
):
    keep = KeepBest(tmp_path / "best.ckpt", "val/native/x", higher_is_better)
    assert Saver().run(keep, values) == saved
    assert (keep.score is None) == (values == [None, None])
    assert keep.curve == pytest.approx({k: v for k, v in enumerate(values) if v is not None})


def test_a_score_counts_as_long_as_its_file_is_there(tmp_path):
    keep = KeepBest(tmp_path / "a" / "best.ckpt", "val/native/x")
    keep.load_state_dict({"score": 0.9, "values": {}, "best": None})
    assert keep.score is None
    keep.path.parent.mkdir()
    keep.path.touch()
    keep.load_state_dict({"score": 0.9, "values": {}, "best": None})
    assert Saver().run(keep, [0.8]) == []
    assert keep.curve is None  # the run was begun before curves were kept


def test_a_state_holds_no_path(tmp_path):
    keep = KeepBest(tmp_path / "best.ckpt", "val/native/x")
    state = {"monitor": "val/native/x", "score": None, "values": {}, "best": None, "curve": {}}
    assert keep.state_dict() == state
    assert str(tmp_path) not in keep.state_key

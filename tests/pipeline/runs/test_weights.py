"""The one reader of files of weights."""

import pytest
import torch
from safetensors.torch import save_file

from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.runs.weights import find_state_dict, read_weights

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.zeros(2)}


def test_both_kinds_of_files_give_the_same(tmp_path):
    save_file(STATE, tmp_path / "a.safetensors")
    torch.save(STATE, tmp_path / "a.pt")
    for path in tmp_path.iterdir():
        torch.testing.assert_close(read_weights(path, "file"), STATE)


@pytest.mark.parametrize("keys", [[], ["state_dict"], ["model"], ["model_state_dict"]])
def test_state_dicts_are_found_below_the_usual_keys(tmp_path, keys):
    content = STATE
    for key in keys:
        content = {key: content, "epoch": 3}
    torch.save(content, tmp_path / "a.pt")
    assert find_state_dict(read_weights(tmp_path / "a.pt", "file"), "file").keys() == STATE.keys()


@pytest.mark.parametrize(
    "content", [{}, [1], None, {"a": 1}, {3: torch.zeros(1)}, {"state_dict": {"a": [1]}}]
)
def test_what_is_no_state_dict_is_told(content):
    with pytest.raises(UserError, match=r"^weights=x: holds no state dict"):
        find_state_dict(content, "weights=x")


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt"])
def test_missing_and_damaged_files_are_one_sentence(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(UserError, match=r"^weights=x: there is no such file\.$"):
        read_weights(path, "weights=x")
    for content in (b"\x00" * 20, b"no weights", b"\xff" * 100):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"^weights=x: truncated") as told:
            read_weights(path, "weights=x")
        assert "\n" not in str(told.value)

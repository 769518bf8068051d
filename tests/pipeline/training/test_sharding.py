"""`trainer=fsdp`: refused where a trunk cannot be shared out, before the run has a folder."""

from types import SimpleNamespace

import pytest

from learned_saliency.pipeline.cli import UserError, compose_checked
from learned_saliency.pipeline.training.sharding import check_sharding

FSDP = ["trainer=fsdp", "trainer.accelerator=cpu", "trainer.precision=32-true"]
FREE = SimpleNamespace(shard_obstacle=None)
HELD = SimpleNamespace(shard_obstacle="its trunk is trained")


@pytest.mark.parametrize(
    ("words", "module", "told"),
    [
        (
            ["model=casm"],
            HELD,
            "training of model=casm cannot share .* its trunk is trained",
        ),
        (["feature_cache=kept"], FREE, "feature_cache=kept: goes without trainer=fsdp"),
        (["trainer.compile=default"], FREE, r"trainer\.compile=default: goes without trainer=fsdp"),
    ],
)
def test_what_cannot_be_shared_out_is_refused(words, module, told):
    config = compose_checked([*FSDP, *words])
    with pytest.raises(UserError, match=told):
        check_sharding(config, {"": module})


def test_a_first_stage_is_trained_as_by_ddp(capsys):
    check_sharding(compose_checked([*FSDP, "model=fcam"]), {"classifier": HELD, "": FREE})
    assert capsys.readouterr().err == (
        "classifier: cam is trained as by trainer=ddp: its trunk is trained\n"
    )


@pytest.mark.parametrize("trainer", [["trainer=ddp"], []])
def test_other_trainers_share_nothing_out(trainer):
    check_sharding(compose_checked([*trainer, "model=casm", "feature_cache=kept"]), {"": HELD})

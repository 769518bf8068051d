"""Files from strangers: code in them does not run, and what is wrong is told in one sentence."""

import io
import json
import pickle
import zipfile

import pytest
import torch
from PIL import Image

from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.cli.entry import run_or_exit
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.commands.evaluate import evaluation_words
from learned_saliency.pipeline.conversion.convert import convert
from learned_saliency.pipeline.conversion.published import read_published
from learned_saliency.pipeline.evaluation.evaluate import evaluate
from learned_saliency.pipeline.export.export import export
from learned_saliency.pipeline.runs.checkpoints import (
    load_module,
    read_checkpoint,
    untrained_network,
)
from learned_saliency.pipeline.training.fit import train
from tests.support.untrained import untrained_run
from tests.support.words import SMALL_RUN


@pytest.fixture(scope="module")
def run(creatures, tmp_path_factory):
    return untrained_run(creatures, tmp_path_factory.mktemp("run") / "run", "model=cam")


@pytest.fixture
def content(run):
    return torch.load(run / "checkpoints/best.ckpt", weights_only=True)


@pytest.fixture
def marker(tmp_path):
    """A file that exists once somebody's code has run."""
    return tmp_path / "ran"


class Payload:
    """Unpickled, it creates a file."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return open, (self.marker, "w")


def saved(content, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path, **options)
    return path


def readers(path, tmp_path):
    """Everything that reads a checkpoint, as its entry point calls it."""
    out = f"output_dir={tmp_path}/out"
    evaluation = evaluation_words([f"checkpoint={path}", "methods=[native]", out])
    return {
        "read_checkpoint": lambda: read_checkpoint(path),
        "export": lambda: export(compose_checked([f"checkpoint={path}"], "export")),
        "evaluate": lambda: evaluate(compose_checked(evaluation, "evaluate", complete=False)),
        "train": lambda: train(compose_checked([*SMALL_RUN, f"classifier={path}", out])),
        "resume": lambda: train(compose_checked([*SMALL_RUN, f"resume={path}", out])),
        "convert": lambda: convert(
            compose_checked([*SMALL_RUN, f"published={path}", out], "convert")
        ),
    }


@pytest.mark.parametrize(
    "reader", ["read_checkpoint", "export", "evaluate", "train", "resume", "convert"]
)
@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_does_not_run(content, marker, tmp_path, reader, zipped):
    path = tmp_path / "checkpoints" / "evil.ckpt"
    saved(content | {"hello": Payload(marker)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        UserError, match=r"evil\.ckpt: not loaded, it holds more than weights \(_?io\.open"
    ):
        readers(path, tmp_path)[reader]()
    assert not marker.exists()
    torch.load(path, weights_only=False)  # the payload is one
    assert marker.exists()


def test_a_bare_pickle_with_code_does_not_run(marker, tmp_path):
    for protocol in range(6):
        path = tmp_path / f"{protocol}.ckpt"
        path.write_bytes(pickle.dumps(Payload(marker), protocol))
        with pytest.raises(UserError, match=r"\.ckpt: (not loaded|truncated)"):
            read_checkpoint(path)
        with pytest.raises(UserError, match=r"\.ckpt: (not loaded|truncated)"):
            read_published([path])
    assert not marker.exists()


FOREIGN = {
    "network": lambda c, bad: c["model"]["network"].update(bad),
    "data": lambda c, bad: c["data"].update(bad),
    "optimizer": lambda c, bad: c["model"]["module"]["optimizer"].update(bad),
    "in a list": lambda c, bad: c["model"].update(more=[1, [dict(bad)]]),
    "in arguments": lambda c, bad: c["model"]["network"].update(_args_=[{"x": dict(bad)}]),
    "beside the model": lambda c, bad: c.update(anything={"deep": {"down": dict(bad)}}),
}


@pytest.mark.parametrize("place", FOREIGN)
@pytest.mark.parametrize("reader", ["read_checkpoint", "export", "evaluate", "train", "resume"])
def test_a_foreign_target_is_refused(content, marker, tmp_path, place, reader):
    bad = {"_target_": "builtins.open", "file": str(marker), "mode": "w"}
    FOREIGN[place](content["run"]["config"], bad)
    path = saved(content, tmp_path / "checkpoints" / "evil.ckpt")
    with pytest.raises(UserError, match=r"evil\.ckpt: its configuration names 'builtins\.open'"):
        readers(path, tmp_path)[reader]()
    assert not marker.exists()


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "subprocess.run",
        "hydra.utils.call",
        "torch.load",
        "torch.optim.sgd.torch.load",
        "torch.optim.lr_scheduler.partial",
        "models.cam.timm.create_model",
        "pipeline.runs.third_party.third_party_network",
        "trainers.base.torch.load",
        "trainers",
        "",
        ["os.system"],
        {"_target_": "os.system"},
        7,
    ],
)
def test_targets_are_names_of_this_project_and_nothing_below_them(content, tmp_path, target):
    content["run"]["config"]["model"]["network"]["_target_"] = target
    with pytest.raises(UserError, match="neither a part of this project nor an optimizer"):
        read_checkpoint(saved(content, tmp_path / "x.ckpt"))


@pytest.mark.parametrize(
    "value", ["${oc.env:SECRET}", "a ${oc.env:SECRET} b", "${seed}", "${hydra:runtime.cwd}"]
)
def test_a_configuration_does_not_look_around(content, tmp_path, monkeypatch, value):
    monkeypatch.setenv("SECRET", "the secret")
    content["run"]["config"]["output_dir"] = value
    path = saved(content, tmp_path / "x.ckpt")
    with pytest.raises(UserError, match="would be looked up on this machine") as told:
        read_checkpoint(path)
    assert "the secret" not in str(told.value)
    content["run"]["config"] = {"list": [[{"_target_": value}]], **content["run"]["config"]}
    with pytest.raises(UserError, match="not loaded"):
        read_checkpoint(saved(content, path))


def test_the_json_of_an_export_is_not_trusted_either(run, marker, tmp_path):
    words = [f"checkpoint={run}", "format=safetensors", f"out={tmp_path}"]
    made = export(compose_checked(words, "export"))
    facts = json.loads(made.facts.read_text())
    facts["config"]["model"]["network"] = {
        "_target_": "builtins.open",
        "file": str(marker),
        "mode": "w",
    }
    made.facts.write_text(json.dumps(facts))
    with pytest.raises(UserError, match=r"names 'builtins\.open'"):
        read_checkpoint(made.file)
    assert not marker.exists()


def test_a_backbone_does_not_load_another_file(content, marker, tmp_path):
    weights = saved({"x": Payload(marker)}, tmp_path / "weights.pth")
    backbone = content["run"]["config"]["model"]["network"]["backbone"]
    backbone |= {"pretrained": True, "checkpoint_path": str(weights)}
    load_module(read_checkpoint(saved(content, tmp_path / "x.ckpt")))
    weights.unlink()
    untrained_network(read_checkpoint(tmp_path / "x.ckpt"))
    assert not marker.exists()


def test_the_config_file_of_a_run_is_not_read(run, marker, tmp_path):
    """The record within the checkpoint counts."""
    folder = tmp_path / "run"
    saved(torch.load(run / "checkpoints/best.ckpt"), folder / "checkpoints" / "best.ckpt")
    target = {"_target_": "builtins.open", "file": str(marker), "mode": "w"}
    (folder / "config.yaml").write_text(json.dumps({"model": {"network": target}, "data": target}))
    export(compose_checked([f"checkpoint={folder}", "format=safetensors"], "export"))
    assert not marker.exists()


def damaged_files(good: bytes) -> dict[str, bytes]:
    picture, archive, pickled = io.BytesIO(), io.BytesIO(), io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a/data.pkl", b"no pickle")
    torch.save([torch.zeros(2)], pickled)
    lengths = [0, 1, 2, 3, 10, 100, 1000, 5000, len(good) // 2, len(good) - 100, len(good) - 1]
    return {f"cut at {length}": good[:length] for length in lengths} | {
        "text": b"import os\nos.system('true')\n" * 9,
        "digits": b"101\n" * 99,
        "json": b'{"config": 1}',
        "picture": picture.getvalue(),
        "zip": archive.getvalue(),
        "list": pickled.getvalue(),
        "zeros": bytes(5000),
    }


def test_damaged_and_foreign_files_are_one_sentence(run, tmp_path):
    good = (run / "checkpoints/best.ckpt").read_bytes()
    for name, data in damaged_files(good).items():
        path = tmp_path / "x.ckpt"
        path.write_bytes(data)
        for read in (read_checkpoint, lambda path: read_published([path])):
            with pytest.raises(UserError) as told:
                read(path)
            message = str(told.value)
            assert message.startswith(f"{path}: "), name
            assert "\n" not in message, name
            assert len(message) < len(str(path)) + 120, name
    for seed in range(40):
        noise = bytearray(good)
        places = torch.randint(0, 4000, (40,), generator=torch.Generator().manual_seed(seed))
        for place in places.tolist():
            noise[place] = (noise[place] + 1 + seed) % 256
        path.write_bytes(noise)
        try:
            read_checkpoint(path)
        except UserError as error:
            message = str(error)
            assert "\n" not in message


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["run"].pop("config"),
        lambda c: c["run"].update(config=None),
        lambda c: c["run"].update(config=[1, 2]),
        lambda c: c["run"].update(config={"model": 3}),
        lambda c: c["run"]["config"].pop("model"),
        lambda c: c["run"]["config"]["model"].pop("name"),
        lambda c: c["run"].update(stage="nothing"),
        lambda c: c["run"].update(num_classes="many"),
        lambda c: c["run"].pop("class_names"),
        lambda c: c.update(state_dict=[1]),
        lambda c: c.update(state_dict={"a": "b"}),
        lambda c: c.update(run="yes"),
    ],
)
def test_a_damaged_record_is_one_sentence(content, tmp_path, change):
    change(content)
    told = r"x\.ckpt: .*(record of its run|its configuration has|holds no weights by name)"
    with pytest.raises(UserError, match=told):
        read_checkpoint(saved(content, tmp_path / "x.ckpt"))


def test_keys_that_no_part_knows_are_told(content, tmp_path):
    content["run"]["config"]["model"]["module"]["brightness"] = 3
    with pytest.raises(UserError, match=r"x\.ckpt: its configuration is not of this version"):
        load_module(read_checkpoint(saved(content, tmp_path / "x.ckpt")))


def test_a_refusal_ends_with_code_2_and_one_line(content, marker, tmp_path, capsys):
    path = saved(content | {"hello": Payload(marker)}, tmp_path / "evil.ckpt")
    config = compose_checked([f"checkpoint={path}", f"out={tmp_path}/out"], "export")
    with pytest.raises(SystemExit) as ended:
        run_or_exit("export.py", lambda: export(config))
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith(f"export.py: {path}: not loaded")
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()

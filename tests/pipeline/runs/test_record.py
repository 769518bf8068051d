"""A record of a stranger asks for no more memory than its file holds, and is told in a sentence."""

import copy
import json
import time

import pytest
import torch

from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.export.export import export
from learned_saliency.pipeline.runs.checkpoints import (
    load_module,
    load_network,
    read_checkpoint,
)
from tests.support.untrained import untrained_run


@pytest.fixture(scope="module")
def runs(creatures, tmp_path_factory):
    top = tmp_path_factory.mktemp("runs")
    return {name: untrained_run(creatures, top / name, f"model={name}") for name in ("cam", "fcam")}


@pytest.fixture
def content(runs):
    return torch.load(runs["cam"] / "checkpoints/best.ckpt", weights_only=True)


@pytest.fixture
def refused(tmp_path):
    """A function that saves a content and gives the sentence with which it is refused."""

    def refusal(content, load=read_checkpoint):
        path = tmp_path / "theirs.ckpt"
        torch.save(content, path)
        with pytest.raises(UserError) as told:
            load(path)
        message = str(told.value)
        assert message.startswith(f"{path}: ")
        assert message.count("\n") == 0
        assert len(message) < len(str(path)) + 300
        return message.removeprefix(f"{path}: ")

    return refusal


def put(config, key, value):
    *groups, name = key.split(".")
    for group in groups:
        config = config[group]
    config[name] = value


@pytest.mark.parametrize(
    ("key", "value", "limit"),
    [
        ("data.crop_size", 200_000, "8,192"),
        ("data.resize_size", 10**12, "8,192"),
        ("data.crop_size", 0, "from 1"),
        ("data.crop_size", [32, 200_000], "8,192, or two of them, height and width"),
        ("data.crop_size", [32, 32, 32], "two of them"),
        ("data.batch_size", 10**9, "536,870,912"),
        ("data.eval_batch_size", 10**9, "536,870,912"),
        ("data.eval_batch_size", 2**29, "536,870,912 pixels"),
        ("data.num_workers", 10**6, "1,024"),
        ("data.num_classes", 10**9, "50,000"),
        ("data.reader.image_size", 10**6, "8,192"),
        ("data.reader.train_images", 10**9, "1,000,000"),
        ("data.reader.workers", 10**5, "1,024"),
        ("model.network.backbone.channels", [10**9], "65,536"),
        ("model.network.backbone.unstrided_stages", 10**7, "65,536"),
    ],
)
def test_sizes_have_limits_that_the_message_states(content, refused, key, value, limit):
    put(content["run"]["config"], key, value)
    message = refused(content)
    assert limit in message
    assert key in message


def test_a_data_set_to_render_has_a_limit(content, refused):
    reader = content["run"]["config"]["data"]["reader"]
    reader |= {"train_images": 900_000, "image_size": 4000}
    assert "10,000,000,000 pixels" in refused(content)


def test_numbers_of_classes_have_a_limit_and_are_compared(content, refused):
    record = content["run"]
    for number, told in [(10**9, "50,000"), (0, "50,000"), (17, "16 names"), ("many", "50,000")]:
        assert told in refused({**content, "run": {**record, "num_classes": number}})
    names = [f"c{i}" for i in range(40_000)]
    both = {**record, "num_classes": len(names), "class_names": names}
    assert "another model" in refused({**content, "run": both}, lambda p: load_module(read(p)))
    long = ["x" * 501, *record["class_names"][1:]]
    assert "500 characters" in refused({**content, "run": {**record, "class_names": long}})


def read(path):
    return read_checkpoint(path)


@pytest.mark.parametrize("load", [load_module, load_network])
@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("cam", "model.network.backbone.channels", [60_000] * 4),
        ("fcam", "model.network.widths", [60_000] * 4),
        ("fcam", "model.network.center", True),
    ],
)
def test_a_network_is_compared_with_the_weights_before_it_gets_memory(
    runs, refused, monkeypatch, load, name, key, value
):
    """These would take 100 GB and more."""
    content = torch.load(runs[name] / "checkpoints/best.ckpt", weights_only=True)
    put(content["run"]["config"], key, value)
    begun = time.monotonic()
    message = refused(content, lambda path: load(read_checkpoint(path)))
    assert "its weights are of another model" in message
    assert "network." in message
    assert time.monotonic() - begun < 30


def test_a_tensor_takes_no_more_than_the_file_holds(content, refused):
    state = content["state_dict"]
    for tensor in (
        torch.zeros(1).expand(10**12),
        torch.zeros(4).as_strided((10**5, 10**5), (0, 0)),
        torch.zeros(2, device="meta"),
        torch.zeros(2).to_sparse(),
    ):
        message = refused({**content, "state_dict": {**state, "network.fc.bias": tensor}})
        assert "'network.fc.bias'" in message
    shared = torch.zeros(200_000)
    many = {f"a{i}": shared[i:] for i in range(500)}
    assert "the file's own size" in refused({**content, "state_dict": state | many})


def nested(depth):
    node = 0
    for _ in range(depth):
        node = [node]
    return node


def bomb():
    """Ten levels of ten references each: 10^10 values in a file of some kilobytes."""
    node = ["x"] * 10
    for _ in range(10):
        node = [node] * 10
    return node


def loop():
    node = []
    node.append(node)
    return node


@pytest.mark.parametrize(
    "value",
    [nested(200), bomb(), loop(), "x" * 10**6, 10**30, torch.zeros(2), {1: 2}, {"a": {None: 1}}],
    ids=["deep", "bomb", "loop", "long", "large", "tensor", "number", "none"],
)
def test_records_are_plain_and_not_without_end(content, refused, value):
    record = content["run"]
    config = record["config"] | {"more": value}
    assert "the record of its run" in refused({**content, "run": record | {"config": config}})
    assert "the record of its run" in refused({**content, "run": record | {"more": value}})


@pytest.mark.parametrize("key", ["data", "recipe", "backbone", "seed", "data.mean", "data.name"])
def test_what_lacks_a_part_is_not_of_this_version(content, refused, key):
    config = content["run"]["config"]
    *groups, name = key.split(".")
    for group in groups:
        config = config[group]
    del config[name]
    message = refused(content)
    assert message.startswith("not of this version")
    assert key in message


@pytest.mark.parametrize(
    ("group", "key"), [("data", "brightness"), ("data.reader", "stars"), ("data.parts", "tails")]
)
def test_options_that_nothing_knows_are_not_of_this_version(content, refused, group, key):
    put(content["run"]["config"], f"{group}.{key}", 3)
    message = refused(content)
    assert message.startswith("not of this version")
    assert f"{group}.{key}" in message


def test_data_are_made_by_the_room_of_data_sets_alone(content, refused):
    """Other parts of the project may read, write and take memory when they are made."""
    for target in (
        "models.MultiScaleBackbone",
        "trainers.WandbDashboard",
        "datamodules.read_split",
    ):
        other = copy.deepcopy(content)
        other["run"]["config"]["data"]["reader"] = {"_target_": f"learned_saliency.{target}"}
        assert f"data.reader._target_=learned_saliency.{target}" in refused(other)


WRONG = [None, 3, -1, 2.5, "x", "", True, [], [1], {}, {"a": 1}, "???", float("nan")]
KEYS = [
    *("model", "model.name", "model.network", "model.module", "backbone", "backbone.name", "data"),
    *("data._target_", "data.name", "data.crop_size", "data.mean", "data.std", "data.center_crop"),
    *("data.reader", "data.batch_size", "seed", "recipe"),
]


@pytest.mark.parametrize("key", KEYS)
def test_wrong_types_are_one_sentence(content, tmp_path, key):
    path = tmp_path / "theirs.ckpt"
    for value in WRONG:
        other = copy.deepcopy(content)
        put(other["run"]["config"], key, value)
        torch.save(other, path)
        told = None
        try:
            load_module(read_checkpoint(path))
        except UserError as error:
            told = str(error)
        assert told is None or told.startswith(f"{path}: ")  # a value may be right


@pytest.mark.parametrize("key", ["config", "stage", "num_classes", "class_names"])
def test_wrong_types_in_the_record_are_one_sentence(content, tmp_path, key):
    path = tmp_path / "theirs.ckpt"
    for value in [*WRONG[:-1], ["a"] * 16, [1] * 16]:
        if (key, value) in (("stage", ""), ("class_names", ["a"] * 16)):
            continue
        torch.save({**content, "run": content["run"] | {key: value}}, path)
        with pytest.raises(UserError, match=r"theirs\.ckpt: "):
            read_checkpoint(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_named(content, refused, value):
    content["state_dict"]["network.fc.weight"][1, 2] = value
    message = refused(content, lambda path: load_module(read_checkpoint(path)))
    assert "'network.fc.weight'" in message
    assert "NaN or infinite" in message


def test_an_export_is_the_file_that_its_json_describes(runs, tmp_path):
    words = [f"checkpoint={runs['cam']}", "format=safetensors", f"out={tmp_path}"]
    made = export(compose_checked([*words, "verify=false"], "export"))
    read_checkpoint(made.file)
    whole = made.file.read_bytes()
    damaged = bytearray(whole)
    damaged[-200:-136] = bytes(b ^ 0x5A for b in damaged[-200:-136])
    made.file.write_bytes(damaged)
    with pytest.raises(UserError, match=r"cam\.safetensors: damaged.*SHA-256"):
        read_checkpoint(made.file)
    made.file.write_bytes(whole)
    facts = json.loads(made.facts.read_text())
    for text in ("[" * 100_000, "", "[1]", json.dumps(facts | {"class_names": 3}), '{"a": '):
        made.facts.write_text(text)
        with pytest.raises(UserError, match=r"\.json: is not the JSON of an export"):
            read_checkpoint(made.file)

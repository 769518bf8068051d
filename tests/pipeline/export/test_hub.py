"""Folders for the Hugging Face Hub: its own reader takes them, and ours loads them offline."""

import json
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from learned_saliency import load
from learned_saliency.datamodules.transforms import read_resized, standardize
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.export.card import preparation
from learned_saliency.pipeline.export.export import CONFIG_NAME, export
from learned_saliency.pipeline.export.formats import FORMATS
from learned_saliency.pipeline.export.push import push
from learned_saliency.pipeline.runs.checkpoints import read_checkpoint
from learned_saliency.storage import sha256
from tests.support.untrained import untrained_run

hub = pytest.importorskip("huggingface_hub")

NAME = 'a: *b* "c" é🙂 # - x'  # what the data set is called
NATIVE = {
    "max_box_acc": 0.71,
    "max_box_acc_50": 0.7,  # no headline
    "le": None,  # has no value
    "pxap": 0.4567891234,
    "accuracy": 1.0,
    "map_mean": 0.5,  # neither direction is better
}
SPLITS = [
    {"split": split, "images": 1234, "boxes": boxes, "masks": 0}
    for split, boxes in (("train", 0), ("val", 34), ("test", 56))
]
RESULTS = {
    "test": {"native": NATIVE, "cam": {"max_box_acc": 0.2}},
    "checkpoint": "checkpoints/best.ckpt",
    "selection": {
        "monitor": "max_box_acc",
        "value": 0.69,
        "threshold": 0.5,
        "threshold_by": "boxes",
    },
    "splits": SPLITS,
}


@pytest.fixture(scope="module")
def run(creatures, tmp_path_factory):
    """An untrained CAM in a folder with a name that is hard to quote, with results of a test."""
    place = tmp_path_factory.mktemp("runs")
    folder = untrained_run(creatures, place / "run", "model=cam", f"data.name='{NAME}'")
    folder = folder.rename(place / "a run, é")
    path = folder / "checkpoints" / "best.ckpt"
    content = torch.load(path)
    content["epoch"] = 6
    content["run"]["selected_by"] = {"split": "val", "images": 1234, "boxes": 34, "masks": 0}
    content["run"]["class_names"][:3] = ["*spotted* [cat]", "a|b <i>", "/m/01g317"]
    torch.save(content, path)
    (folder / "results.json").write_text(json.dumps(RESULTS))
    (folder / "pictures").mkdir()
    for name in ("test_curves.png", "test_maps.png"):
        Image.new("RGB", (2000, 300)).save(folder / "pictures" / name)
    return folder


@pytest.fixture(scope="module")
def composed():
    return compose_checked(["checkpoint=x", "format=hf"], CONFIG_NAME, complete=False)


@pytest.fixture(scope="module")
def call(composed, run):
    """Export a run with some values of the configuration."""

    def exported(out, run=run, **values):
        return export(configured(composed, checkpoint=str(run), out=str(out), **values))

    return exported


def configured(composed, **values):
    config = composed.copy()
    config.update(values)
    return config


@pytest.fixture(scope="module")
def made(call, tmp_path_factory):
    """The folder, compared with the checkpoint."""
    return call(tmp_path_factory.mktemp("made") / "my model", license="cc-by-4.0").file


@pytest.fixture
def photo(creatures):
    names = (creatures / "metadata/test/image_ids.txt").read_text().split()
    return creatures / names[0]


def test_the_hubs_own_reader_takes_the_card(made):
    card = hub.ModelCard.load(made / "README.md")
    assert card.data.library_name == "learned-saliency"
    assert card.data.license == "cc-by-4.0"
    assert card.data.pipeline_tag == "image-classification"
    assert "cam" in card.data.tags
    assert card.data.model_name == f"cam on {NAME}, resnet10t"
    found = {result.metric_type: result for result in card.data.eval_results}
    assert {name: result.metric_value for name, result in found.items()} == {
        "max_box_acc": 0.71,
        "pxap": 0.456789,
        "accuracy": 1.0,
    }
    tasks = {name: result.task_type for name, result in found.items()}
    assert tasks == {
        "max_box_acc": "object-detection",
        "pxap": "image-segmentation",
        "accuracy": "image-classification",
    }
    assert {(result.dataset_name, result.dataset_split) for result in found.values()} == {
        (NAME, "test")
    }
    for result in found.values():  # as the Hub spells identifiers
        assert set(result.dataset_type) <= set("abcdefghijklmnopqrstuvwxyz-.")
        assert result.metric_name.endswith("higher is better")
    again = hub.ModelCard(f"---\n{card.data.to_yaml()}\n---\n{card.text}")
    assert again.data.to_dict() == card.data.to_dict()


def test_the_card_says_what_chose_and_shows_metrics_with_directions(made):
    text = hub.ModelCard.load(made / "README.md").text
    assert text.startswith('\n# cam on a: \\*b\\* "c" é🙂 \\# - x, resnet10t\n')
    assert r"16 classes: \*spotted\* \[cat\], a\|b &lt;i&gt;, /m/01g317, c3" in text
    assert "| max_box_acc ↑ | 71.0 | 20.0 |" in text
    assert "| le ↓ | - | - |" in text
    assert "Epoch 7, chosen by `max_box_acc` of its own map on val: 69.0 %." in text
    assert "saw 34 boxes and 0 masks of val" in text
    assert "| box threshold | 0.500 of the map's maximum, best on val |" in text
    assert "| train | 1,234 | 0 | 0 | weights, from its labels alone |" in text
    assert "compared with the checkpoint on 9 images" in text
    assert "](test_curves.jpg)" in text
    with Image.open(made / "test_curves.jpg") as picture:
        assert picture.size == (1600, 240)
    assert 'load("DIR")' in text


def test_the_folder_loads_as_its_run_without_the_library_of_the_hub(
    made, run, photo, creatures, monkeypatch
):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    ours, theirs = (load(path, device="cpu")([photo])[0] for path in (made, run))
    np.testing.assert_allclose(ours.map, theirs.map, rtol=0, atol=1e-6)
    assert ours.predicted[0].name == theirs.predicted[0].name
    names = read_checkpoint(made, "best.ckpt").class_names
    assert names[:4] == ["*spotted* [cat]", "a|b <i>", "/m/01g317", "c3"]
    facts = json.loads((made / "config.json").read_text())
    assert facts["sha256"] == sha256(made / "model.safetensors")
    assert facts["metrics"]["test"]["native"]["pxap"] == NATIVE["pxap"]
    assert facts["verified"]["images"] == 9
    data = facts["config"]["data"]  # by which evaluate.py finds the metadata below another root
    assert (data["root"], data["metadata"]) == ("set", "set/metadata")
    for path in (made / "config.json", made / "README.md"):
        assert str(creatures.parent) not in path.read_text()


@pytest.mark.parametrize(
    ("center_crop", "size"),
    [*((crop, 24) for crop in (False, True, 30)), (False, [18, 24]), (30, [18, 24])],
)
def test_other_libraries_are_told_how_images_are_prepared(photo, tmp_path, center_crop, size):
    colors = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]}
    longer = None if isinstance(center_crop, bool) else center_crop
    crop = {"center_crop": center_crop is True, "evaluation_resize": longer}
    data = OmegaConf.create(crop | colors)
    said = preparation(SimpleNamespace(data=data, size=size))
    with Image.open(photo) as image:
        image = image.convert("RGB").crop((0, 0, 40, 30))
    image.save(tmp_path / "wide.png")
    if said["do_center_crop"]:
        short = said["size"]["shortest_edge"]
        assert short == (longer or 24)
        edges = short * 40 // 30, short
        width, height = (said["crop_size"][side] for side in ("width", "height"))
        left, top = (edges[0] - width) // 2, (edges[1] - height) // 2
        image = image.resize(edges, said["resample"]).crop((left, top, left + width, top + height))
    else:
        image = image.resize((said["size"]["width"], said["size"]["height"]), said["resample"])
    pixels = np.asarray(image) * said["rescale_factor"]
    expected = (pixels - said["image_mean"]) / said["image_std"]
    square = read_resized(tmp_path / "wide.png", size, center_crop)
    found = standardize(square[None], torch.tensor(data.mean), torch.tensor(data.std))[0]
    np.testing.assert_allclose(found.permute(1, 2, 0), expected, rtol=0, atol=1e-5)


def test_the_middle_that_just_covers_no_square_is_left_untold():
    data = OmegaConf.create({"center_crop": True, "mean": [0] * 3, "std": [1] * 3})
    assert preparation(SimpleNamespace(data=data, size=[18, 24])) is None


def test_weights_without_a_test_have_no_metrics_and_the_card_says_so(call, run, tmp_path):
    other = tmp_path / "run"
    shutil.copytree(run, other)
    results = RESULTS | {"checkpoint": "checkpoints/last.ckpt"}
    (other / "results.json").write_text(json.dumps(results))
    made = call(tmp_path / "made", other, verify=False, photographs=True).file
    card = hub.ModelCard.load(made / "README.md")
    assert card.data.eval_results is None
    assert "No metrics of a test are known of these weights" in card.text
    assert "Epoch 7, whose choice saw 34 boxes and 0 masks of val." in card.text
    assert not list(made.glob("*.jpg"))  # which are of that test


def test_photographs_are_in_the_card_where_asked_for(call, made, tmp_path):
    assert not (made / "test_maps.jpg").exists()
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    shown = call(tmp_path / "link", verify=False, photographs=True).file
    assert (tmp_path / "link").is_symlink()
    assert shown == tmp_path / "real"
    assert (shown / "test_maps.jpg").is_file()
    assert "](test_maps.jpg)" in (shown / "README.md").read_text()


def spoil_weights(folder):
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def mix_up(folder):
    facts = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(facts | {"sha256": "0" * 64}))


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n"


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (
            spoil_weights,
            r"model\.safetensors: damaged, or not the file that config\.json describes",
        ),
        (mix_up, r"model\.safetensors: damaged, or not the file that config\.json describes"),
        (lambda f: (f / "config.json").unlink(), r"no export .*there is no config\.json beside"),
        (
            lambda f: (f / "config.json").write_text('{"model_type": "vit"}'),
            r"config\.json: is not",
        ),
        (lambda f: (f / "config.json").write_text("{"), r"config\.json: is not the JSON"),
        (lambda f: (f / "model.safetensors").unlink(), r"model\.safetensors: there is no such"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\x01" * 40), "truncated"),
        (lambda f: (f / "model.safetensors").write_text(POINTER), "pointer of Git LFS.*lfs pull"),
    ],
)
def test_damaged_and_mixed_up_folders_are_refused(made, tmp_path, spoil, told):
    folder = tmp_path / "made"
    shutil.copytree(made, folder)
    spoil(folder)
    with pytest.raises(UserError, match=told):
        read_checkpoint(folder, "best.ckpt")


def test_an_earlier_export_is_replaced_whole_and_nothing_else(made, tmp_path):
    written, folder, fresh = FORMATS["hf"], tmp_path / "made", tmp_path / "new" / "made"
    shutil.copytree(made, folder)
    (folder / "test_maps.jpg").touch()
    shutil.copytree(made, fresh)
    written.check_place(folder)
    written.place(fresh, folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        path.name for path in made.iterdir()
    )
    (folder / "notes.txt").touch()
    with pytest.raises(UserError, match=r"it holds notes\.txt\), and is not replaced"):
        written.check_place(folder)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    written.check_place(foreign)
    (foreign / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(UserError, match=r"it holds config\.json"):
        written.check_place(foreign)
    with pytest.raises(UserError, match="is a file; name a folder"):
        written.check_place(folder / "README.md")
    (tmp_path / "x.pt2.json").mkdir()
    for path in (folder, tmp_path / "x.pt2"):
        with pytest.raises(UserError, match="is a folder; remove it"):
            FORMATS["pt2"].check_place(path)


class Api:
    """The part of ``HfApi`` that an upload asks for."""

    calls, private, error = (), True, None

    def __init__(self, **options):
        pass

    def create_repo(self, name, **options):
        if self.error is not None:
            raise self.error
        Api.calls = (*Api.calls, ("create", name, options))

    def model_info(self, name):
        return SimpleNamespace(private=self.private)

    def upload_folder(self, *, repo_id, folder_path, commit_message):
        content = {path.name for path in folder_path.iterdir()}
        Api.calls = (*Api.calls, ("upload", repo_id, content))
        return f"https://hub.invalid/{repo_id}"


@pytest.fixture
def api(monkeypatch):
    monkeypatch.setattr(hub, "HfApi", Api)
    monkeypatch.setattr(hub, "get_token", lambda: "hf_x")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    for name, value in (("calls", ()), ("private", True), ("error", None)):
        monkeypatch.setattr(Api, name, value)
    return Api


def test_a_verified_folder_is_uploaded_and_no_other(call, tmp_path, api, monkeypatch):
    found = call(tmp_path / "made", push="me/x.1")
    (_, name, options), (_, to, content) = api.calls
    assert name == to == "me/x.1"
    assert options == {"private": True, "exist_ok": True}
    assert {"README.md", "config.json", "model.safetensors"} <= content
    assert found.address == "https://hub.invalid/me/x.1"
    card = (found.file / "README.md").read_text()
    assert "hf download me/x.1" in card
    api.calls = ()
    module = sys.modules[export.__module__]
    monkeypatch.setattr(module, "differences", lambda *_: {"saliency": 2e-4})
    with pytest.raises(UserError, match="the hf file is not kept"):
        call(tmp_path / "made", push="me/x", license="mit")
    assert api.calls == ()
    assert list(tmp_path.iterdir()) == [found.file]
    assert (found.file / "README.md").read_text() == card  # the earlier one


def test_what_is_private_is_not_put_into_a_public_repository(composed, tmp_path, api, monkeypatch):
    monkeypatch.setattr(api, "private", False)
    config = configured(composed, push="me/x")
    with pytest.raises(UserError, match="the repository is public; private=false allows that"):
        push(config, tmp_path)
    assert [what for what, *_ in api.calls] == ["create"]
    config.private = False
    assert push(config, tmp_path)
    monkeypatch.setattr(api, "error", OSError("401 Client Error. Invalid user."))
    with pytest.raises(UserError, match=r"not uploaded \(401 Client Error\); .* is complete"):
        push(config, tmp_path)


def test_what_forbids_an_upload_is_told_before_any_work(composed, api, monkeypatch):
    def refused(told, **values):
        with pytest.raises(UserError, match=told):
            export(configured(composed, **values))

    refused("leave verify=false out", push="me/x", verify=False)
    refused("push=me/-x", push="me/-x")
    refused("format=hf: is for trained models", checkpoint=None)
    for word in ({"license": "mit"}, {"push": "me/x"}, {"photographs": True}):
        refused(f"{next(iter(word))}=.*: belongs to format=hf", format="pt2", **word)
    refused("license=MIT: expected an identifier", license="MIT")
    monkeypatch.setattr(hub, "get_token", lambda: None)
    refused("there is no token of the Hub; log in by `hf auth login`", push="me/x")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    refused("HF_HUB_OFFLINE is set", push="me/x")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    refused(r"needs the package huggingface_hub: pip install -e '\.\[hub\]'")

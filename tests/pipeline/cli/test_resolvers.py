from omegaconf import OmegaConf

from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.cli.resolvers import counted, folder_key, named


def test_a_folder_has_one_name_however_it_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    names = {folder_key(path) for path in ("photos", "~/photos", tmp_path / "photos", "./photos/")}
    assert len(names) == 1
    assert names.pop().startswith("photos-")


def test_places_and_options_tell_names_apart(tmp_path):
    options = OmegaConf.create({"seed": 0, "twice": "${seed}"})
    names = [
        folder_key(tmp_path / "photos"),
        folder_key(tmp_path / "a" / "photos"),
        folder_key(tmp_path / "photos", options),
        folder_key(tmp_path / "photos", OmegaConf.merge(options, {"seed": 1})),
    ]
    assert len(set(names)) == 4


def test_any_name_makes_a_usual_one(tmp_path):
    for name in ("/", "Bilder 2024: Küche", "a" * 250, "b\udcff", "x/../y"):
        assert folder_key(f"/{name}").isprintable()
        assert "/" not in folder_key(f"/{name}")
        assert len(folder_key(f"/{name}").encode()) < 200


def test_options_that_are_set_end_a_name():
    options = OmegaConf.create({"label": 0, "strength": 0.6, "other": None})
    assert named(options, "label", "strength", "other", "missing") == "-label0-strength0.6"
    assert named(options, "other") == ""


def test_a_planted_set_has_a_folder_of_its_own_and_the_plain_one_keeps_its_name(monkeypatch):
    monkeypatch.setenv("LEARNED_SALIENCY_CACHE", "/cache")
    plain = compose_checked(["data=creatures"]).data
    assert plain.root == (
        "/cache/creatures-128px-16c-combined-area0.05-0.6-contrast50.0-clutter0.8-parts1.0-noise0.02"
        "-seed0-v3"
    )
    cue = ["data.reader.cue_class=5", "data.reader.cue_strength=0.6"]
    planted = compose_checked(["data=creatures", *cue]).data
    assert planted.root == plain.root.replace("-v3", "-cue_class5-cue_strength0.6-v3")
    assert planted.metadata == f"{planted.root}/metadata-2560-320-640"


def test_two_animals_have_a_folder_of_their_own_and_make_a_multilabel_set():
    plain, two = (
        compose_checked(["data=creatures", f"data.reader.animals={count}"]).data for count in (1, 2)
    )
    assert plain.root == compose_checked(["data=creatures"]).data.root
    assert two.root == plain.root.replace("-seed0-", "-seed0-animals2-")
    assert [plain.task, two.task] == ["multiclass", "multilabel"]
    assert counted(OmegaConf.create({}), "animals") == ""

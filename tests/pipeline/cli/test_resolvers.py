from omegaconf import OmegaConf

from learned_saliency.pipeline.cli.resolvers import folder_key, named


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

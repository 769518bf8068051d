"""Bundles of evaluations: what is in the file is what was measured, however the work went."""

import errno
import signal

import numpy as np
import pytest
import torch

from learned_saliency.errors import Stopped, SurroundingsError
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.reports import read_results, read_saved
from learned_saliency.pipeline.runs import Bundle
from learned_saliency.trainers import SaliencyModule
from tests.support.bundles import contents, evaluate_bundle
from tests.support.commands import run_command
from tests.support.untrained import untrained_run


@pytest.fixture(scope="module")
def model(creatures, tmp_path_factory):
    return untrained_run(creatures, tmp_path_factory.mktemp("model") / "run", "model=cam")


@pytest.fixture(scope="module")
def measured(model, tmp_path_factory):
    """A finished evaluation with its bundle, and the maps and logits that were scored."""
    whole, seen = SaliencyModule.test_step, []

    def noting(module, batch, index):
        output = whole(module, batch, index)
        seen.append((batch, output))
        return output

    folder = tmp_path_factory.mktemp("measured") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SaliencyModule, "test_step", noting)
        found = evaluate_bundle(model, folder)
    return found, seen


def test_a_bundle_holds_exactly_what_was_scored(measured):
    found, seen = measured
    bundle = Bundle(found.bundle.path)
    at = 0
    for batch, output in seen:
        images = bundle.images[at : at + len(batch["label"])]
        at += len(images)
        maps, logits, read = bundle.batch(images)
        for name, values in output.maps.items():
            torch.testing.assert_close(maps[name], values, rtol=0, atol=0)
        torch.testing.assert_close(logits, output.logits, rtol=0, atol=0)
        assert read["image_id"] == batch["image_id"]
        for key in ("label", "index", "mask"):
            torch.testing.assert_close(read[key], batch[key], rtol=0, atol=0)
        for boxes, true in zip(read["boxes"], batch["boxes"], strict=True):
            torch.testing.assert_close(boxes, true, rtol=0, atol=0)
    assert at == len(bundle.images)


def test_maps_change_by_less_than_a_step_of_16_bits(measured, model, tmp_path):
    found, _ = measured
    module = Bundle(found.bundle.path).module()
    exact = torch.rand(3, 9, 9, generator=torch.Generator().manual_seed(0))
    module.rounds_maps = True
    batch = {
        "image": torch.zeros(3, 3, 9, 9),
        "label": torch.zeros(3, dtype=torch.long),
        "image_id": ["a", "b", "c"],
    }
    rounded = module.test_recorded({"native": exact}, torch.zeros(3, 16), batch).maps["native"]
    assert 0 < (rounded - exact).abs().max() <= 7.7e-6
    again = module.test_recorded({"native": rounded}, torch.zeros(3, 16), batch).maps["native"]
    torch.testing.assert_close(again, rounded, rtol=0, atol=0)


def test_an_interrupted_evaluation_makes_the_same_bundle(model, measured, monkeypatch, tmp_path):
    whole, count = SaliencyModule.test_step, []

    def ended(module, batch, index):
        count.append(index)
        if len(count) == 2:
            raise Stopped(signal.SIGTERM)
        return whole(module, batch, index)

    monkeypatch.setattr(SaliencyModule, "test_step", ended)
    with pytest.raises(Stopped):
        evaluate_bundle(model, tmp_path / "out")
    assert not (tmp_path / "out.zip").exists()
    again = evaluate_bundle(model, tmp_path / "out")
    assert count == [0, 1, 0, 1]  # there are three batches, and the first is not repeated
    found, _ = measured
    assert again.bundle.path.read_bytes() == found.bundle.path.read_bytes()
    assert again.bundle.sha256 == found.bundle.sha256


def test_a_bundle_that_cannot_be_written_keeps_the_metrics(model, measured, monkeypatch, tmp_path):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    whole, tested = SaliencyModule.test_step, []

    def noting(module, batch, index):
        tested.append(len(batch["image"]))
        return whole(module, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr("learned_saliency.pipeline.evaluation.bundle.write_bundle", full)
        with pytest.raises(
            SurroundingsError, match=r"\(No space left on device\); the metrics are"
        ):
            evaluate_bundle(model, tmp_path / "out")
    found, _ = measured
    assert read_results(tmp_path / "out") == read_results(found.folder)
    monkeypatch.setattr(SaliencyModule, "test_step", noting)
    again = evaluate_bundle(model, tmp_path / "out")
    assert tested == [0]  # one empty batch: nothing is left to test
    assert again.folder == tmp_path / "out"
    assert again.bundle.path.read_bytes() == found.bundle.path.read_bytes()


def test_a_bundle_is_read_like_the_folder_beside_it(measured):
    found, _ = measured
    bundle, folder = read_saved(found.bundle.path), read_saved(found.folder)
    assert bundle.results == folder.results
    assert bundle.record == folder.record
    assert bundle.rows == folder.rows
    assert bundle.gallery() == folder.gallery()
    ones = np.ones((1, len(folder.scores.image_ids)))
    np.testing.assert_array_equal(bundle.scores.values(ones), folder.scores.values(ones))
    image = folder.scores.image_ids[1]
    np.testing.assert_array_equal(
        bundle.maps(image, "gradcam"), bundle.bundle.map("gradcam", bundle.bundle.images[1].place)
    )
    assert folder.maps(image, "gradcam") is None
    with pytest.raises(UserError, match="has no map of nobody by gradcam"):
        bundle.maps("nobody", "gradcam")


def test_a_bundle_without_pictures_shows_its_maps_on_gray(measured, monkeypatch):
    found, _ = measured
    whole, saved = read_saved(found.folder).gallery(), read_saved(found.bundle.path)
    monkeypatch.setattr(Bundle, "__contains__", lambda bundle, name: False)
    drawn = saved.gallery()
    assert drawn.class_names == whole.class_names
    for image, true in zip(drawn.images, whole.images, strict=True):
        assert image.picture != true.picture
        assert image._replace(picture=b"") == true._replace(picture=b"")


def test_paths_and_times_of_the_machine_are_not_in_it(measured):
    found, _ = measured
    config = contents(found.bundle.path)["config.yaml"].decode()
    assert str(found.folder) not in config
    assert "output_dir" not in config


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bundle={there}"], "bundle={there}: is there already; choose another name, or"),
        (["bundle=out.tar"], "bundle=out.tar: expected a name that ends in .zip."),
        (["bundle=/proc/x.zip"], "bundle=/proc/x.zip: no file can be made in /proc (No such file"),
        (["bundle={there}/x.zip"], "bundle={there}: cannot be written below {there}"),
        (["bundle=new.zip", "studies_only=true", "studies=[removal]"], "studies_only=true leaves"),
        (["bundle=new.zip", "reuse={folder}"], "which reuse={folder} would spare; give one of"),
    ],
)
def test_what_a_bundle_cannot_be_is_told_before_any_work(measured, model, tmp_path, words, message):
    found, _ = measured
    named = {"there": str(found.bundle.path), "folder": str(found.folder)}
    filled = [word.format(**named) for word in words]
    done = run_command("evaluate", f"checkpoint={model}", f"output_dir={tmp_path}/x", *filled)
    assert done.returncode == 2
    assert message.format(**named) in done.stderr
    assert not (tmp_path / "x").exists()

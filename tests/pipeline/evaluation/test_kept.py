"""Methods that an earlier evaluation has tested are taken from there; others compute themselves."""

import signal
from collections import Counter

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from learned_saliency.errors import Stopped
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.commands.evaluate import evaluation_words
from learned_saliency.pipeline.evaluation.evaluate import CONFIG_NAME, evaluate
from learned_saliency.trainers import SaliencyModule

ASKED = "evaluate.faithfulness=[average_drop,average_gain]"
SHOWN = "pictures.images=3"


@pytest.fixture
def calls(monkeypatch):
    """Number of images that each method explains in tests, beside the trial before."""
    counted, whole = Counter(), SaliencyModule.test_step

    def counting(module, batch, number):
        found = whole(module, batch, number)
        counted.update({name: len(values) for name, values in found.maps.items()})
        return found

    monkeypatch.setattr(SaliencyModule, "test_step", counting)
    return counted


@pytest.fixture(scope="module")
def tested(creatures, network, tmp_path_factory):
    """Words of an evaluation with Grad-CAM, and its folder."""
    place = tmp_path_factory.mktemp("tested")
    save_file(network.state_dict(), place / "weights.safetensors")
    words = [
        *("classifier=timm:resnet10t", "num_classes=16", "layer=layer2", "data=wsol"),
        *(f"weights={place}/weights.safetensors", f"data.root={creatures}"),
        *(f"data.metadata={creatures}/metadata", "data.crop_size=32", "data.batch_size=6"),
        *("data.num_workers=0", ASKED, "methods=[gradcam]", "pictures.images=0"),
    ]
    given = evaluation_words([*words, f"output_dir={place}/first"])
    return words, evaluate(compose_checked(given, CONFIG_NAME, complete=False)).folder


def files(folder):
    """Content of the files of a table."""
    return {
        name: (folder / name).read_bytes()
        for name in ("results.json", "results.csv", "images.csv", "pictures/maps.png")
    }


def test_a_mean_is_computed_anew_where_one_of_its_methods_has_other_options(
    foreign, evaluated, calls
):
    words = [
        *foreign,
        ASKED,
        "methods=[rankmean]",
        "attribution.rankmean.methods=[gradcam,shapcam]",
    ]
    first = evaluated(*words, "attribution.shapcam.orderings=1", "reuse=false")
    calls.clear()
    evaluated(*words, "attribution.shapcam.orderings=1", f"reuse={first.folder}")
    assert not calls
    evaluated(*words, "attribution.shapcam.orderings=2", f"reuse={first.folder}")
    assert calls == {"rankmean": 17}


def test_an_added_method_computes_only_itself(foreign, evaluated, calls):
    words = [*foreign, SHOWN, "attribution.shapcam.orderings=1", ASKED]
    whole = evaluated(*words, "methods=[gradcam,shapcam,liftcam]", "reuse=false")
    calls.clear()
    first = evaluated(*words, "methods=[gradcam,liftcam]", "reuse=false")
    assert calls == {"gradcam": 17, "liftcam": 17}
    calls.clear()
    second = evaluated(*words, "methods=[gradcam,shapcam,liftcam]", f"reuse={first.folder}")
    assert calls == {"shapcam": 17}
    assert second.results == whole.results
    assert list(second.results) == list(whole.results)
    assert files(second.folder) == files(whole.folder)
    calls.clear()
    third = evaluated(*words, "methods=[liftcam,shapcam,gradcam]")  # in any order: all are there
    assert not calls
    assert third.results == whole.results
    assert list(third.results)[:3] == ["liftcam", "shapcam", "gradcam"]
    fewer = evaluated(*words[:-1], "methods=[shapcam]", "evaluate.faithfulness=[average_gain]")
    assert not calls
    assert "average_drop" not in fewer.results["shapcam"]
    assert "average_drop" not in (fewer.folder / "images.csv").read_text()


@pytest.mark.parametrize(
    "word",
    [
        "evaluate.faithfulness=[average_drop,average_gain,average_increase]",
        "evaluate.mask_color=black",
        "evaluate.explained=predicted",
        "+attribution.gradcam.interpolation=bicubic",
        "target=margin",
        "data.crop_size=36",
        "data.center_crop=true",
        "data.evaluation_resize=40",
        "limit=5",
        "split=val",
        "box_threshold=0.3",
        "precision=bf16",
        "seed=1",
        "layer=layer1",
        "reuse=false",
    ],
)
def test_what_differs_is_computed_anew(tested, evaluated, calls, word):
    words, folder = tested
    evaluated(*words, f"reuse={folder}", word)
    assert calls["gradcam"] > 0


def test_other_weights_and_images_are_computed_anew(foreign, evaluated, calls, creatures, tmp_path):
    words = [*foreign, "methods=[gradcam]", "pictures.images=0", "evaluate.faithfulness=[]"]
    evaluated(*words)
    calls.clear()
    evaluated(*words)
    assert not calls
    weights = load_file(tmp_path / "weights.safetensors")
    name = next(name for name, value in weights.items() if value.is_floating_point())
    weights[name] = weights[name] + 0.01
    save_file(weights, tmp_path / "weights.safetensors")
    evaluated(*words)
    assert calls == {"gradcam": 17}


def test_an_added_method_that_is_stopped_goes_on(foreign, evaluated, calls, monkeypatch):
    words = [*foreign, ASKED, SHOWN]
    whole = evaluated(*words, "methods=[gradcam,liftcam]", "reuse=false")
    first = evaluated(*words, "methods=[gradcam]", "reuse=false")
    out = [f"output_dir={first.folder}-added", f"reuse={first.folder}"]
    counting, batches = SaliencyModule.test_step, []

    def stopping(module, batch, number):
        if len(batches) == 1:
            raise Stopped(signal.SIGTERM)
        batches.append(number)
        return counting(module, batch, number)

    monkeypatch.setattr(SaliencyModule, "test_step", stopping)
    with pytest.raises(Stopped):
        evaluated(*words, "methods=[gradcam,liftcam]", *out)
    monkeypatch.setattr(SaliencyModule, "test_step", counting)
    calls.clear()
    found = evaluated(*words, "methods=[gradcam,liftcam]", *out)
    assert calls == {"liftcam": 11}
    assert found.results == whole.results
    assert files(found.folder) == files(whole.folder)


def test_damaged_and_foreign_files_are_computed_anew(foreign, evaluated, calls, capfd):
    words = [*foreign, "methods=[gradcam]", "pictures.images=0", "evaluate.faithfulness=[]"]
    first = evaluated(*words)
    (kept,) = (first.folder / "kept").iterdir()
    kept.write_bytes(kept.read_bytes()[:-100])
    calls.clear()
    second = evaluated(*words)
    assert calls == {"gradcam": 17}
    assert "its method is computed anew" in capfd.readouterr().err
    assert second.results == first.results
    with pytest.raises(UserError, match="reuse=nowhere: there is no folder"):
        evaluated(*words, "reuse=nowhere")


def test_given_and_trained_maps_are_kept_likewise(run, evaluated, calls, creatures, tmp_path):
    ids = (creatures / "metadata/test/image_ids.txt").read_text().split()
    for image_id in ids:
        path = tmp_path / "maps" / f"{image_id}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.random.default_rng(len(image_id)).random((8, 8)))
    words = [f"checkpoint={run.folder}", f"maps.theirs={tmp_path}/maps", ASKED, SHOWN]
    first = evaluated(*words)
    assert calls == {"native": 17, "theirs": 17}
    calls.clear()
    second = evaluated(*words, "methods=[cam]")
    assert calls == {"cam": 17}
    for name in ("native", "theirs"):
        assert second.results[name] == first.results[name]
    np.save(path, np.zeros((8, 8)))
    calls.clear()
    evaluated(*words)
    assert calls == {"theirs": 17}

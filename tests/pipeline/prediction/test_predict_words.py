"""Check the words of predict.py's command line."""

import pytest
from omegaconf import OmegaConf

from learned_saliency.pipeline.cli import hydra_words
from learned_saliency.pipeline.cli.compose import check_command_line, compose_checked
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.prediction.predict import CONFIG_NAME
from learned_saliency.pipeline.runs import method_names


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("colormap=virids", "colormap=virids .*the nearest: viridis"),
        ("layout=sidebyside", "layout=sidebyside: .*the nearest: side_by_side"),
        ("opacity=2", "opacity=2"),
        ("contour=7", "contour=7: expected true or false"),
        ("methods=opticm", "'opticm'; the nearest: opticam"),
        ("classes=nobody", "no class is named 'nobody'"),
        ("top_k=99", "there are 16 classes"),
        ("workers=0", "workers=0"),
        ("max_megapixels=-1", "max_megapixels=-1"),
        ("images=null", "images has no value"),
        ("out=null", "out has no value"),
        ("classifier=timm:resnet10t", "either checkpoint="),
    ],
)
def test_wrong_words_are_told_before_anything_is_written(
    fcam_run, photos, predicted, tmp_path, word, told
):
    with pytest.raises(UserError, match=told):
        predicted(f"checkpoint={fcam_run}", f"images={photos[0]}", word)
    assert not (tmp_path / "out").exists()


def test_a_misspelt_key_is_told_with_the_nearest():
    with pytest.raises(UserError, match=r"imges is no key .*the nearest: images"):
        check_command_line(hydra_words(["imges=photos"]), CONFIG_NAME, complete=False)


@pytest.mark.parametrize(
    "path",
    [
        "a b.jpg",
        "*.jpg",
        "a=b",
        "[1].jpg",
        "x,y",
        "it's",
        "${x}",
        "{a}",
        'say "hi"',
        "a\\b",
        "a\\",
        "a\\'b",
        "a\\\\",
        "ü(1)#",
    ],
)
def test_paths_need_no_quoting(path):
    words = hydra_words([f"images={path}", f"out={path}", f"checkpoint={path}"])
    config = compose_checked(words, CONFIG_NAME, complete=False)
    assert (config.images, config.out, config.checkpoint) == (path, path, path)


def test_lists_numbers_and_quoted_words_stay_what_they_are():
    words = ["images=[a,'b c']", "out='a b'", "classes=[3,tench]", "methods=[native,opticam]"]
    config = compose_checked(hydra_words(words), CONFIG_NAME, complete=False)
    plain = OmegaConf.to_container(config)
    assert plain["images"] == ["a", "b c"]
    assert plain["out"] == "a b"
    assert plain["classes"] == [3, "tench"]
    assert plain["methods"] == ["native", "opticam"]
    many = [f"folder/{number}.jpg" for number in range(2000)]  # longer than a name may be
    (word,) = hydra_words([f"images=[{','.join(many)}]"])
    assert compose_checked([word], CONFIG_NAME, complete=False).images == many
    words = ["classes=7", "methods=gradcam", "attribution.opticam.iterations=5"]
    config = compose_checked(hydra_words(words), CONFIG_NAME, complete=False)
    assert config.classes == 7
    assert method_names(config) == ["gradcam"]
    assert config.attribution.opticam.iterations == 5

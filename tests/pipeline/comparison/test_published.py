"""The papers' values: figures against ones written out by hand, and the recipes against both."""

import re

import pytest
from omegaconf import OmegaConf

from learned_saliency.pipeline.cli.choices import config_groups
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.comparison.published import published_rows
from learned_saliency.trainers import TEST_FIGURES

ROWS = published_rows()
BACKBONES = ("vgg16", "inception_v3", "resnet50")
METHODS = ("gradcam", "gradcampp", "smoothgradcampp", "xgradcam", "layercam")
OWN = {"casm_tiny_imagenet", "fcam_photographs"}  # recipes of no paper, besides those of the creatures


def figures(recipe, metric, method="native"):
    found = ROWS[recipe].figures
    return [f.percent for f in found if (f.metric, f.method) == (metric, method)]


def test_every_row_of_the_papers_has_a_recipe():
    assert all(row.path.is_file() for row in ROWS.values())


def test_every_recipe_is_of_a_row_or_of_data_that_no_paper_has():
    others = set(config_groups()["experiment"]) - set(ROWS) - OWN
    assert {name for name in others if not name.endswith("_creatures")} == set()


@pytest.mark.parametrize(
    ("recipe", "metric", "method", "expected"),
    [
        ("fcam_cub_resnet50", "max_box_acc", "native", [90.3]),
        ("fcam_cub_resnet50", "max_box_acc", "cam", [71.5]),
        ("fcam_cub_resnet50", "max_box_acc_v2", "native", [79.4]),
        ("fcam_cub_vgg16_layercam", "max_box_acc", "native", [91.0]),
        ("fcam_openimages_inception_v3_xgradcam", "pxap", "native", [71.3]),
        ("fcam_openimages_resnet50_gradcampp", "pxap", "gradcampp", [60.2]),
        ("cam_cub_inception_v3", "max_box_acc", "native", [62.1, 58.8]),
        ("cam_cub_resnet50", "max_box_acc_v2", "camsuperset", [67.4]),
        ("has_cub_resnet50", "max_box_acc_v2", "native", [64.6, 64.7]),
        ("adl_cub_vgg16", "top1_loc", "native", [39.2]),
        ("tscam_cub_deit_small", "top5_loc", "native", [83.8]),
        ("supervised_openimages_resnet50", "pxap", "native", [74.4]),
        ("calm_cub_resnet50", "max_box_acc_v2", "native", [71.0]),
        ("calm_cub_inception_v3", "max_box_acc_v2", "cam", [42.2]),
        ("calm_openimages_resnet50_ml", "accuracy", "native", [70.9]),
        ("calm_cub_vgg16_ml", "max_box_acc_v2", "native", [68.0]),
        ("casm_imagenet_resnet50_classification_l", "f1", "native", [65.7]),
        ("casm_imagenet_resnet50_separate_l100", "le", "native", [46.8]),
        ("casm_imagenet_resnet50_separate_l100", "om", "native", []),
        ("rtis_imagenet_resnet50", "le", "native", [36.7]),
        ("finetuned_kvasir_vgg16", "accuracy", "native", [89.5]),
        ("finetuned_chestxray_resnet50", "average_gain", "opticam", [91.2]),
        ("finetuned_kvasir_resnet50", "deletion", "gradcam", [32.2]),
    ],
)
def test_figures_are_those_of_the_papers(recipe, metric, method, expected):
    assert figures(recipe, metric, method) == expected


def test_figures_have_names_of_this_project_and_a_mean_names_its_recipes():
    for row in ROWS.values():
        for figure in row.figures:
            assert figure.metric in TEST_FIGURES or figure.metric.startswith("cue_mpxap"), figure
            assert 0 <= figure.percent <= 100
            assert set(figure.mean_of) <= set(ROWS)
    ml = next(f for f in ROWS["calm_cub_vgg16_ml"].figures if f.percent == 68.0)
    assert ml.mean_of == tuple(f"calm_cub_{b}_ml" for b in BACKBONES)


def test_every_weight_of_casm_s_masks_is_that_of_the_papers_list():
    weights = compose_checked(["model=casm"]).model.size_weights
    assert OmegaConf.to_container(weights) == {
        "entropy": {"F": 2.5, "L": 14.0, "FL": 7.5, "L100": 10.0, "L1000": 10.0},
        "classification": {"F": 9.0, "L": 18.0, "FL": 11.0, "L100": 17.0, "L1000": 17.0},
    }


@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
def test_a_recipe_has_the_values_and_names_the_figures_of_its_row(row):
    config = compose_checked([f"experiment={row.recipe}", "data.root=x", "data.metadata=x"])
    nothing = object()
    found = {key: OmegaConf.select(config, key, default=nothing) for key in row.values}
    assert found == row.values
    told = {float(number) for number in re.findall(r"(?<![\w.])\d+\.\d(?!\w)", _figures(row))}
    assert told
    assert told <= {figure.percent for figure in row.figures} | ASIDE.get(row.recipe, set())
    assert f"experiment={row.recipe}" in row.command()


# Figures in the head of a recipe that are of no metric of its runs.
ASIDE = {
    "calm_cub_resnet50": {24.1, 28.3, 32.2, 29.6},  # its CAM
    "casm_imagenet_resnet50": {37.2},  # another way of resizing
    "rtis_imagenet_resnet50": {47.5, 49.6},  # other methods of the table
    "tscam_cub_deit_small": {87.7},  # the figure of its own paper
}


def _figures(row):
    """The head of a recipe without the names of tables and sections."""
    return re.sub(r"(Tab|Sec|App|Fig|Eq)\. [A-Z]?\.?\d+(\.\d+)?", "", " ".join(row.header()))

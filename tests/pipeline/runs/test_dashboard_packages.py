"""A dashboard whose package is missing is told before any work."""

import pytest

from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.evaluation.evaluate import evaluate
from learned_saliency.pipeline.runs import dashboards
from learned_saliency.pipeline.training.fit import train


def test_a_missing_package_is_told_before_the_folder_is_made(small_run, tmp_path, monkeypatch):
    monkeypatch.setattr(dashboards, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"logger=mlflow: .* pip install -e '\.\[mlflow\]'"):
        train(compose_checked([*small_run, "model=cam", "logger=mlflow"]))
    words = ["classifier=torchvision:resnet18", "data=folder", "data.root=none", "logger=trackio"]
    with pytest.raises(UserError, match=r"logger=trackio: .* pip install -e '\.\[trackio\]'"):
        evaluate(compose_checked(words, "evaluate", complete=False))
    assert not (tmp_path / "run").exists()


def test_the_other_dashboards_need_nothing_more(monkeypatch):
    monkeypatch.setattr(dashboards, "find_spec", lambda _: None)
    for name in ("csv", "tensorboard", "wandb"):
        dashboards.check_dashboards(compose_checked([f"logger={name}", "model=cam"]))
    dashboards.check_dashboards(compose_checked(["classifier=a:b"], "evaluate", complete=False))

"""A dashboard whose package is missing is told before any work."""

import os
import subprocess
import sys

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


@pytest.mark.parametrize("name", ["mlflow", "trackio"])
def test_a_broken_package_is_told_before_the_folder_is_made(
    small_run, tmp_path, monkeypatch, name, recwarn
):
    for module in [m for m in sys.modules if m.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    (tmp_path / "site" / name).mkdir(parents=True)
    (tmp_path / "site" / name / "__init__.py").write_text("import no_such_part\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    told = rf"logger={name}: .* cannot be imported \(ModuleNotFoundError: .*\[{name}\]'\.$"
    with pytest.raises(UserError, match=told):
        train(compose_checked([*small_run, "model=cam", f"logger={name}"]))
    assert not (tmp_path / "run").exists()
    assert not [w for w in recwarn if "could not" in str(w.message)]


def test_mlflow_is_imported_without_reports_to_its_makers(tmp_path):
    pytest.importorskip("mlflow")
    program = (
        "import sys; from pathlib import Path; "
        "from learned_saliency.trainers import MLflowDashboard; "
        "logger = MLflowDashboard(Path(sys.argv[1])); logger.log_config({'seed': 1}); "
        "logger.finish(); assert not logger.lost; "
        "from mlflow.telemetry.client import get_telemetry_client; "
        "assert get_telemetry_client() is None"
    )
    unset = ("CI", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "PYTEST_CURRENT_TEST")
    environment = {k: v for k, v in os.environ.items() if k not in unset}
    environment |= {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    subprocess.run([sys.executable, "-c", program, tmp_path / "run"], env=environment, check=True)
    assert not (tmp_path / "config" / "mlflow").exists()


def test_the_other_dashboards_need_nothing_more(monkeypatch):
    monkeypatch.setattr(dashboards, "find_spec", lambda _: None)
    for name in ("csv", "tensorboard", "wandb"):
        dashboards.check_dashboards(compose_checked([f"logger={name}", "model=cam"]))
    dashboards.check_dashboards(compose_checked(["classifier=a:b"], "evaluate", complete=False))

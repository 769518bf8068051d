"""Logger to MLflow."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learned_saliency.storage import write_text
from learned_saliency.trainers.loggers.dashboard import Report, prefixed
from learned_saliency.trainers.loggers.harmless import harmless
from learned_saliency.trainers.loggers.kept_id import read_id
from learned_saliency.trainers.loggers.stepped import Logged, SteppedDashboard
from learned_saliency.trainers.loggers.tables import results_markdown

if TYPE_CHECKING:  # an extra
    from mlflow import MlflowClient

_OTHER = re.compile(r"[^\w/. -]", re.ASCII)  # characters that no name of MLflow may have
_KEY, _VALUE, _BATCH = 250, 6000, 100  # most characters of a parameter; most values at once


class MLflowDashboard(SteppedDashboard):
    """Dashboard on MLflow: curves, configuration, pictures, results and checkpoints.

    The run lies in ``mlruns/`` of its folder unless ``tracking_uri`` or ``MLFLOW_TRACKING_URI``
    names another store or a server. MLflow keeps parameters as they were first logged: where a
    resumed run has others, the artifact ``config.yaml`` has the new ones. Characters that MLflow's
    names may not have become ``_``. What MLflow cannot do is told once, and the run goes on.

    Args:
        run_dir: See `SteppedDashboard`.
        stage: See `SteppedDashboard`.
        resume_step: See `SteppedDashboard`.
        experiment_name: Experiment in which the run appears.
        tracking_uri: The store or server; None for that of the environment, or the run's own.
        checkpoints: See `SteppedDashboard`.
    """

    service = "MLflow"
    package = "mlflow"

    def __init__(
        self,
        run_dir: Path,
        stage: str = "",
        resume_step: int | None = None,
        experiment_name: str = "learned-saliency",
        tracking_uri: str | None = None,
        checkpoints: bool = True,
    ) -> None:
        super().__init__(run_dir, stage, resume_step, checkpoints)
        _leave_out_reports()
        self._experiment_name = experiment_name
        self._uri = tracking_uri
        self.run_id = ""

    @classmethod
    def load(cls) -> None:
        """Import MLflow without its reports to its makers."""
        _leave_out_reports()
        super().load()

    def _join(self) -> MlflowClient:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        uri = self._uri or os.environ.get("MLFLOW_TRACKING_URI")
        if not uri:
            # mlflow-skinny has no other store without a server, and refuses this one unless asked
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            uri = self._own_store
        client = MlflowClient(uri)
        path = self._folder / "mlflow_id.txt"
        kept = read_id(path, self.service)
        if kept is not None:
            try:
                self.run_id = client.get_run(kept).info.run_id
                client.update_run(kept, status="RUNNING")
                if uri == self._own_store:
                    _follow(self._folder / "mlruns", self._own_store)
                return client
            except MlflowException as error:  # another store, for example
                self.warn(f"find the run of {path.name}, so that a new one is made", error)
        run = client.create_run(self._experiment_id(client), run_name=self.name)
        self.run_id = run.info.run_id
        write_text(path, f"{self.run_id}\n")
        return client

    @property
    def _own_store(self) -> str:
        return (self._folder / "mlruns").resolve().as_uri()

    def _experiment_id(self, client: MlflowClient) -> str:
        found = client.get_experiment_by_name(self._experiment_name)
        return found.experiment_id if found else client.create_experiment(self._experiment_name)

    def _logged(self) -> Logged:
        names = self._run.get_run(self.run_id).data.metrics
        histories = {name: self._run.get_metric_history(self.run_id, name) for name in names}
        return {name: {m.step: m.value for m in found} for name, found in histories.items()}

    def _is_logged(self, name: str, step: int, value: Any) -> bool:
        return super()._is_logged(_allowed(name), step, value)

    def _write(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(_allowed(name), value, now, step) for name, value in values.items()]
        for start in range(0, len(metrics), _BATCH):
            self._run.log_batch(self.run_id, metrics=metrics[start : start + _BATCH])

    @harmless
    def log_config(self, config: dict[str, Any]) -> None:
        """Show the configuration as parameters with dotted names, and as an artifact."""
        from mlflow.entities import Param

        client = self.experiment
        client.log_dict(self.run_id, config, "config.yaml")
        known = client.get_run(self.run_id).data.params
        named = {_allowed(name)[:_KEY]: value for name, value in _flat(config)}
        new = [Param(k, str(v)[:_VALUE]) for k, v in named.items() if k not in known]
        for start in range(0, len(new), _BATCH):
            client.log_batch(self.run_id, params=new[start : start + _BATCH])

    @harmless
    def log_picture(self, name: str, path: Path, epoch: int, step: int) -> None:
        """Store a PNG among the artifacts, in a folder of its name."""
        self.experiment.log_artifact(self.run_id, str(path), prefixed(self._stage, name))

    @harmless
    def log_report(self, report: Report) -> None:
        """Store the table of methods, the pictures and the page among the artifacts."""
        client = self.experiment
        client.log_text(self.run_id, results_markdown(report), f"{report.split}/results.md")
        for path in report.pictures:
            client.log_artifact(self.run_id, str(path), "pictures")
        if report.page is not None and report.page.is_file():
            client.log_artifact(self.run_id, str(report.page))

    @harmless
    def log_checkpoint(
        self, name: str, files: Sequence[Path], aliases: Sequence[str], metadata: dict[str, Any]
    ) -> None:
        """Store a copy of the files, and their facts, among the artifacts."""
        if not self._checkpoints:
            return
        client, folder = self.experiment, f"checkpoints/{name}"
        for file in files:
            client.log_artifact(self.run_id, str(file), folder)
        facts = {"aliases": list(aliases), **metadata}
        client.log_dict(self.run_id, facts, f"{folder}/facts.json")

    @harmless
    def finish(self, failed: bool = False) -> None:
        """End the dashboard's run."""
        if self._run is not None:
            client, self._run = self._run, None
            client.set_terminated(self.run_id, "FAILED" if failed else "FINISHED")


def _leave_out_reports() -> None:
    """Turn off MLflow's reports; its first import begins them, with a file in the user's home."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


def _follow(store: Path, uri: str) -> None:
    """Let a store find its artifacts after it was moved: MLflow keeps absolute places."""
    for path in store.glob("*/*/meta.yaml"):
        text, inner = path.read_text(), "/".join(path.parts[-3:-1])
        moved = re.sub(
            r"^artifact_uri: .*$", f"artifact_uri: {uri}/{inner}/artifacts", text, flags=re.M
        )
        if moved != text:
            write_text(path, moved)


def _allowed(name: str) -> str:
    return _OTHER.sub("_", name)


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of a nested configuration under dotted names."""
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value

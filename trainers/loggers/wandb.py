"""Logger to Weights & Biases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.fabric.loggers.logger import _DummyExperiment, rank_zero_experiment
from lightning.pytorch.loggers import WandbLogger

from learned_saliency.trainers.loggers.dashboard import STAGE_SEPARATOR, Report, prefixed
from learned_saliency.trainers.loggers.harmless import HarmlessDashboard, harmless
from learned_saliency.trainers.loggers.kept_id import kept_id
from learned_saliency.trainers.loggers.metrics_csv import METRICS_FILE, read_rows
from learned_saliency.trainers.loggers.wandb_history import read_history
from learned_saliency.trainers.loggers.wandb_start import staged_in, start_run
from learned_saliency.trainers.loggers.wandb_tables import examples_table, line_plot, results_table

if TYPE_CHECKING:  # imported where it is used: most runs do not use it
    import wandb

_LIGHT_PAGE = 2_000_000  # bytes up to which a page is shown beside the curves, too


class WandbDashboard(HarmlessDashboard, WandbLogger):
    """Dashboard on Weights & Biases: online with credentials, else offline; it never asks.

    ``WANDB_MODE``, where it is set, decides instead of the credentials. A run is recorded offline,
    too, if W&B's server does not answer when the run starts.

    All stages of a run share one dashboard, and a resumed run goes on with it: its id is kept in
    ``wandb_id.txt`` of the run's folder from before the first batch. Values logged at one step are
    one row of the dashboard. A resumed run leaves out the rows that are there already, and adds
    rows of ``metrics.csv`` that a kill has kept from the dashboard. Offline each start makes a
    folder of its own with the same id; ``wandb sync RUN/wandb/offline-run-*`` joins them.

    Whatever W&B cannot do (start, write its files, store a checkpoint, reach its server) is told
    once, and the run goes on.

    Args:
        run_dir: The run's folder; the dashboard has its name.
        stage: Prefix of the names of an earlier stage's curves; empty for the last stage.
        resume_step: Step at which an interrupted run goes on.
        project: Project on the dashboard's server.
        entity: User or team; ``None`` for the account's default.
        checkpoints: Whether the best checkpoints are stored as artifacts when the run ends.
    """

    service = "W&B"
    LOGGER_JOIN_CHAR = STAGE_SEPARATOR

    def __init__(
        self,
        run_dir: Path,
        stage: str = "",
        resume_step: int | None = None,
        project: str = "learned-saliency",
        entity: str | None = None,
        checkpoints: bool = True,
    ) -> None:
        self._folder = Path(run_dir)
        super().__init__(
            name=self._folder.name,
            save_dir=self._folder,
            project=project,
            entity=entity,
            prefix=stage,
        )
        self._resume_step = resume_step
        self._checkpoints = checkpoints
        self._row = -1  # the dashboard's number of the row that is being filled
        self._open: tuple[str, int] | None = None  # stage and step of that row
        self._has_axes = False
        self._done: dict[str, int] = {}  # last step that an interrupted run has logged, by stage
        self._seen: dict[str, set[str]] = {}  # names of the values logged at that step

    @property
    @rank_zero_experiment
    def experiment(self) -> wandb.Run:
        """Run of the dashboard; started, or joined if an earlier stage started it, at first use."""
        if self._experiment is None and not self.lost:
            self._experiment = self.started(self._join)
        return _DummyExperiment() if self.lost else self._experiment

    def _join(self) -> wandb.Run:
        import wandb

        run_id = kept_id(self._folder / "wandb_id.txt", self.service)
        if wandb.run is not None and wandb.run.id != run_id:
            wandb.finish()  # a previous run of the same process
        self._row = -1 if wandb.run is None else wandb.run.step
        run = wandb.run or start_run(self._wandb_init | {"id": run_id})
        try:
            self._find_logged(run)
            self._add_missing(run)
        except Exception as error:  # a damaged file of the interrupted run, for example
            self.warn("find what was logged before", error)
        return run

    def _find_logged(self, run: wandb.Run) -> None:
        """Find the rows that an interrupted run has left, on the server or in this folder."""
        rows: Iterable[Mapping[str, Any]] = [{**run.summary, "_step": run.step - 1}]
        if run.settings._offline:
            files = sorted(self._folder.glob(f"wandb/*run-*/run-{run.id}.wandb"))
            rows = [r for f in files if f.parent != Path(run.dir).parent for r in read_history(f)]
        for row in rows:
            self._row = max(self._row, int(row["_step"]))
            for name, value in row.items():
                stage, _, last = name.rpartition(STAGE_SEPARATOR)
                if last == "step" and int(value) >= self._done.get(stage, -1):
                    if int(value) > self._done.get(stage, -1):
                        self._seen[stage] = set()
                    self._done[stage] = int(value)
                    self._seen[stage] |= set(row)
        if not run.settings._offline:
            self._seen |= self._names_at_last_steps()

    def _names_at_last_steps(self) -> dict[str, set[str]]:
        """Find what was logged at the last step of each stage; the server tells no rows."""
        found: dict[str, set[str]] = {}
        curves = self._folder / METRICS_FILE
        for stage, step, values in read_rows(curves) if curves.is_file() else ():
            if step == self._done.get(stage):
                found.setdefault(stage, set()).update(values)
        return found

    def _add_missing(self, run: wandb.Run) -> None:
        """Log values of ``metrics.csv`` from before the resumed step that are not here."""
        curves = self._folder / METRICS_FILE
        if self._resume_step is None or not curves.is_file():
            return
        self._set_axes(run)
        for stage, step, values in read_rows(curves):
            if stage != self._prefix or step < self._resume_step:
                self._log(run, values, stage, step)

    def _set_axes(self, run: wandb.Run) -> None:
        self._has_axes = True
        for axis, curves in {"step": "train/*", "epoch": "val/*"}.items():
            axis = prefixed(self._prefix, axis)
            run.define_metric(axis, hidden=True)
            run.define_metric(prefixed(self._prefix, curves), step_metric=axis)

    def _log(self, run: wandb.Run, values: Mapping[str, Any], stage: str, step: int) -> None:
        """Add values under their full names to the row of a step, but those logged before."""
        done = self._done.get(stage, -1)
        if step == done:  # a validation, for example, that the interrupted run did not get to
            values = {k: v for k, v in values.items() if k not in self._seen.get(stage, ())}
        if step < done or not values.keys() - {prefixed(stage, "epoch")}:
            return
        if self._open != (stage, step):
            self._row, self._open = self._row + 1, (stage, step)
        run.log({**values, prefixed(stage, "step"): step}, step=self._row)

    @harmless
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log values at a step; without a step, beside the values logged last."""
        run = self.experiment
        if step is None:
            step = self._open[1] if self._open else 0
        if "epoch" in metrics and not self._has_axes:  # only a training logs epochs
            self._set_axes(run)
        values = {prefixed(self._prefix, name): value for name, value in metrics.items()}
        self._log(run, values, self._prefix, step)

    @harmless
    def log_config(self, config: dict[str, Any]) -> None:
        """Show the configuration, nested."""
        self.experiment.config.update(config, allow_val_change=True)

    @harmless
    def log_picture(self, name: str, path: Path, epoch: int, step: int) -> None:
        """Show a PNG beside the curves of its step."""
        import wandb

        picture = wandb.Image(str(path), caption=f"epoch {epoch + 1}")
        self.log_metrics({name: picture, "epoch": epoch}, step)

    @harmless
    def log_report(self, report: Report) -> None:
        """Show the table of methods, the examples, the curves as plots and the pictures."""
        import wandb

        run = self.experiment
        shown: dict[str, Any] = {f"{report.split}/results": results_table(report)}
        if report.examples:
            shown[f"{report.split}/examples"] = examples_table(report)
        if report.boxes:
            shown[f"{report.split}/box_accuracy"] = line_plot(
                {n: (c["thresholds"], c["largest_contour_50"]) for n, c in report.boxes.items()},
                "Box accuracy at IoU 0.5",
                "threshold",
            )
        if report.pixels:
            shown[f"{report.split}/precision_recall"] = line_plot(
                {name: (curve.recall, curve.precision) for name, curve in report.pixels.items()},
                "Precision",
                "recall",
            )
        shown |= {f"pictures/{path.stem}": wandb.Image(str(path)) for path in report.pictures}
        page = report.page if report.page is not None and report.page.is_file() else None
        if page is not None and page.stat().st_size <= _LIGHT_PAGE:
            shown[page.stem] = wandb.Html(str(page), inject=False)
        self._row, self._open = self._row + 1, None
        with staged_in(self._folder / "wandb"):
            run.log(shown, step=self._row)
        if page is not None:
            self._log_files("report", "report", [page])

    @harmless
    def log_hyperparams(self, params: Any) -> None:
        """Show hyperparameters, which Lightning hands over."""
        super().log_hyperparams(params)

    @harmless
    def log_checkpoint(
        self, name: str, files: Sequence[Path], aliases: Sequence[str], metadata: dict[str, Any]
    ) -> None:
        """Store an artifact; offline it refers to the files where they are."""
        if self._checkpoints:
            self._log_files(name, "model", files, aliases, metadata)

    def _log_files(
        self,
        name: str,
        kind: str,
        files: Sequence[Path],
        aliases: Sequence[str] = (),
        metadata: dict[str, Any] | None = None,
    ) -> None:
        import wandb

        run = self.experiment
        artifact = wandb.Artifact(f"{name}-{run.id}", type=kind, metadata=metadata)
        for file in files:
            artifact.add_file(str(file), policy="immutable", skip_cache=True)  # not copied
        run.log_artifact(artifact, aliases=list(aliases))

    @harmless
    def finish(self, failed: bool = False) -> None:
        """End the dashboard's run, and wait until all its data are sent."""
        import wandb

        if self._experiment is not None:
            self._experiment = None
            wandb.finish(exit_code=int(failed))

"""Logger to Trackio."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from learned_saliency.trainers.loggers.dashboard import Report, prefixed
from learned_saliency.trainers.loggers.harmless import harmless
from learned_saliency.trainers.loggers.kept_id import kept_id
from learned_saliency.trainers.loggers.stepped import Logged, SteppedDashboard
from learned_saliency.trainers.loggers.tables import results_rows

if TYPE_CHECKING:  # an extra
    from trackio import Run


class TrackioDashboard(SteppedDashboard):
    """Dashboard on Trackio: curves, configuration, pictures, results and checkpoints.

    Trackio keeps the runs of a project together in one folder, ``TRACKIO_DIR`` or by default
    ``~/.cache/huggingface/trackio``, which it reads once per process; ``trackio show`` opens them.
    With ``space_id`` they go to a Space of Hugging Face instead. There, and on a network disk,
    Trackio does not tell what it has: a resumed run then logs the steps since its last checkpoint
    twice. What Trackio cannot do is told once, and the run goes on.

    Args:
        run_dir: See `SteppedDashboard`.
        stage: See `SteppedDashboard`.
        resume_step: See `SteppedDashboard`.
        project: Project in which the run appears.
        space_id: Space of Hugging Face, ``user/name``; None to stay on this machine.
        checkpoints: See `SteppedDashboard`.
    """

    service = "Trackio"
    package = "trackio"
    _open: ClassVar[dict[Path, Run]] = {}  # by folder: the stages of a run share it

    def __init__(
        self,
        run_dir: Path,
        stage: str = "",
        resume_step: int | None = None,
        project: str = "learned-saliency",
        space_id: str | None = None,
        checkpoints: bool = True,
    ) -> None:
        super().__init__(run_dir, stage, resume_step, checkpoints)
        self._project = project
        self._space = space_id
        self._config: dict[str, Any] = {}

    def _join(self) -> Run:
        import trackio

        if self._folder not in self._open:
            self._open.clear()  # Trackio now ends a run that nobody closed
            with redirect_stdout(sys.stderr):
                self._open[self._folder] = trackio.init(
                    project=self._project,
                    name=kept_id(self._folder / "trackio_id.txt", self.service, self.name),
                    space_id=self._space,
                    config=self._config,
                    resume="allow",
                    embed=False,
                    auto_log_gpu=False,
                    auto_log_cpu=False,
                )
        return self._open[self._folder]

    def _logged(self) -> Logged | None:
        from trackio.sqlite_storage import SQLiteStorage
        from trackio.utils import get_storage_mode

        if self._space is not None or get_storage_mode() != "sqlite":
            return None
        found: Logged = {}
        for row in SQLiteStorage.get_logs(self._project, self._run.name, run_id=self._run.id):
            for name, value in row.items():
                found.setdefault(name, {})[int(row["step"])] = value
        return found

    def _write(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    @harmless
    def log_config(self, config: dict[str, Any]) -> None:
        """Show the configuration, nested."""
        self._config = config
        _ = self.experiment

    @harmless
    def log_picture(self, name: str, path: Path, epoch: int, step: int) -> None:
        """Show a PNG at its step."""
        import trackio

        run, name = self.experiment, prefixed(self._stage, name)
        picture = trackio.Image(str(path), caption=f"epoch {epoch + 1}")
        if not self._is_logged(name, step, picture):
            run.log({name: picture}, step=step)

    @harmless
    def log_report(self, report: Report) -> None:
        """Show the table of methods and the pictures, and store the page as an artifact."""
        import trackio

        run = self.experiment
        columns, rows = results_rows(report)
        shown: dict[str, Any] = {f"{report.split}/results": trackio.Table(columns, rows)}
        shown |= {f"pictures/{path.stem}": trackio.Image(str(path)) for path in report.pictures}
        run.log(shown, step=self._step)
        if report.page is not None and report.page.is_file():
            self._store("report", "report", [report.page])

    @harmless
    def log_checkpoint(
        self, name: str, files: Sequence[Path], aliases: Sequence[str], metadata: dict[str, Any]
    ) -> None:
        """Store a copy of the files as an artifact."""
        if self._checkpoints:
            self._store(name, "model", files, aliases, metadata)

    def _store(
        self,
        name: str,
        kind: str,
        files: Sequence[Path],
        aliases: Sequence[str] = (),
        metadata: dict[str, Any] | None = None,
    ) -> None:
        import trackio

        run = self.experiment
        artifact = trackio.Artifact(f"{name}-{run.name}", type=kind, metadata=metadata)
        for file in files:
            artifact.add_file(file)
        run.log_artifact(artifact, aliases=list(aliases))

    @harmless
    def finish(self, failed: bool = False) -> None:
        """End the dashboard's run, and wait until all its data are written."""
        import trackio

        self._run = None
        if self._open.pop(self._folder, None) is not None:
            with redirect_stdout(sys.stderr):
                trackio.finish()

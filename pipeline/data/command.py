"""The work of ``learned-saliency data``, and what it prints."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from learned_saliency.pipeline.cli import UserError, printable
from learned_saliency.pipeline.data.doctor import JOURNAL, examine
from learned_saliency.pipeline.data.findings import Severity
from learned_saliency.pipeline.data.report import format_examination, write_reports
from learned_saliency.pipeline.runs import with_class_files


def run(config: DictConfig) -> None:
    """Check a data set; print the counts, the findings and the paths of the report.

    Raises:
        UserError: If faults were found that would stop a training or falsify its figures, or the
            folder of the report is someone else's.
    """
    folder = Path(config.output_dir).expanduser().absolute()
    if folder.is_dir() and any(folder.iterdir()) and not (folder / JOURNAL).is_file():
        raise UserError(
            f"output_dir={config.output_dir}: the folder holds other files (it has no {JOURNAL}); "
            "choose a new one."
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JOURNAL).touch()  # by which the folder is known later
    examination = examine(with_class_files(config), folder)
    written = write_reports(examination, folder)
    print(f"\n{format_examination(examination)}\n")
    print("\n".join(printable(str(path)) for path in written))
    if errors := examination.findings.count(Severity.ERROR):
        faults = "1 fault was" if errors == 1 else f"{errors} faults were"
        raise UserError(
            f"{faults} found that would stop a training or falsify its figures; {written[0]} names "
            "them."
        )

"""Offline files of W&B, read by its own reader; no server, no question, no run mixed up."""

import os
from types import SimpleNamespace

import pytest

from learned_saliency.trainers import MetricsCSV, Report, WandbDashboard
from learned_saliency.trainers.loggers.kept_id import kept_id
from learned_saliency.trainers.loggers.wandb_history import read_history, read_records


@pytest.fixture(scope="module", autouse=True)
def newcomer():
    """Forget the session of an earlier test file, with its credentials and mode."""
    import wandb

    wandb.teardown()


@pytest.fixture(autouse=True)
def nobody(tmp_path, monkeypatch):
    """A user without credentials."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asks"))
    monkeypatch.setattr("getpass.getpass", lambda *_: pytest.fail("it asks"))


def files(folder):
    return sorted(folder.glob("wandb/offline-run-*/*.wandb"))


def history(folder):
    return [row for file in files(folder) for row in read_history(file)]


def steps(folder, stage=""):
    name = f"{stage}/step" if stage else "step"
    return [row[name] for row in history(folder) if name in row]


def log(logger, *steps):
    for step in steps:
        logger.log_metrics({"train/loss": step / 10, "epoch": step // 4}, step)
        logger.save()


def test_it_is_offline_without_credentials_and_keeps_its_id_from_the_start(tmp_path):
    logger = WandbDashboard(tmp_path)
    logger.log_config({"model": {"name": "cam"}})
    kept = (tmp_path / "wandb_id.txt").read_text().strip()
    assert logger.experiment.settings._offline
    assert logger.experiment.id == kept
    logger.finish()
    (record,) = [r for r in read_records(files(tmp_path)[0]) if r["type"] == "run"]
    assert record["run"]["run_id"] == kept


def test_bad_credentials_and_a_silent_server_end_offline_too(tmp_path, monkeypatch):
    import wandb

    monkeypatch.setenv("WANDB_API_KEY", "short")
    logger = WandbDashboard(tmp_path / "bad")
    with pytest.warns(UserWarning, match="credentials are no good"):
        log(logger, 0)
    logger.finish()
    assert files(tmp_path / "bad")

    init = wandb.init

    def unreachable(mode, **options):
        if mode == "online":
            raise wandb.errors.CommError("no such host")
        return init(mode=mode, **options)

    monkeypatch.setattr("wandb.login", lambda **_: True)
    monkeypatch.setattr("wandb.init", unreachable)
    logger = WandbDashboard(tmp_path / "silent")
    with pytest.warns(UserWarning, match="does not answer"):
        log(logger, 0)
    logger.finish()
    assert steps(tmp_path / "silent") == [0]


def test_wandb_mode_is_honored(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    logger = WandbDashboard(tmp_path)
    log(logger, 0, 1)
    logger.finish()
    assert not files(tmp_path)


def test_stages_share_a_dashboard_and_what_is_of_one_step_is_one_row(tmp_path):
    first, last = (WandbDashboard(tmp_path, stage=stage) for stage in ("classifier", ""))
    log(first, 0, 1)
    first.log_metrics({"val/native/pxap": 0.5, "epoch": 0}, 1)
    log(last, 0)
    first.finish()
    last.finish()
    rows = [
        {k: v for k, v in row.items() if not k.startswith("_") or k == "_step"}
        for row in history(tmp_path)
    ]
    assert rows == [
        {"_step": 0, "classifier/train/loss": 0.0, "classifier/epoch": 0, "classifier/step": 0},
        {
            "_step": 1,
            "classifier/train/loss": 0.1,
            "classifier/val/native/pxap": 0.5,
            "classifier/epoch": 0,
            "classifier/step": 1,
        },
        {"_step": 2, "train/loss": 0.0, "epoch": 0, "step": 0},
    ]
    axes = {
        r["metric"]["glob_name"]: r["metric"]["step_metric"]
        for r in read_records(files(tmp_path)[0])
        if r["type"] == "metric" and "glob_name" in r["metric"]
    }
    assert axes == {
        "classifier/train/*": "classifier/step",
        "classifier/val/*": "classifier/epoch",
        "train/*": "step",
        "val/*": "epoch",
    }


def test_a_resumed_run_neither_repeats_nor_lacks_a_row(tmp_path):
    """The dashboard had got to step 9, but lost 6 and 7 of metrics.csv; the checkpoint is of 8."""
    curves = MetricsCSV(tmp_path)
    log(curves, *range(10))
    logger = WandbDashboard(tmp_path)
    log(logger, *range(6))
    logger.finish()
    resumed = WandbDashboard(tmp_path, resume_step=8)
    log(resumed, *range(8, 12))
    resumed.finish()
    rows = history(tmp_path)
    assert len(files(tmp_path)) == 2
    assert [row["step"] for row in rows] == list(range(12))
    assert [row["_step"] for row in rows] == list(range(12))

    further = WandbDashboard(tmp_path, resume_step=10)  # 11 steps were logged
    log(further, *range(10, 13))
    further.finish()
    assert next(read_history(files(tmp_path)[-1]))["step"] == 12


def test_a_validation_that_was_broken_off_is_logged_beside_the_step_before_it(tmp_path):
    logger = WandbDashboard(tmp_path)
    log(logger, 0, 1)
    logger.finish()
    resumed = WandbDashboard(tmp_path, resume_step=2)
    resumed.log_metrics({"val/native/pxap": 0.5, "epoch": 0}, 1)
    log(resumed, 1, 2)
    resumed.finish()
    names = ("step", "train/loss", "val/native/pxap")
    assert [tuple(row.get(name) for name in names) for row in history(tmp_path)] == [
        (0, 0.0, None),
        (1, 0.1, None),
        (1, None, 0.5),
        (2, 0.2, None),
    ]


def test_online_the_server_says_what_it_has(tmp_path, monkeypatch):
    logged = []
    server = SimpleNamespace(
        id="kept",
        step=7,  # the next row
        summary={"classifier/step": 3, "step": 2, "train/loss": 0.2},
        settings=SimpleNamespace(_offline=False),
        define_metric=lambda *_, **__: None,
        log=lambda values, step: logged.append((step, values["step"])),
    )
    (tmp_path / "wandb_id.txt").write_text("kept\n")
    monkeypatch.setattr("wandb.login", lambda **_: True)
    monkeypatch.setattr("wandb.init", lambda id, **_: server if id == "kept" else None)
    log(MetricsCSV(tmp_path), *range(4))
    log(WandbDashboard(tmp_path, resume_step=4), 4)
    assert logged == [(7, 3), (8, 4)]


def test_runs_of_one_process_do_not_mix(tmp_path):
    for name, first in (("a", 0), ("b", 5)):
        logger = WandbDashboard(tmp_path / name)
        log(logger, first, first + 1)
        if name == "a":
            continue  # it ended badly: nobody closed it
        logger.finish()
    assert steps(tmp_path / "a") == [0, 1]
    assert steps(tmp_path / "b") == [5, 6]
    assert len({(tmp_path / name / "wandb_id.txt").read_text() for name in "ab"}) == 2


def use_all(logger, folder):
    """Call everything that a run calls."""
    logger.log_config({"a": 1})
    log(logger, 0, 1)
    report = Report("test", {"native": {"pxap": 0.5}}, {}, {}, [], ["cat"], [])
    logger.log_report(report)
    (folder / "best.ckpt").write_bytes(b"weights")
    logger.log_checkpoint("cam", [folder / "best.ckpt"], ["best"], {"epoch": 0})
    logger.finish()


@pytest.mark.parametrize("size", [1, 2_000_001])
def test_the_page_is_an_artifact_and_a_light_one_is_shown_too(tmp_path, size):
    page = tmp_path / "report.html"
    page.write_text("x" * size)
    logger = WandbDashboard(tmp_path)
    report = Report("test", {"native": {"pxap": 0.5}}, {}, {}, [], ["cat"], [], page)
    logger.log_report(report)
    logger.finish()
    records = list(read_records(files(tmp_path)[0]))
    found = [r["artifact"] for r in records if r["type"] == "artifact"]
    (artifact,) = [a for a in found if a["type"] == "report"]
    assert artifact["name"] == f"report-{(tmp_path / 'wandb_id.txt').read_text().strip()}"
    (content,) = artifact["manifest"]["contents"]
    assert (content["path"], content["local_path"]) == ("report.html", str(page))
    shown = [row["report.path"] for row in history(tmp_path) if "report.path" in row]
    (folder,) = tmp_path.glob("wandb/offline-run-*")
    assert [(folder / "files" / path).stat().st_size for path in shown] == [size] * (size == 1)


def told(record):
    return [str(w.message) for w in record if "W&B could not" in str(w.message)]


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left"), RuntimeError("x\ny"), ValueError()]
)
def test_a_dashboard_that_cannot_start_ends_no_run(recwarn, tmp_path, monkeypatch, error):
    calls = []

    def init(**_):
        calls.append(1)
        raise error

    monkeypatch.setattr("wandb.init", init)
    logger = WandbDashboard(tmp_path, resume_step=1)
    use_all(logger, tmp_path)
    assert len(calls) == 1
    (message,) = told(recwarn)
    assert message.startswith(f"W&B could not start ({type(error).__name__}:")
    assert message.endswith("; this run has no dashboard.")
    assert "\n" not in message


def test_a_folder_that_cannot_be_written_ends_no_run(recwarn, tmp_path):
    (tmp_path / "run").write_text("a file in the folder's place")
    logger = WandbDashboard(tmp_path / "run")
    use_all(logger, tmp_path)
    assert len(told(recwarn)) == 1


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        ("wandb.Artifact.add_file", ["log report", "log checkpoint"]),
        ("wandb.Table", ["log report"]),
        ("wandb.finish", ["finish"]),
    ],
)
def test_what_fails_in_mid_run_is_told_and_the_rest_goes_on(
    recwarn, tmp_path, monkeypatch, broken, what
):
    import wandb

    finish = wandb.finish

    def failing(*_, **__):
        raise OSError(28, "No space left on device")

    logger = WandbDashboard(tmp_path)
    logger.log_config({})
    with monkeypatch.context() as patch:
        patch.setattr(broken, failing)
        use_all(logger, tmp_path)
    for message, each in zip(told(recwarn), what, strict=True):
        assert message.startswith(f"W&B could not {each} (OSError: [Errno 28]")
        assert message.endswith("; the run goes on.")
    finish()
    assert steps(tmp_path) == [0, 1]


def test_a_failure_that_repeats_is_told_once(recwarn, tmp_path, monkeypatch):
    logger = WandbDashboard(tmp_path)
    run = logger.experiment
    with monkeypatch.context() as patch:
        patch.setattr(type(run), "log", lambda *_, **__: 1 / 0)
        log(logger, 0, 1, 2)
    assert len(told(recwarn)) == 1
    log(logger, 3)
    logger.finish()
    assert steps(tmp_path) == [3]


@pytest.mark.parametrize(
    "content",
    [b"", b"../../other", b"a/b", b"*", b"[a-z]", b"a b", b"x" * 100_000, b"\xff\x00", b"a\nb"],
)
def test_an_identity_that_is_none_is_replaced(tmp_path, content):
    """It would be part of paths and patterns."""
    path = tmp_path / "wandb_id.txt"
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=r"wandb_id\.txt holds no id of a W&B run"):
        found = kept_id(path, "W&B")
    assert found == path.read_text().strip() == kept_id(path, "W&B")
    assert found.isalnum()
    assert found not in content.decode(errors="replace")


def test_a_damaged_history_ends_no_run(recwarn, tmp_path):
    logger = WandbDashboard(tmp_path)
    log(logger, 0, 1)
    logger.finish()
    files(tmp_path)[0].write_bytes(b"no history at all")
    resumed = WandbDashboard(tmp_path, resume_step=2)
    log(resumed, 2)
    resumed.finish()
    (message,) = told(recwarn)
    assert message.startswith("W&B could not find what was logged before")
    assert [row["step"] for row in read_history(files(tmp_path)[-1])] == [2]

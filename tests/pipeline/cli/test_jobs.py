"""A job's end is told in one sentence by the command that waits for it."""

import pytest

from learned_saliency.pipeline.cli.jobs import job_error


def test_the_end_of_a_job_is_told_with_its_reason_and_its_log(tmp_path):
    submitit = pytest.importorskip("submitit", reason="extra `cluster`")
    executor = submitit.LocalExecutor(folder=tmp_path)
    lines = "train.py: training cam\\ntrain.py: the training diverged"
    job = executor.submit(exec, f"import sys; print('{lines}', file=sys.stderr); sys.exit(2)")
    with pytest.raises(submitit.core.utils.UncompletedJobError) as caught:
        job.result()
    told = job_error(caught.value, "train.py")
    log = f"{tmp_path}/{job.job_id}_0_log.err"
    assert str(told) == f"a job ended before its work was done ({log}): the training diverged"
    assert told.code == 1


def test_other_errors_are_no_ends_of_jobs():
    assert job_error(RuntimeError("train.py: it failed"), "train.py") is None

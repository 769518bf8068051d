import os

import pytest

from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.prediction.sharing import Claims, own_share


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_parts_share_all_items_without_overlap(count):
    items = list(range(13))
    shares = [own_share(items, f"{number}/{count}") for number in range(1, count + 1)]
    assert sorted(item for share in shares for item in share) == items
    assert own_share(items, None) == own_share(items, "claim") == items


def task(number, first, last, step=1, count=None):
    count = (last - first) // step + 1 if count is None else count
    values = {"ID": number, "MIN": first, "MAX": last, "STEP": step, "COUNT": count}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


@pytest.mark.parametrize(("first", "last", "step"), [(0, 4, 1), (1, 4, 1), (10, 90, 20)])
def test_tasks_of_a_job_array_share_all_items(first, last, step):
    items = list(range(11))
    tasks = [task(number, first, last, step) for number in range(first, last + 1, step)]
    shares = [own_share(items, "slurm", found) for found in tasks]
    assert sorted(item for share in shares for item in share) == items


@pytest.mark.parametrize(
    ("part", "environment", "told"),
    [
        ("0/3", {}, "expected I/N with I from 1 to N"),
        ("4/3", {}, "expected I/N"),
        ("slurm", {}, "no task of a job array"),
        ("slurm", task(3, 1, 9, count=2), "do not follow each other from 1 to 9"),
    ],
)
def test_parts_that_cannot_be_are_refused(part, environment, told):
    with pytest.raises(UserError, match=told):
        own_share([1], part, environment)


def test_a_claim_is_one_calls_alone_until_it_is_left_or_silent(tmp_path):
    mine, other = Claims(tmp_path), Claims(tmp_path)
    assert mine.take("sub/a.tar")
    assert not other.take("sub/a.tar")
    assert other.take("b.tar")
    mine.leave("sub/a.tar")
    assert other.take("sub/a.tar")
    (claim,) = (tmp_path / "sub").iterdir()
    os.utime(claim, (claim.stat().st_mtime - 3600,) * 2)  # its call was killed
    assert mine.take("sub/a.tar")
    for claims, name in ((mine, "sub/a.tar"), (other, "b.tar"), (other, "sub/a.tar")):
        claims.leave(name)
    assert [path.name for path in tmp_path.rglob("*")] == ["sub"]

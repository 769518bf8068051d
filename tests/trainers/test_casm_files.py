"""Snapshots as files: written once, named by checkpoints, removed by nobody who needs them."""

import io
import os
import resource
import shutil

import pytest
import torch
from safetensors.torch import load_file

from learned_saliency.pipeline.runs import DurableCheckpointIO
from learned_saliency.storage import sha256
from learned_saliency.trainers import SnapshotPool, casm_files
from learned_saliency.trainers.casm_files import SnapshotError, SnapshotFiles
from tests.trainers.test_casm import fit, make_batches, make_module


class Killed(BaseException):
    """Not an Exception, as a kill is not."""


def snapshot(number):
    generator = torch.Generator().manual_seed(number)
    weight = torch.randn(4, 3, 3, 3, generator=generator).to(memory_format=torch.channels_last)
    return {"weight": weight, "seen": torch.tensor(number)}


def files_of(folder):
    return {path.name for path in folder.glob("*")}


def save(pool, path):
    """Write a checkpoint as a run does."""
    io = DurableCheckpointIO(pool.drop_unused)
    io.save_checkpoint({"snapshots": pool.state_dict()}, path)


def named(path):
    return set(torch.load(path, weights_only=True)["snapshots"]["files"])


def all_named_are_whole(folder):
    for path in folder.glob("*.ckpt"):
        assert all(sha256(folder / "pool" / n) == n.partition(".")[0] for n in named(path))


def steps_and_checkpoint(pool, path):
    for _ in range(4):  # so that the checkpoint leaves several files without a name
        step(pool)
    save(pool, path)


def make_pool(folder, thinning="L1", size=2, **options):
    pool = SnapshotPool(thinning, size=size, current_probability=0.0, **options)
    pool.keep_in(folder / "pool")
    pool.open(snapshot(0))
    return pool


def step(pool):
    """Take the snapshot that is due and draw one."""
    if pool.is_due():
        pool.take(snapshot(pool.iteration))
    return pool.draw()


def test_a_snapshot_is_written_once_under_its_hash(tmp_path):
    files = SnapshotFiles(tmp_path)
    name = files.add(snapshot(1))
    before = (tmp_path / name).stat()
    assert files.add(snapshot(1)) == name
    assert (tmp_path / name).stat().st_ino == before.st_ino
    assert (tmp_path / name).stat().st_mtime_ns == before.st_mtime_ns
    assert files_of(tmp_path) == {name} == {f"{sha256(tmp_path / name)}.safetensors"}
    torch.testing.assert_close(load_file(tmp_path / name), snapshot(1), rtol=0, atol=0)
    assert files.add(snapshot(2)) != name


def test_a_damaged_file_is_written_again(tmp_path):
    files = SnapshotFiles(tmp_path)
    name = files.add(snapshot(1))
    (tmp_path / name).write_bytes(b"")  # as after a power cut
    files.add(snapshot(1))
    assert files.is_whole(name)


def test_weights_that_share_memory_are_written(tmp_path):
    shared = torch.arange(6.0)
    name = SnapshotFiles(tmp_path).add({"a": shared, "b": shared.view(2, 3)})
    assert load_file(tmp_path / name)["b"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_files_and_memory_draw_the_same(tmp_path):
    in_files, in_memory = make_pool(tmp_path, size=3), SnapshotPool("L1", 3, 0.0)
    for _ in range(12):
        ours, theirs = step(in_files), step(in_memory)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
        assert ours["weight"].stride() == theirs["weight"].stride()
    assert in_files.born == in_memory.born
    assert len(in_files.names) == 3


def test_a_checkpoint_does_not_grow_with_the_pool(tmp_path):
    sizes = []
    for size in (1, 20):
        pool = make_pool(tmp_path / str(size), size=size)
        for _ in range(20):
            step(pool)
        torch.save(pool.state_dict(), buffer := io.BytesIO())
        sizes.append(buffer.tell())
    assert sizes[1] - sizes[0] < 20 * 100  # names and births alone


def test_a_file_stays_as_long_as_any_checkpoint_names_it(tmp_path):
    pool = make_pool(tmp_path)
    for _ in range(2):
        step(pool)
    save(pool, tmp_path / "best.ckpt")
    best = named(tmp_path / "best.ckpt")
    shutil.copy(tmp_path / "best.ckpt", tmp_path / "mine.ckpt")
    (tmp_path / "notes.ckpt").write_text("not one of ours")
    for _ in range(8):
        step(pool)
        save(pool, tmp_path / "last.ckpt")
    last = named(tmp_path / "last.ckpt")
    assert last == set(pool.names)
    assert best.isdisjoint(last)
    assert files_of(tmp_path / "pool") == best | last
    save(pool, tmp_path / "best.ckpt")
    assert files_of(tmp_path / "pool") == best | last
    (tmp_path / "mine.ckpt").unlink()
    save(pool, tmp_path / "last.ckpt")
    assert files_of(tmp_path / "pool") == last


def test_no_reader_of_checkpoints_has_to_succeed_for_a_file_to_stay(tmp_path, monkeypatch):
    pool = make_pool(tmp_path, size=1)
    step(pool)
    save(pool, tmp_path / "best.ckpt")
    best = named(tmp_path / "best.ckpt")

    def fail(*args, **options):  # as where files cannot be mapped into memory
        raise RuntimeError("unable to mmap")

    monkeypatch.setattr(torch, "load", fail)
    step(pool)
    save(pool, tmp_path / "last.ckpt")
    assert files_of(tmp_path / "pool") == best | set(pool.names)
    assert len(best | set(pool.names)) == 2


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (casm_files, "sha256"),  # a file is written, but has no name yet
        (SnapshotFiles, "sync"),  # files are there, but no checkpoint names them
        (SnapshotFiles, "prune"),  # the checkpoint is there, files that it does not name, too
        (SnapshotFiles, "_remove"),  # one after the other
    ],
)
def test_a_kill_at_any_moment_loses_nothing_that_a_checkpoint_names(
    owner, name, tmp_path, monkeypatch
):
    pool = make_pool(tmp_path, size=3)
    for iteration in range(9):
        step(pool)
        save(pool, tmp_path / ("last.ckpt" if iteration else "best.ckpt"))
    step(pool)
    victim, calls = getattr(owner, name), []

    def dying(*given):
        calls.append(given)
        if len(calls) == (2 if name == "_remove" else 1):
            raise Killed
        return victim(*given)

    monkeypatch.setattr(owner, name, dying)
    with pytest.raises(Killed):
        steps_and_checkpoint(pool, tmp_path / "last.ckpt")
    monkeypatch.undo()
    (tmp_path / "pool" / "unfinished.tmp").write_text("as a kill leaves it")
    all_named_are_whole(tmp_path)
    going_on = make_pool(tmp_path, size=3)
    going_on.load_state_dict(torch.load(tmp_path / "last.ckpt", weights_only=True)["snapshots"])
    going_on.open(snapshot(0))
    whole = SnapshotPool("L1", 3, 0.0)
    for _ in range(going_on.iteration):
        step(whole)
    for _ in range(6):
        torch.testing.assert_close(step(going_on), step(whole), rtol=0, atol=0)
    save(going_on, tmp_path / "last.ckpt")
    assert files_of(tmp_path / "pool") == named(tmp_path / "best.ckpt") | set(going_on.names)


def test_a_full_disk_leaves_nothing_half_written(tmp_path):
    pool = make_pool(tmp_path)
    step(pool)
    before = files_of(tmp_path / "pool")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 10, limit[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            pool.take({"weight": torch.zeros(1 << 10)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert files_of(tmp_path / "pool") == before


def test_missing_damaged_and_foreign_files_are_named_with_the_remedy(tmp_path):
    files = SnapshotFiles(tmp_path / "pool")
    like, name = snapshot(0), files.add(snapshot(1))
    files.verify([name], like)
    with pytest.raises(SnapshotError, match=rf"{name}: is of another network .* copy the run"):
        files.verify([name], {"weight": torch.zeros(1), "seen": torch.tensor(0)})
    path = tmp_path / "pool" / name
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(SnapshotError, match=rf"{name}: damaged, its SHA-256 .* copy the run's"):
        files.verify([name], like)
    with pytest.raises(SnapshotError, match="damaged"):
        files.read(name, snapshot(0))
    path.unlink()
    for reading in (files.verify, files.read):
        names = [name] if reading == files.verify else name
        with pytest.raises(SnapshotError, match=rf"{name}: this snapshot .* missing.* copy the"):
            reading(names, snapshot(0))
    for wrong in ("../last.ckpt", "a.safetensors", 3):
        with pytest.raises(SnapshotError, match=r"names '.*', which is no snapshot"):
            files.check([wrong])


def test_bfloat16_halves_the_files_and_draws_rounded_weights(tmp_path):
    whole, half = make_pool(tmp_path / "whole"), make_pool(tmp_path / "half", dtype="bfloat16")
    in_memory = SnapshotPool("L1", 2, 0.0, dtype="bfloat16")
    for _ in range(4):
        ours, theirs, third = step(half), step(whole), step(in_memory)
        rounded = theirs["weight"].bfloat16().float()
        assert ours["weight"].dtype == torch.float32
        torch.testing.assert_close(ours, third, rtol=0, atol=0)
        assert torch.equal(ours["weight"], rounded)
        assert torch.equal(ours["seen"], theirs["seen"])
    stored = load_file(tmp_path / "half" / "pool" / half.names[0])
    assert [stored[key].dtype for key in ("weight", "seen")] == [torch.bfloat16, torch.int64]
    with pytest.raises(ValueError, match="dtype must be bfloat16 or None, got 'float16'"):
        SnapshotPool("L", dtype="float16")


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_a_training_with_files_goes_on_as_one_in_memory(dtype, tmp_path):
    def make(folder=None):
        module = make_module("L2", 0.4)
        module.pool = SnapshotPool("L2", 3, 0.4, dtype=dtype)
        if folder is not None:
            module.keep_files(folder)
        return module

    batches = make_batches(5)
    whole = make()
    fit(whole, batches, epochs=2)
    stopped = make(tmp_path)
    fit(stopped, batches).save_checkpoint(tmp_path / "last.ckpt")
    moved = shutil.move(tmp_path, tmp_path.with_name(f"{tmp_path.name}-moved"))
    resumed = make(moved)
    fit(resumed, batches, epochs=2, ckpt_path=moved / "last.ckpt")
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)
    assert resumed.pool.born == whole.pool.born
    assert len(files_of(moved / "pool")) == 5  # all that were taken, none twice


def test_a_checkpoint_with_files_is_used_without_them_but_not_trained(tmp_path):
    batches = make_batches(2)
    module = make_module("L1")
    module.keep_files(tmp_path)
    fit(module, batches).save_checkpoint(tmp_path / "last.ckpt")
    shutil.rmtree(tmp_path / "pool")
    content = torch.load(tmp_path / "last.ckpt", weights_only=True)
    other = make_module("L1")
    other.on_load_checkpoint(content)  # as Lightning's load_from_checkpoint does
    other.load_state_dict(content["state_dict"])
    other.saliency(batches[0]["image"])
    with pytest.raises(SnapshotError, match=r"call keep_files\(FOLDER\)"):
        fit(other, batches)
    other.keep_files(tmp_path)
    with pytest.raises(SnapshotError, match="is missing"):
        other.check_files(tmp_path, content)
    with pytest.raises(SnapshotError, match="is missing"):
        fit(other, batches)


def test_snapshots_in_a_checkpoint_become_files(tmp_path):
    module = make_module("L2")
    fit(module, make_batches(3)).save_checkpoint(tmp_path / "last.ckpt")
    other = make_module("L2")
    other.keep_files(tmp_path)
    other.check_files(tmp_path, torch.load(tmp_path / "last.ckpt", weights_only=True))
    fit(other, make_batches(3), ckpt_path=tmp_path / "last.ckpt", epochs=2)
    assert len(files_of(tmp_path / "pool")) == 3
    assert other.pool.born == [0, 2, 4]


def test_on_the_device_snapshots_stay_in_memory_beside_their_files(tmp_path):
    pool = make_pool(tmp_path, size=3, on_device=True)
    for _ in range(6):
        step(pool)
    other = make_pool(tmp_path, size=3, on_device=True)
    other.load_state_dict(pool.state_dict())
    other.open(snapshot(0), torch.device("cpu"))
    shutil.rmtree(tmp_path / "pool")
    found = {int(pool._tensors(stored, None)["seen"]) for stored in pool._stored}
    assert {int(stored.tensors["seen"]) for stored in other._stored} == found
    assert len(found) == 3


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_files_have_the_mode_that_the_umask_gives(mask, mode, tmp_path):
    """The library of safetensors gives 600: others could copy a run, but not go on with it."""
    before = os.umask(mask)
    try:
        name = SnapshotFiles(tmp_path / "pool").add(snapshot(0))
    finally:
        os.umask(before)
    assert (tmp_path / "pool" / name).stat().st_mode & 0o777 == mode

import os
import pickle
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from learned_saliency.datamodules import DataError, ImageError
from learned_saliency.datamodules.shards import ShardStore, member_id, store, writing_shard
from tests.support.tarred import write_tar


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LEARNED_SALIENCY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "shard-indexes"


def contents(count):
    generator = np.random.default_rng(count)
    return {f"{i}.bin": generator.bytes(int(generator.integers(0, 1500))) for i in range(count)}


def test_members_are_read_in_any_order_by_threads_and_after_pickling(tmp_path, cache):
    shards = {name: contents(count) for name, count in (("a.tar", 40), ("sub/b.tar", 7))}
    for name, members in shards.items():
        write_tar(tmp_path / name, members.items())
    names = [(shard, name) for shard, members in shards.items() for name in members]
    names = [names[i] for i in np.random.default_rng(0).permutation(len(names))]
    first = ShardStore(tmp_path)
    ids = [member_id(*name) for name in names]
    for found in (first, pickle.loads(pickle.dumps(first))):
        with ThreadPoolExecutor(8) as pool:
            read = pool.map(found.read, ids)
            assert list(read) == [shards[shard][name] for shard, name in names]
    assert len(list(cache.iterdir())) == 2


def test_headers_are_read_once_and_again_when_a_shard_has_changed(tmp_path, monkeypatch, cache):
    read, scanned = store.read_members, []
    monkeypatch.setattr(store, "read_members", lambda path: scanned.append(path) or read(path))
    write_tar(tmp_path / "a.tar", [("0.txt", b"old")])
    for _ in range(3):
        assert ShardStore(tmp_path).read("a.tar/0.txt") == b"old"
    assert len(scanned) == 1
    write_tar(tmp_path / "a.tar", [("1.txt", b""), ("0.txt", b"new one")])
    assert ShardStore(tmp_path).read("a.tar/0.txt") == b"new one"
    assert len(scanned) == 2


def test_what_is_not_there_is_told(tmp_path):
    write_tar(tmp_path / "a.tar", [("0.txt", b"old")])
    found = ShardStore(tmp_path)
    with pytest.raises(ImageError, match="no such member"):
        found.read("a.tar/1.txt")
    with pytest.raises(ImageError, match=r"SHARD\.tar/NAME"):
        found.read("a/1.txt")
    with pytest.raises(DataError, match=r"b\.tar: there is no such shard"):
        found.read("b.tar/1.txt")


def test_a_place_where_no_index_can_be_kept_does_no_harm(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LEARNED_SALIENCY_CACHE", str(tmp_path / "file"))
    write_tar(tmp_path / "a.tar", [("0.txt", b"old")])
    assert ShardStore(tmp_path).read("a.tar/0.txt") == b"old"


def test_a_shard_is_written_whole_or_not_at_all_and_twice_the_same(tmp_path):
    for name in ("a.tar", "b.tar"):
        with writing_shard(tmp_path / name) as shard:
            for member, content in contents(5).items():
                shard.add(member, content)
                assert not (tmp_path / name).exists()
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with pytest.raises(TypeError), writing_shard(tmp_path / "a.tar") as shard:
        shard.add("0.bin", None)
    assert ShardStore(tmp_path).read("a.tar/4.bin") == contents(5)["4.bin"]
    assert sorted(path.name for path in tmp_path.glob("*tar*")) == ["a.tar", "b.tar"]


def test_a_forked_process_does_not_wait_for_a_thread_of_the_other(tmp_path):
    path = write_tar(tmp_path / "a.tar", [("0.txt", b"zero")])
    begun, ended = threading.Event(), threading.Event()

    def locate(name):
        begun.set()
        assert os.getpid() != parent or ended.wait(60)
        return path

    parent, shards = os.getpid(), ShardStore(tmp_path, locate)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(shards.read, "a.tar/0.txt")
        assert begun.wait(60)  # the thread now holds the lock
        child = os.fork()
        if child == 0:
            signal.alarm(30)
            os._exit(0 if shards.read("a.tar/0.txt") == b"zero" else 1)
        found = os.waitpid(child, 0)[1]
        ended.set()
    assert found == 0

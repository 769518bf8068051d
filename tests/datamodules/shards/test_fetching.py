import os

import pytest

from learned_saliency.datamodules import DataError
from learned_saliency.datamodules.shards import Remote, fetching, is_address
from tests.support.tarred import served, write_tar


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LEARNED_SALIENCY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetching, "_PAUSE", 0.01)
    return tmp_path / "cache"


@pytest.fixture
def web(tmp_path):
    for name in ("a.tar", "sub/b c.tar", "d.tar"):
        write_tar(tmp_path / "web" / name, [("0.txt", name.encode() * 1000)])
    with served(tmp_path / "web") as found:
        yield found


def test_a_shard_is_fetched_once_whole_and_after_failures(tmp_path, web):
    address, asked, answers = web
    answers += [503, b"too few bytes", None]
    remote = Remote(f"{address}/")
    for _ in range(2):
        path = remote.locate("a.tar")
        assert path.read_bytes() == (tmp_path / "web/a.tar").read_bytes()
    assert asked == ["/a.tar"] * 3
    there = tmp_path / "web/a.tar"
    assert int(path.stat().st_mtime) == int(there.stat().st_mtime)  # by which its index is known
    assert remote.locate("sub/b c.tar").read_bytes() == (tmp_path / "web/sub/b c.tar").read_bytes()
    assert not list(path.parent.rglob("*.tmp"))


def test_what_cannot_be_fetched_is_told_in_one_sentence(web, cache):
    address, asked, answers = web
    with pytest.raises(DataError, match=rf"{address}/no\.tar: cannot be fetched \(404 "):
        Remote(address).locate("no.tar")
    assert len(asked) == 1  # it will not come by asking again
    answers += [b"x"] * 4
    with pytest.raises(DataError, match=r"a\.tar: cannot be fetched \(1 of 4000 bytes came\)"):
        Remote(address).locate("a.tar")
    answers += ["ftp://127.0.0.1/d.tar"] * 4
    with pytest.raises(DataError, match="it leads to ftp://127"):
        Remote(address).locate("d.tar")
    with pytest.raises(DataError, match="leads out of"):
        Remote(address).locate("../../x.tar")
    assert not [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_nothing_is_fetched_where_it_is_not_allowed_but_what_is_there_is_read(web):
    address, asked, _ = web
    with pytest.raises(DataError, match=f"say data.root={address} yourself"):
        Remote(address, allowed=False).locate("a.tar")
    assert not asked
    Remote(address).locate("a.tar")
    assert Remote(address, allowed=False).locate("a.tar").is_file()


def test_shards_that_were_used_longest_ago_make_room(web):
    address, asked, _ = web
    size = len(Remote(address).locate("a.tar").read_bytes())
    remote = Remote(address, most_bytes=2 * size + 20480)
    for number, name in enumerate(("a.tar", "d.tar")):
        path = remote.locate(name)
        os.utime(path, ns=((number + 1) * 10**9, path.stat().st_mtime_ns))
    remote.locate("a.tar")  # is now the younger one
    remote = Remote(address, most_bytes=size + 20480)
    third = remote.locate("sub/b c.tar")
    assert not (remote.folder / "d.tar").exists()
    assert third.is_file()
    remote.locate("d.tar")
    assert asked.count("/d.tar") == 2


def test_a_shard_of_unknown_length_makes_room_too(tmp_path, web):
    address, _, answers = web
    first = Remote(address).locate("a.tar")
    content = (tmp_path / "web/d.tar").read_bytes()
    answers.append(bytearray(content))
    remote = Remote(address, most_bytes=len(content))
    assert remote.locate("d.tar").read_bytes() == content
    assert not first.exists()


@pytest.mark.parametrize("word", ["pipe:cat a.tar", "s3://bucket/a.tar", "file:///a.tar", "gs://a"])
def test_addresses_of_other_kinds_are_refused(word):
    with pytest.raises(DataError, match="are read from disk and from https:// or http://"):
        is_address(word)


def test_places_on_this_machine_are_no_addresses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd:name").mkdir()
    assert not any(map(is_address, ["a/b.tar", "/a:b/c.tar", "odd:name", "~/x", "C"]))
    assert is_address("https://a.example/b.tar")

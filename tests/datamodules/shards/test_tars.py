import gzip
import io
import tarfile
from itertools import islice

import pytest

from learned_saliency.datamodules import DataError
from learned_saliency.datamodules.shards import Member, read_members
from tests.support.tarred import write_tar

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


@pytest.mark.parametrize("form", FORMATS)
def test_members_are_those_that_pythons_own_library_finds(tmp_path, form):
    long = "" if form == "ustar" else "x" * 230
    names = ["0.jpg", "folder/0.txt", "a" * 90 + "/" + "b" * 60 + ".json", f"{long}ä.png", "e.cls"]
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=FORMATS[form]) as archive:
        for size, name in zip((3, 0, 512, 1025, 70), names, strict=True):
            info = tarfile.TarInfo(name)
            info.size = size
            archive.addfile(info, io.BytesIO(bytes(range(256)) * 5))
            for kind, other in ((tarfile.DIRTYPE, f"{size}.d"), (tarfile.SYMTYPE, f"{size}.l")):
                info = tarfile.TarInfo(other)
                info.type, info.linkname = kind, "/etc/passwd"
                archive.addfile(info)
            info = tarfile.TarInfo(f"{size}.hard")
            info.type, info.linkname = tarfile.LNKTYPE, names[0]
            archive.addfile(info)
    with tarfile.open(path) as archive:
        files = [Member(i.name, i.offset_data, i.size) for i in archive if i.isreg()]
    assert [member.name for member in files] == names
    assert list(read_members(path)) == files


def test_a_shard_that_is_cut_off_anywhere_is_refused(tmp_path):
    whole = write_tar(tmp_path / "a.tar", [("0.jpg", b"x" * 600), ("0.cls", b"1")]).read_bytes()
    used = 512 + 1024 + 512 + 512  # before the end of the archive
    for length in [1, 511, 512, 513, 1024, 1535, 1536, 2048, 2100, used, used + 511]:
        path = tmp_path / f"{length}.tar"
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"\.tar: (is cut off|member 0\.\w+: is cut off)"):
            list(read_members(path))


def test_a_header_that_is_no_header_is_refused_with_its_place(tmp_path):
    path = write_tar(tmp_path / "a.tar", [("0.jpg", b"x"), ("0.cls", b"1")])
    content = bytearray(path.read_bytes())
    content[1024] ^= 1  # the first letter of the second name, of which the sum tells
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.tar: is damaged at byte 1024"):
        list(read_members(path))


def test_notes_of_a_hostile_length_are_not_read(tmp_path):
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 33
    path = tmp_path / "a.tar"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(DataError, match="notes of 8589934592 bytes"):
        list(read_members(path))


@pytest.mark.parametrize("size", ["-1", "-2000"])
def test_a_length_below_zero_in_a_note_is_refused(tmp_path, size):
    note = f"{9 + len(size)} size={size}\n".encode()
    headers = []
    for name, length, kind in (("note", len(note), tarfile.XHDTYPE), (".odd", 5, tarfile.REGTYPE)):
        info = tarfile.TarInfo(name)
        info.type, info.size = kind, length
        headers.append(info.tobuf(tarfile.USTAR_FORMAT))
    path = tmp_path / "a.tar"
    path.write_bytes(headers[0] + note.ljust(512, b"\0") + headers[1] + bytes(1536))
    with pytest.raises(DataError, match=r"is damaged at byte 1024 \(a length below 0"):
        list(islice(read_members(path), 9))  # it went on for ever


def test_what_is_no_tar_file_is_refused(tmp_path):
    path = write_tar(tmp_path / "a.tar", [("0.jpg", b"x")])
    (tmp_path / "b.tar").write_bytes(gzip.compress(path.read_bytes()))
    (tmp_path / "c.tar").write_bytes(b"no tar file at all, but some text" * 40)
    (tmp_path / "d.tar").mkdir()
    (tmp_path / "e.tar").touch()
    told = {"b": "compressed by gzip", "c": "damaged at byte 0", "d": "a folder", "e": "empty"}
    told["f"] = "there is no such shard"
    for name, words in told.items():
        with pytest.raises(DataError, match=rf"{name}\.tar: .*{words}"):
            list(read_members(tmp_path / f"{name}.tar"))

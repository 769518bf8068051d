"""Archives of one form: Python's zipfile reads them, with fields of 64 bits where needed."""

import io
import zipfile
import zlib

import pytest

from learned_saliency.pipeline.runs.bundles import archive

CONTENTS = {"a.txt": b"one", "b/c.txt": b"", "b/d.bin": bytes(range(256)) * 3}


def written():
    members = [archive.Member(name, len(c), zlib.crc32(c)) for name, c in CONTENTS.items()]
    *begins, start = archive.offsets((m.name, m.size) for m in members)
    body = b"".join(archive.local_header(m) + CONTENTS[m.name] for m in members)
    entries = [archive.directory_entry(m, o) for m, o in zip(members, begins, strict=True)]
    size = sum(map(len, entries))
    assert start == len(body)
    return body + b"".join(entries) + archive.archive_end(len(members), start, size)


@pytest.mark.parametrize("most", [0xFFFFFFFF, 300, 3], ids=["32 bits", "some of 64", "64 bits"])
def test_zipfile_reads_every_member(monkeypatch, most):
    monkeypatch.setattr(archive, "_MOST", most)
    monkeypatch.setattr(archive, "_MOST_MEMBERS", 0xFFFF if most > 300 else 3)
    whole = written()
    # zipfile takes a field of 64 bits only where that of 32 bits has its largest value
    shown = whole if most == 0xFFFFFFFF else with_largest(whole, most)
    with zipfile.ZipFile(io.BytesIO(shown)) as read:
        assert {name: read.read(name) for name in read.namelist()} == CONTENTS
        assert read.testzip() is None
    sizes = [(name, len(content)) for name, content in CONTENTS.items()]
    assert archive.archive_size(sizes) == len(whole)


def with_largest(content: bytes, most: int) -> bytes:
    """Put 0xFFFFFFFF where the lowered limit stands, as a real archive of that size has it."""
    changed = bytearray(content)
    for signature, fields in ((b"PK\x03\x04", (18, 22)), (b"PK\x01\x02", (20, 24, 42))):
        at = changed.find(signature)
        while at >= 0:
            for field in fields:
                if int.from_bytes(changed[at + field : at + field + 4], "little") == most:
                    changed[at + field : at + field + 4] = b"\xff" * 4
            at = changed.find(signature, at + 1)
    at = changed.find(b"PK\x05\x06")
    changed[at + 8 : at + 12] = b"\xff" * 4
    changed[at + 12 : at + 20] = b"\xff" * 8
    return bytes(changed)

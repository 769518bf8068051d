"""Generators of inputs: valid ones, changed in a few places, and free ones."""

from hypothesis import strategies as st

INTEGERS = (
    *(0, 1, -1, 2, 3, 7, 127, 128, 255, 256, 65535, 65536, 10**6, 10**9),
    *(2**31 - 1, 2**31, -(2**31), 2**32, 2**53, 2**63 - 1, 2**63, -(2**63), 2**64, 10**20, 10**30),
)
NUMBERS = (
    *(0.0, -0.0, 0.5, -0.5, 1.5, 1e-300, 5e-324, 1e-9, 1e9, 1e38, 1e300, 1e308),
    *(float("inf"), float("-inf"), float("nan")),
)
TEXTS = (
    *("", " ", "a", "abc", "0", "01", "+1", "-0", "1_000", "1e3", "0x10", "1.", ".5", "nan", "٣"),
    *("null", "None", "true", "False", "[]", "{}", "[1,2]", "{a:1}", "???", "//", "..", ".", "~"),
    *("../x", "/", "/etc/hostname", "/dev/null", "~/x", "~nobody-has-this-name/x", "a/../../b"),
    *("${seed}", "${nope}", "${oc.env:HOME}", "${", "$", "%s", "{0}", "\\", "'", '"', ";", "#"),
    *("x" * 300, "x" * 5000, "a/" * 3000, "é", "日本", "e\u0301", "\u202e", "\u2028", "\x1b[31m"),
    *("\x85", "\x0b", "\x0c", "\r", "\t", "\ufeff", "\U0001f600"),
)
ODD_BYTES = (
    *(
        b"\0",
        b"\xff",
        b"\xfe\xff",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\n",
        b"\r\n",
        b"\r",
        b"\xc3\x28",
    ),
    *(
        b"\xed\xa0\x80",
        b"\0" * 64,
        b"\xff" * 64,
        b"\x7f\xff\xff\xff",
        b"\x80\0\0\0",
        b"PK",
        b"%!PS",
    ),
)


def plain_values(depth: int = 2) -> st.SearchStrategy:
    """Values of JSON: extremes, and lists and dictionaries of them."""
    simple = st.sampled_from([*INTEGERS, *NUMBERS, *TEXTS, None, True, False])
    if not depth:
        return simple
    inner = plain_values(depth - 1)
    return simple | st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner)


@st.composite
def changed_bytes(draw: st.DrawFn, whole: bytes) -> bytes:
    """Content of a file with a few bytes flipped, replaced, removed, moved, or the end cut off."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(0, 4))):
        # the beginning, where the headers are, as often as all the rest
        end = draw(st.sampled_from([min(64, len(data)), len(data)]))
        start = draw(st.integers(0, max(end - 1, 0)))
        kind = draw(st.sampled_from(["flip", "put", "insert", "remove", "cut", "copy"]))
        if kind == "flip":
            for place in range(start, min(start + draw(st.integers(1, 4)), len(data))):
                data[place] ^= draw(st.integers(1, 255))
        elif kind == "put":
            odd = draw(st.sampled_from(ODD_BYTES) | st.binary(min_size=1, max_size=4))
            data[start : start + len(odd)] = odd
        elif kind == "insert":
            data[start:start] = draw(st.sampled_from(ODD_BYTES) | st.binary(max_size=8))
        elif kind == "remove":
            del data[start : start + draw(st.integers(1, 64))]
        elif kind == "cut":
            del data[start:]
        else:
            length = draw(st.integers(1, 64))
            other = draw(st.integers(0, max(len(data) - 1, 0)))
            data[start : start + length] = data[other : other + length]
    return bytes(data)


@st.composite
def changed_plain(draw: st.DrawFn, node: object, values: st.SearchStrategy, times: int) -> object:
    """Copy of nested lists and dictionaries with a few values replaced, removed or added."""
    root = [_copied(node)]
    for _ in range(times):
        parent, key = root, 0
        while draw(st.integers(0, 5)) and isinstance(parent[key], dict | list) and parent[key]:
            parent = parent[key]
            keys = sorted(parent, key=str) if isinstance(parent, dict) else range(len(parent))
            key = draw(st.sampled_from(keys))
        kind = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add"]))
        if kind == "replace" or parent is root:
            parent[key] = draw(values)
        elif kind == "remove":
            del parent[key]
        elif isinstance(parent, dict):
            parent[draw(st.sampled_from(["_target_", "_args_", "_partial_", "x", key]))] = draw(
                values
            )
        else:
            parent.insert(key, draw(values))
    return root[0]


def _copied(node: object) -> object:
    if isinstance(node, dict):
        return {key: _copied(value) for key, value in node.items()}
    return [_copied(value) for value in node] if isinstance(node, list) else node


@st.composite
def changed_lines(draw: st.DrawFn, lines: list[str], times: int) -> list[str]:
    """Lines of a text file, a few of them dropped, repeated, moved, emptied or with odd fields."""
    lines = list(lines)
    for _ in range(times):
        if not lines:
            break
        row = draw(st.integers(0, len(lines) - 1))
        fields = lines[row].split(",")
        column = draw(st.integers(0, len(fields) - 1))
        kind = draw(
            st.sampled_from(["field", "field", "field", "add", "drop", "row", "again", "out"])
        )
        odd = draw(st.sampled_from([*map(str, INTEGERS), *map(str, NUMBERS), *TEXTS]))
        if kind == "field":
            fields[column] = draw(
                st.sampled_from([odd, f" {fields[column]}", f"{fields[column]}{odd}"])
            )
        elif kind == "add":
            fields.insert(column, odd)
        elif kind == "drop":
            del fields[column]
        lines[row] = ",".join(fields)
        if kind == "row":
            lines[row] = draw(st.sampled_from(["", "   ", ",", ",,,,", odd]))
        elif kind == "again":
            lines.insert(draw(st.integers(0, len(lines))), lines[row])
        elif kind == "out":
            del lines[row]
    return lines

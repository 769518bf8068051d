"""Command lines of all commands, from keys of their configurations and values of all kinds."""

from functools import cache

from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from learned_saliency.pipeline.cli.compose import check_command_line, compose_checked, used_groups
from learned_saliency.pipeline.cli.errors import printable
from learned_saliency.pipeline.cli.help import format_help
from learned_saliency.pipeline.cli.schema import Row, find_row, rows, shown
from learned_saliency.pipeline.commands import COMMANDS
from tests.fuzz.generators import INTEGERS, NUMBERS, TEXTS
from tests.fuzz.guards import budget, outcome

_SPECIAL = "=,[]{}()'\"\\$:.~+-@#*/ \té0a"
_SYNTAX = (
    *("1,2", "a,b", "range(1,3)", "choice(1,2)", "glob(*)", "interval(0,1)", "shuffle(1,2)"),
    *("sort(3,1)", "tag(a,1)", "int('x')", "[[[[1]]]]", "{a:{b:{c:[1,{d:2}]}}}", "[1,2", "{a:1"),
    *("'a", '"a"', "\\'", "a b", "a=b", "a:b", "@", "[null]", "[,]", "range(0,100000)"),
)
NEEDED = {  # words without which a command does not begin; "file" is one that exists
    "train": [],
    "evaluate": ["checkpoint=file"],
    "predict": ["checkpoint=file", "images=file", "out=maps"],
    "export": ["checkpoint=file"],
    "convert": ["published=file"],
    "data": ["wsol", "data.root=.", "data.metadata=."],
    "compare": ["file", "input"],
    "verify": ["file"],
    "guard": ["file", "input"],
    "search": ["search=lr"],
}
FITTING = {  # by the types of rows
    "integer": ["1", "5"],
    "number": ["0.5", "1e-3"],
    "switch": ["true", "false"],
    "path": ["file", "a=b, [1] {c}.png"],
    "paths": ["file", "[file,file]", "a b"],
    "place": ["input", "${seed}", "${output_dir}/x", "a b"],
    "list": ["[1,2,3]", "[0.5,0.5,0.5]", "[]"],
    "names": ["cam", "[native,cam]", "[]"],
    "classes": ["0", "[a,1]", "a, b"],
    "devices": ["1", "auto", "[0]"],
    "duration": ["00:01:00:00", "{hours:1}"],
    "part": ["torch.optim.SGD", "os.path.join"],
    "part_of_batches": ["1", "0.5"],
    "group": ["{}", "{a:1}", "null"],
}


@cache
def keys(name: str) -> list[str]:
    """Keys of a command's configuration, of its groups too, and those that have a row of values."""
    config = compose_checked([], name, complete=False)
    plain = OmegaConf.to_container(config, resolve=False)
    return sorted({*_dotted(plain), *(key for key in rows() if "*" not in key)})


def _dotted(node: dict, prefix: str = "") -> list[str]:
    found = []
    for key, value in node.items():
        found += [
            f"{prefix}{key}",
            *(_dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else ()),
        ]
    return found


def fitting(key: str) -> list[str]:
    """Values that a key may have, and those next to the ends of its range."""
    row = find_row(key) or Row()
    ends = [end for end in (row.least, row.most, row.above, row.below) if end is not None]
    found = [shown(value) for value in row.also] + list(row.choices or ())
    found += [f"{end + step}" for end in ends for step in (-1, 0, 1)]
    return found + FITTING.get(row.type, ["1", "a", "true", "null"])


@st.composite
def words(draw: st.DrawFn, name: str) -> str:
    """Word of a command line; most have a key that exists."""
    groups = used_groups(name)
    kind = draw(st.sampled_from([*["key"] * 9, "group", "group", "free"]))
    values = st.sampled_from([*map(str, INTEGERS), *map(str, NUMBERS), *TEXTS, *_SYNTAX])
    values |= st.text(_SPECIAL, max_size=8)
    if kind == "free":
        return draw(st.text(max_size=8) | st.text(_SPECIAL, max_size=12) | values)
    if kind == "group" and groups:
        key = draw(st.sampled_from(sorted(groups)))
        value = draw(st.sampled_from(groups[key]) | values)
    else:
        key = draw(st.sampled_from(keys(name)))
        value = draw(values | st.sampled_from(fitting(key)) | st.sampled_from(fitting(key)))
    prefix = draw(st.sampled_from([*[""] * 12, "+", "++", "~"]))
    spoilt = draw(st.sampled_from([*[""] * 20, "x", ".", ".x", "@x", " "]))
    return f"{prefix}{key}{spoilt}={value}" if prefix != "~" else f"~{key}{spoilt}"


@st.composite
def command_lines(draw: st.DrawFn) -> tuple[str, list[str]]:
    """Name of a command, and words."""
    name = draw(st.sampled_from(sorted(COMMANDS)))
    given_words = draw(st.lists(words(COMMANDS[name].config_name), min_size=1, max_size=3))
    flags = draw(st.sampled_from([*[[]] * 9, ["-m"], ["-m"], ["--help"]]))
    needed = NEEDED.get(name, []) if draw(st.integers(0, 9)) else []
    return name, [word.replace("\0", "") for word in [*flags, *needed, *given_words]]


def check(name: str, given_words: list[str]) -> None:
    """Do what a command does before its job."""
    command = COMMANDS[name]
    overrides = command.words(given_words)
    if "--help" in given_words:
        assigned = [word for word in overrides if not word.startswith("-")]
        format_help(command.page, f"python {name}.py", command.config_name, assigned)
        return

    def look(config: DictConfig) -> None:
        command.check(config)
        assert printable(command.announce(config)).strip()

    check_command_line(overrides, command.config_name, command.complete, look)


@budget(12)
@given(line=command_lines())
def test_command_lines(place, line):
    name, given_words = line
    (place / "file").touch()
    outcome(lambda: check(name, given_words), place, ())

"""Command lines of all commands, from keys of their configurations and values of all kinds."""

from functools import cache

from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from learned_saliency.pipeline.cli.compose import check_command_line, compose_checked, used_groups
from learned_saliency.pipeline.cli.errors import printable
from learned_saliency.pipeline.cli.help import format_help
from learned_saliency.pipeline.cli.schema import rows
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
        key, value = draw(st.sampled_from(keys(name))), draw(values)
    prefix = draw(st.sampled_from([*[""] * 12, "+", "++", "~"]))
    spoilt = draw(st.sampled_from([*[""] * 20, "x", ".", ".x", "@x", " "]))
    return f"{prefix}{key}{spoilt}={value}" if prefix != "~" else f"~{key}{spoilt}"


@st.composite
def command_lines(draw: st.DrawFn) -> tuple[str, list[str]]:
    """Name of a command, and words."""
    name = draw(st.sampled_from(sorted(COMMANDS)))
    given_words = draw(st.lists(words(COMMANDS[name].config_name), min_size=1, max_size=3))
    flags = draw(st.sampled_from([*[[]] * 9, ["-m"], ["-m"], ["--help"]]))
    needed = NEEDED[name] if draw(st.integers(0, 9)) else []
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

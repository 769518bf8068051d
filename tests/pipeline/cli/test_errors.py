import warnings

import pytest

from learned_saliency.datamodules import DataError
from learned_saliency.errors import MendableError, SurroundingsError
from learned_saliency.pipeline.cli import UserError, printable
from learned_saliency.pipeline.cli.entry import _leave_out_known_messages, run_or_exit


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a plain name, café, 猫 and 🐈", "a plain name, café, 猫 and 🐈"),
        ("red \x1b[31m, \x9b31m", "red \ufffd[31m, \ufffd31m"),
        ("title \x1b]0;x\x07", "title \ufffd]0;x\ufffd"),
        ("two\nlines\tand\u2028more", "two lines and more"),
        ("\u202egnp.exe", "\ufffdgnp.exe"),
        ("not in UTF-8 \udcff", "not in UTF-8 \ufffd"),
        ("\x00", "\ufffd"),
    ],
)
def test_printed_lines_do_nothing_to_a_terminal(text, line):
    assert printable(text) == line
    assert line.isprintable()


@pytest.mark.parametrize("kind", [MendableError, UserError, DataError, SurroundingsError])
def test_a_sentence_stays_one_line_that_can_be_read_whatever_names_are_in_it(kind):
    assert str(kind("a.ckpt: 'one\ntwo' is left over.")) == "a.ckpt: 'one two' is left over."
    told = str(kind(f"a.ckpt: '{'x' * 100_000}' is left over."))
    assert len(told) < 2100
    assert told.startswith("a.ckpt: 'xxx")
    assert told.endswith("xxx' is left over.")


def test_names_in_refusals_do_nothing_to_a_terminal(capsys):
    def work():
        raise UserError("\x1b]0;title\x07\x1b[2Jno such class: \udcff")

    with pytest.raises(SystemExit):
        run_or_exit("x.py", work)
    told = capsys.readouterr().err
    assert told.endswith("\n")
    assert told.rstrip("\n").isprintable()


def test_names_in_warnings_do_nothing_to_a_terminal(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    with warnings.catch_warnings():
        _leave_out_known_messages()
        line = warnings.formatwarning("label 1 is '\x1b[2J'", UserWarning, "x.py", 1, "")
    assert "label 1 is '\ufffd[2J'" in line


def test_a_reader_that_has_read_enough_ends_a_command_quietly(monkeypatch, capsys):
    replaced = []
    monkeypatch.setattr("os.dup2", lambda source, target: replaced.append(target))

    def work():
        raise BrokenPipeError

    with pytest.raises(SystemExit) as ended:
        run_or_exit("learned-saliency", work)
    assert ended.value.code == 141
    assert replaced == [1]
    assert capsys.readouterr().err == ""

"""Completion by the shell: commands, flags, choices, runs and files; by Click in this process, and by a real bash."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import BashComplete

from charrnn.cli import main
from charrnn.cli._command import commands_of

from ._material import TIMEOUT
from .conftest import environment

CONTEXT = main.make_context("charrnn", [], resilient_parsing=True)


def completed(*words: str) -> list[tuple[str, str]]:
    """Return kind and value of what may stand in place of the last word."""
    *args, incomplete = words
    complete = BashComplete(main, {}, "charrnn", "_CHARRNN_COMPLETE")
    return [(item.type, item.value) for item in complete.get_completions(args, incomplete)]


@pytest.fixture
def names(cwd):
    """Put three runs under ./checkpoints, one of them without a model."""
    for name, file in (("names", "best.npz"), ("nature", "last.npz"), ("novel", "log.jsonl")):
        path = Path("checkpoints", name, file)
        path.parent.mkdir(parents=True)
        path.touch()


def test_commands_flags_and_choices():
    assert ("plain", "sample") in completed("sam")
    assert completed("classify", "pr") == completed("help", "classify", "pr") == [("plain", "predict")]
    assert ("plain", "--model") in completed("classify", "predict", "--")
    assert {"--hidden-size", "--color"} <= {value for _, value in completed("train", "--")}
    assert completed("train", "--cell", "l") == [("plain", "lstm"), ("plain", "lnlstm"), ("plain", "lnmlstm")]
    assert completed("sweep", "--cell", "rnn,l") == [
        ("plain", "rnn,lstm"),
        ("plain", "rnn,lnlstm"),
        ("plain", "rnn,lnmlstm"),
    ]
    assert completed("help", "sa") == [("plain", "sample")]
    assert completed("compare", "--by", "hid") == [("plain", "hidden-size")]
    assert completed("list", "--color", "a") == [("plain", "auto"), ("plain", "always")]


@pytest.mark.parametrize(
    "words",
    [("sample", "-m"), ("eval", "--model"), ("info",), ("train", "--init-from"), ("rm",), ("compare",), ("serve",)],
    ids=" ".join,
)
def test_runs_by_their_names_and_anything_else_by_its_path(names, words):
    assert completed(*words, "na") == [("plain", "names"), ("plain", "nature")]
    assert completed(*words, "") == [("plain", "names"), ("plain", "nature")]
    assert completed(*words, "check") == [("file", "check")]


def test_whatever_names_a_file_is_completed_as_one(names):
    for words in (("train", "--out"), ("train", "--val-file"), ("sample", "--prime-file"), ("sample", "--prime-lines")):
        assert completed(*words, "x") == [("file", "x")]
    for name, command in commands_of(CONTEXT):
        assert completed(*name.split(), "--config", "x") == [("file", "x")]
        for param in command.params:
            if isinstance(param, click.Argument) and name not in ("complete", "fill", "help"):  # texts, and a command
                assert [kind for kind, _ in completed(*name.split(), "x")] == ["file"], f"{name} {param.name}"


def test_a_broken_file_of_settings_is_in_nobodys_way(names):
    Path("charrnn.toml").write_text("broken")
    assert ("plain", "names") in completed("sample", "-m", "na")


@pytest.mark.parametrize(
    ("shell", "line", "incomplete"),
    [("zsh", "compdef _charrnn_completion charrnn", "3"), ("fish", "complete --no-files --command charrnn", "na")],
)
def test_zsh_and_fish_get_their_scripts_and_names(run, names, shell, line, incomplete):
    assert line in run(env={"_CHARRNN_COMPLETE": f"{shell}_source"}).stdout
    words = {"COMP_WORDS": "charrnn sample -m na", "COMP_CWORD": incomplete}
    told = run(env={"_CHARRNN_COMPLETE": f"{shell}_complete"} | words).stdout
    assert [name in told for name in ("names", "nature", "novel")] == [True, True, False]


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_a_real_bash_completes(names, cwd):
    """The script is that of `_CHARRNN_COMPLETE=bash_source charrnn`; its function is called as bash would call it."""
    bin = cwd / "bin"
    bin.mkdir()
    (bin / "charrnn").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c "{SHIM}" "$@"\n')
    (bin / "charrnn").chmod(0o755)
    script = """
        set -e
        PATH="$PWD/bin:$PATH"
        eval "$(_CHARRNN_COMPLETE=bash_source charrnn)"
        complete -p charrnn | grep -q _charrnn_completion
        COMP_WORDS=(charrnn sample -m nam) COMP_CWORD=3
        _charrnn_completion charrnn
        echo "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "-c", script], env=environment(), capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert (done.stdout, done.returncode) == ("names\n", 0), done.stderr


SHIM = "from charrnn.cli import main; main(prog_name='charrnn')"

"""Cells of the user on the command line: `--import MODULE` and `--cell MODULE:NAME`, and who may name a module."""

import shlex
import sys

import pytest

from charrnn.nn.cells import CELLS

from ._material import SMALL

pytestmark = pytest.mark.usefixtures("no_sync", "own_cells")

MODULE = """
from dataclasses import replace
import charrnn
CELL = replace(charrnn.CELLS["rnn"], layer=None)
OTHER = 5
charrnn.register_cell("mine", CELL, replace=True)
"""


@pytest.fixture(autouse=True)
def module(cwd, monkeypatch):
    """Put a module into the folder, and forget it after the test."""
    (cwd / "mycells.py").write_text(MODULE, encoding="utf-8")
    (cwd / "broken.py").write_text("1 / 0\n", encoding="utf-8")
    monkeypatch.setattr(sys, "path", sys.path[:])
    yield
    sys.modules.pop("mycells", None)


def forget():
    """Begin as a new process does: nothing is imported or registered."""
    from charrnn import config

    for name in config.OWN_CELLS:
        del CELLS[name]
    config.OWN_CELLS.clear()
    sys.modules.pop("mycells", None)


def train(run, corpus, *options, **more):
    return run("train", corpus, *SMALL, "--steps", "4", *options, **more)


def test_a_cell_of_a_module_is_trained_and_its_model_used(run, corpus):
    told = train(run, corpus, "--cell", "mycells:CELL").stderr
    forget()
    assert "mycells:CELL, 1 layer of 16 units" in told
    assert sys.path[-1] != ""
    printed = next(line for line in told.splitlines() if line.startswith("Sample "))
    _, _, *sample = shlex.split(printed)
    assert sample[-2:] == ["--import", "mycells"]
    assert len(run(*sample, "-n", "20").stdout) >= 20
    forget()
    assert "--import mycells" in run("sample", code=2).stderr
    assert "mycells:CELL" in run("list").stdout  # which needs no cell


def test_a_cell_that_a_module_registers_is_used_by_its_name(run, corpus):
    train(run, corpus, "--cell", "mine", "--import", "mycells")
    forget()
    assert run("eval", corpus, code=2).stderr.count("is not registered: import the module that calls") == 1
    assert "cell:mine|" in run("eval", corpus, "--json", env={"CHARRNN_IMPORT": "mycells"}).stdout


@pytest.mark.parametrize("options", [["--cell", "mycells:CELL"], ["--cell", "mine", "--import", "mycells"]])
def test_the_printed_command_repeats_the_run(run, corpus, cwd, options):
    told = train(run, corpus, *options).stderr
    once = (cwd / "checkpoints" / "tiny" / "last.npz").read_bytes()
    forget()
    printed = next(line for line in told.splitlines() if line.startswith("Repeat "))
    run(*shlex.split(printed)[2:], "--force")
    assert (cwd / "checkpoints" / "tiny" / "last.npz").read_bytes() == once


def test_a_run_is_resumed_only_with_its_cell(run, corpus):
    train(run, corpus, "--cell", "mycells:CELL")
    forget()
    assert "--import mycells" in run("train", corpus, "--resume", "--steps", "6", code=2).stderr
    assert "mycells" not in sys.modules
    run("train", corpus, "--resume", "--steps", "6", "--cell", "mycells:CELL")


def test_a_settings_file_imports_nothing(run, corpus, cwd):
    (cwd / "charrnn.toml").write_text('cell = "mycells:CELL"\n', encoding="utf-8")
    assert train(run, corpus, code=2).stderr == (
        "Error: --cell mycells:CELL needs a module, which a settings file cannot import: add --import mycells "
        "(--cell is set in charrnn.toml)\n"
    )
    assert "mycells" not in sys.modules
    assert "mycells:CELL" in train(run, corpus, "--import", "mycells").stderr
    (cwd / "charrnn.toml").write_text('import = "mycells"\n', encoding="utf-8")
    forget()
    assert "import is not a setting" in train(run, corpus, code=2).stderr
    assert "mycells" not in sys.modules


def test_the_environment_imports(run, corpus):
    assert "mycells:CELL" in train(run, corpus, env={"CHARRNN_TRAIN_CELL": "mycells:CELL"}).stderr


def test_nothing_is_imported_while_a_shell_completes(run):
    words = {"COMP_WORDS": "charrnn train --cell mycells:CELL --import mycells --ste", "COMP_CWORD": "6"}
    assert "--steps" in run(env={"_CHARRNN_COMPLETE": "bash_complete"} | words).stdout
    assert "mycells" not in sys.modules


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--import", "nowhere"], "--import nowhere: no module nowhere in this folder or on Python's path"),
        (["--import", "mycells.py"], "--import mycells.py: give the module's name, not its file: mycells"),
        (["--import", "broken"], "--import broken: the module raised ZeroDivisionError: division by zero"),
        (["--cell", "mycells:OTHER"], "--cell mycells:OTHER: OTHER in {cwd}/mycells.py is not a charrnn.Cell"),
        (["--cell", "mycells:NONE"], "--cell mycells:NONE: NONE in {cwd}/mycells.py is not a charrnn.Cell"),
        (["--cell", "nowhere:CELL"], "--cell nowhere:CELL: no module nowhere in this folder"),
    ],
)
def test_what_cannot_be_imported_is_one_line(run, corpus, cwd, options, wanted):
    told = train(run, corpus, *options, code=2).stderr
    assert told.startswith(f"Error: {wanted.format(cwd=cwd)}")
    assert told.count("\n") == 1


def test_a_file_here_hides_no_other_module(run, corpus, cwd):
    (cwd / "decimal.py").write_text("1 / 0\n", encoding="utf-8")
    train(run, corpus, "--import", "mycells")
    assert sys.path[-1] == str(cwd)


def test_built_in_cells_are_named_in_any_case(run, corpus):
    assert "gru, 1 layer of 16 units" in train(run, corpus, "--cell", "GRU").stderr
    assert "got 'lsmt' (did you mean lstm?)" in train(run, corpus, "--cell", "lsmt", code=2).stderr

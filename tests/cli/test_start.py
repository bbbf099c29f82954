"""Start-up: what each command loads, in a Python of its own, and that Python never searches it for garbage.

A list names what a path must not load, unless Click or NumPy load it anyway. No test looks at a clock.
"""

import json
from pathlib import Path

import click
import pytest
from fixtures_run import output_of

from charrnn.cli import _SECTIONS, main
from charrnn.cli._command import commands_of

MODEL = Path(__file__).parents[1] / "checkpoint_v1" / "best.npz"
#: Prints the modules that the last of the imports leaves loaded.
FLOOR = "import json, sys, {}; print(json.dumps([*sys.modules]))"
#: Prints the modules that the command leaves loaded, its garbage collections, and the objects frozen at the end.
COMMAND = """
import atexit, gc, json, sys
from charrnn.__main__ import main
before = sum(each["collections"] for each in gc.get_stats())
def report():  # after all that `main` registers
    collections = sum(each["collections"] for each in gc.get_stats()) - before
    print("\\n" + json.dumps([[*sys.modules], collections, gc.get_freeze_count()]))
    sys.stdout.flush()
atexit.register(report)
sys.argv = ["charrnn", *sys.argv[1:]]
main()
"""
COMMANDS = dict(commands_of(click.Context(main)))
#: What no path below needs.
HEAVY = (
    *("rich", "tqdm", "threadpoolctl", "prompt_toolkit", "regex", "uvicorn", "starlette", "zstandard"),
    *("asyncio", "concurrent", "csv", "decimal", "email", "fractions", "http", "importlib.metadata", "logging"),
    *("multiprocessing", "pkgutil", "socket", "statistics", "subprocess", "tempfile", "tracemalloc", "unittest"),
)
#: What a help or a completion does not need either.
OF_SAMPLES = ("numpy", "hashlib", "random", "secrets", "zipfile", "charrnn.api", "charrnn.checkpoint", "charrnn.nn")
#: What only the options of a command need, or only its body.
OF_COMMANDS = ("dataclasses", "json", "pathlib", "signal", "charrnn.config", "charrnn.data", "charrnn.generation")
NO_SAMPLES = (
    *("charrnn.doctor", "charrnn.evaluation", "charrnn.keywords", "charrnn.parallel"),
    "charrnn.serve",
    *(f"charrnn.data.{name}" for name in ("cache", "corpus", "decoding", "documents", "files", "reading", "records")),
    *(f"charrnn.generation.{name}" for name in ("beam", "completion", "constraint", "regex", "sample")),
    *(f"charrnn.training.{name}" for name in ("budget", "loop", "resume", "run", "setup")),
    *(f"charrnn.memory.{name}" for name in ("adaptive", "grams", "ngram", "trie")),
    *("charrnn.nn.bptt", "charrnn.nn.optimizers", "charrnn.nn.schedules", "charrnn.system.blas"),
    *("charrnn.nn.cells.gru", "charrnn.nn.cells.lnlstm", "charrnn.nn.cells.rnn"),
)


def module_of(command: str) -> str:
    """Return the module of a command, which is named by the words after `charrnn`."""
    return f"charrnn.cli.{command.replace('-', '_').replace(' ', '.')}"


def started(*args: str | Path) -> tuple[set[str], int, int]:
    """Return the modules that a command loads, the collections while it ran, and the objects frozen at its end."""
    modules, collections, frozen = json.loads(output_of(COMMAND, *args).splitlines()[-1])
    return set(modules), collections, frozen


def needless(modules: set[str], names: tuple[str, ...], floor: str) -> list[str]:
    """Return the modules with these names, and those inside of them, that the floor does not load."""
    more = modules - {*json.loads(output_of(FLOOR.format(floor)))}
    return sorted(module for module in more if any(f"{module}.".startswith(f"{name}.") for name in names))


@pytest.mark.parametrize("args", [("--help",), ("--version",), ("-h",)], ids=" ".join)
def test_the_first_screens_load_no_command_and_no_settings(args):
    modules, *_ = started(*args)
    commands = [module_of(name) for names in _SECTIONS.values() for name in names]
    assert needless(modules, (*HEAVY, *OF_SAMPLES, *OF_COMMANDS, *commands), "click") == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_loads_what_its_options_need(name):
    others = [module_of(other) for other in COMMANDS if other != name]
    modules, *_ = started(*name.split(), "--help")
    assert needless(modules, (*HEAVY, *OF_SAMPLES, *others), "click") == []


@pytest.mark.parametrize("words", ["charrnn sa", "charrnn sample --te", "charrnn sample -m o"])
def test_a_completion_loads_no_numpy_and_no_other_command(monkeypatch, words):
    monkeypatch.setenv("_CHARRNN_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
    modules, *_ = started()
    assert "click.shell_completion" in modules
    others = [module_of(name) for name in COMMANDS if name not in ("help", "sample")]
    assert needless(modules, (*HEAVY, *OF_SAMPLES, *others), "click") == []


def test_a_sample_loads_one_cell_and_nothing_that_trains_or_evaluates():
    modules, *_ = started("sample", "-m", MODEL, "-n", "1", "--seed", "1")
    assert "charrnn.nn.cells.lstm" in modules
    assert needless(modules, (*HEAVY, *NO_SAMPLES), "click, numpy.random, zipfile") == []


@pytest.mark.parametrize("args", [("--help",), ("sample", "-m", MODEL, "-n", "1")], ids=["help", "sample"])
def test_python_does_not_search_the_objects_of_modules_for_garbage(args):
    _, collections, frozen = started(*args)
    assert collections == 0
    assert frozen > 10_000

"""`--help`: snapshots, the agreement of flags and settings, and that asking for help costs nothing.

The snapshots are blocks of the pages in docs/cli, a page for each command. Renew them with

    CHARRNN_RENEW_HELP=1 python -m pytest tests/cli/test_help.py

and read the difference before you commit it.
"""

import os
import pkgutil
import re
import shlex
import sys
from pathlib import Path

import click
import pytest

import charrnn
import charrnn.cli
from charrnn.cli import main
from charrnn.cli._command import SectionedCommand, commands_of
from charrnn.cli._group import Group
from charrnn.config import setting_fields, setting_names
from charrnn.errors import EXIT_CODES

from ._material import TIMEOUT, error_line

PAGES = Path(__file__).parents[2] / "docs" / "cli"
#: With the command's own settings: Click keeps the help option that the first context asks for.
CONTEXT = main.make_context("charrnn", [], resilient_parsing=True)
#: All commands, also those of groups, by the words after `charrnn`.
FOUND = {name: command for name, command in commands_of(CONTEXT) if name != "help"}
COMMANDS = [*FOUND]
#: The groups, by the words after `charrnn`; "" is the group of all commands.
GROUPS = {"": main} | {
    name: get for name in main.list_commands(None) if isinstance(get := main.get_command(CONTEXT, name), Group)
}
#: The options of `train` that are no settings: they do not change what is computed, or name files.
NO_SETTINGS = {"out", "val_file", "init_from", "resume", "force", "live", "sample_every", "quiet", "verbose", "help"}


def all_of(name: str) -> str:
    """Return the option that shows the whole help of a command or a group."""
    return "--help-all" if getattr(FOUND.get(name), "basics", None) else "--help"


def test_every_command_has_a_page():
    assert sorted(page.stem for page in PAGES.glob("*.md")) == [
        "README",
        *sorted({name.split()[0] for name in COMMANDS}),
    ]


@pytest.mark.parametrize("name", [*GROUPS, *COMMANDS])
def test_a_page_shows_the_help_of_its_command(run, name):
    """The block after the comment `help: NAME` in docs/cli/NAME.md is what `charrnn NAME --help` prints.

    The commands of a group are in the page of the group.
    """
    shown = run(*name.split(), all_of(name))
    assert shown.stderr == ""
    page = PAGES / f"{(name or 'README').split()[0]}.md"
    mark = f"<!-- {f'help: {name}'.strip()} -->\n```text\n"
    before, mark, rest = page.read_text(encoding="utf-8").partition(mark)
    assert mark, f"{page} has no block for the help of charrnn {name}"
    body, fence, after = rest.partition("```\n")
    if os.environ.get("CHARRNN_RENEW_HELP"):
        page.write_text(before + mark + shown.stdout + fence + after, encoding="utf-8")
    else:
        assert shown.stdout == body


def test_short_and_long_help_are_the_same(run):
    assert run("train", "-h") == run("train", "--help")


@pytest.mark.parametrize("group", GROUPS.values(), ids=[*GROUPS])
def test_commands_are_the_modules_of_the_package(group):
    modules = pkgutil.iter_modules(sys.modules[group.package].__path__)
    names = [name.replace("_", "-") for _, name, _ in modules if name[0] != "_"]
    assert sorted(names) == sorted(group.list_commands(None))


@pytest.mark.parametrize("group", GROUPS.values(), ids=[*GROUPS])
def test_the_help_of_a_group_lists_each_command_that_is_not_hidden(group):
    names = [name for names in group.sections.values() for name in names]
    assert [name for name in group.list_commands(None) if name != "help"] == names


@pytest.fixture
def new_file(cwd, monkeypatch):
    """Return a function that adds a file to the package of commands, for this test."""
    monkeypatch.setattr(charrnn.cli, "__path__", [*charrnn.cli.__path__, str(cwd)])

    def add(name: str, text: str) -> None:
        (cwd / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, f"charrnn.cli.{name}", raising=False)

    yield add
    for name in [name for name in sys.modules if name.startswith("charrnn.cli.new_")]:
        del sys.modules[name]


def test_a_new_file_is_a_new_command(run, new_file):
    new_file(
        "new_hello",
        'import click\n\n@click.command(short_help="Say hello.")\ndef command():\n    click.echo("hello")\n',
    )
    assert "new-hello  Say hello." in run("--help").stdout
    for typed in ("new-hello", "new_hello", "New-Hello"):
        assert run(typed).stdout == "hello\n"


def test_the_import_error_of_a_command_is_not_swallowed(run, new_file):
    new_file("new_broken", "import no_such_module_anywhere\n")
    with pytest.raises(AssertionError) as raised:
        run("new-broken")
    assert isinstance(raised.value.__cause__, ModuleNotFoundError)


def test_flags_bear_the_names_of_the_settings_they_set():
    settings = set(setting_names())
    options = {param.name: param for param in FOUND["train"].params if isinstance(param, click.Option)}
    assert options.keys() - NO_SETTINGS == settings
    for name in settings:
        assert options[name].opts == ["--" + name.replace("_", "-")]
        assert options[name].secondary_opts == (["--no-recover"] if name == "recover" else [])
        assert options[name].help
        assert options[name].default is None  # what is not given is left to the config


def test_the_help_names_the_defaults_of_the_settings():
    helps = {param.name: param.help for param in FOUND["train"].params if isinstance(param, click.Option)}
    for item in setting_fields():
        if item.default is not None and item.type != "bool":
            default = f"{item.default:g}" if isinstance(item.default, float) else str(item.default)
            shown = re.search(r"\[default: (.*)\]$", helps[item.name])[1]
            assert shown == default or re.fullmatch(rf"(auto|lnlstm|0\.05); {default} with --steps", shown)


@pytest.mark.parametrize("name", [name for name in COMMANDS if getattr(FOUND[name], "basics", None)])
def test_each_option_of_a_short_help_has_one_line(run, name):
    options = run(*name.split(), "--help").stdout.split("\nOptions:\n")[1].split("\n\n")[0].splitlines()
    assert len(options) == len(FOUND[name].basics)
    assert all(re.match(r"  -", line) for line in options)


@pytest.mark.parametrize("name", [*GROUPS, *COMMANDS])
def test_every_help_has_examples_that_parse(run, name):
    text = run(*name.split(), "--help").stdout
    _, examples = text.split("\n  Examples:\n")
    lines = examples.split("\n\n")[0].splitlines()
    assert len(lines) >= 3
    for line in lines:
        words = next(words for words in map(shlex.split, line.split("|")) if "charrnn" in words)
        words = words[words.index("charrnn") + 1 :]  # after `mpiexec`
        assert " ".join(words).startswith(name)
        group, command = CONTEXT, main
        while isinstance(command, Group):
            own, command, words = command.resolve_command(group, words)
            group = command.make_context(own, words, parent=group)  # raises a usage error for an unknown option


@pytest.mark.parametrize(
    "args",
    [["--version"], ["--help"], *([*name.split(), "--help"] for name in [*GROUPS, *COMMANDS] if name)],
    ids=" ".join,
)
def test_asking_imports_neither_numpy_nor_rich(command, args):
    process = command(*args, env={"PYTHONPROFILEIMPORTTIME": "1"})
    stdout, stderr = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0
    assert stdout
    imported = {line.rsplit(b"|", 1)[-1].strip().split(b".")[0] for line in stderr.splitlines()}
    assert b"click" in imported  # or the listing is not what this test takes it for
    assert imported.isdisjoint({b"numpy", b"rich", b"tqdm", b"asyncio"})


def test_the_module_is_the_command(command):
    process = command("--version")
    stdout, stderr = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, stdout.decode().strip(), stderr) == (0, f"charrnn {charrnn.__version__}", b"")


def test_help_lists_the_exit_codes(run):
    listed = run("--help").stdout.split("Exit codes:\n")[1]
    rows = (line.split(maxsplit=1) for line in listed.splitlines())
    assert {int(code): meaning for code, meaning in rows} == EXIT_CODES


def test_unknown_command(run):
    assert "bogus" in error_line(run("bogus", code=2).stderr)


@pytest.mark.parametrize("name", COMMANDS)
def test_options_stand_in_sections_of_which_the_last_is_that_of_all_commands(run, name):
    assert isinstance(FOUND[name], SectionedCommand)
    _, *sections = re.split(r"^(?=\w.*:$)", run(*name.split(), all_of(name)).stdout, flags=re.MULTILINE)
    assert len(sections) >= 2
    flags = re.findall(r"^  (-.*?)(?:  |$)", sections[-1], re.MULTILINE)
    every = ["--help-all"] if all_of(name) == "--help-all" else []
    assert flags == ["-h, --help", *every, "--import MODULE", "--color [auto|always|never]", "--config FILE"]


def test_commands_stand_in_sections(run):
    listed = run("--help").stdout
    for section, name in (
        ("Models", "train"),
        ("Whole texts", "classify"),
        ("Runs and texts", "list"),
        ("Pictures", "plot"),
        ("This machine", "doctor"),
    ):
        assert f"\n{section}:\n  {name}" in listed


def test_metavars_are_words_for_people(run):
    for name in COMMANDS:
        assert "RANGE" not in run(*name.split(), all_of(name)).stdout


@pytest.mark.parametrize("name", [*GROUPS, *COMMANDS])
def test_no_line_of_a_help_is_wider_than_a_terminal(run, name):
    shown = run(*name.split(), all_of(name)).stdout
    assert [line for line in shown.splitlines() if len(line) > 80] == []


def test_the_help_of_train_is_one_screen_with_eleven_options(run):
    lines = run("train", "--help").stdout.splitlines()
    assert len(lines) <= 26
    assert len([line for line in lines if line.startswith("  --")]) == 11
    assert len([line for line in lines if line.startswith("    charrnn train")]) == 5

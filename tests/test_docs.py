"""The documents: what they show is run, what they link to exists, and no command or flag is left out."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from charrnn.cli import main
from charrnn.cli._command import commands_of

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT = 1800  # seconds after which a shown command counts as hanging
DOCUMENTS = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "data").glob("*.md")})
LINKED = [path for path in DOCUMENTS if path == ROOT / "README.md" or ROOT / "docs" in path.parents]
PAGES = ROOT / "docs" / "cli"  # of the commands
#: With the command's own settings: Click keeps the help option that the first context asks for.
CONTEXT = main.make_context("charrnn", [], resilient_parsing=True)
#: All commands, by the words after `charrnn`; the first of them is the name of the page.
COMMANDS = {name: command for name, command in commands_of(CONTEXT) if name != "help"}
NAMES = [name for name in main.list_commands(CONTEXT) if name != "help"]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


class Block(NamedTuple):
    """A fenced block: the numbers of its first and last line, the words after the fence, and what is in it."""

    line: int
    end: int
    info: str
    body: str


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a document."""
    found, fence, start, info, body = [], "", 0, "", list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        mark = re.match(r"\s*(`{3,}|~{3,})\s*(.*?)\s*$", line)
        if not fence and mark:
            fence, start, info, body = mark[1], number, mark[2], []
        elif fence and mark and mark[1].startswith(fence) and not mark[2]:
            found.append(Block(start, number, info, "".join(f"{item}\n" for item in body)))
            fence = ""
        elif fence:
            body.append(line)
    assert not fence, f"the block of line {start} is never closed"
    return found


def without_blocks(text: str) -> str:
    """Return a document without its fenced blocks."""
    inside = {number for block in blocks(text) for number in range(block.line, block.end + 1)}
    return "".join(f"{line}\n" for number, line in enumerate(text.splitlines(), 1) if number not in inside)


def without_code(text: str) -> str:
    """Return a document without its blocks and without `code`."""
    return re.sub(r"`[^`\n]*`", "", without_blocks(text))


def commands(body: str) -> list[tuple[str, str]]:
    """Return the commands of a console block, each with the output that is shown below it."""
    found: list[tuple[str, str]] = []
    for line in body.splitlines():
        command, shown = found[-1] if found else ("", "")
        if line.startswith("$ "):
            found.append((line[2:], ""))
        elif found and not shown and command.endswith("\\"):
            found[-1] = (f"{command}\n{line.removeprefix('> ')}", "")
        elif found:
            found[-1] = (command, f"{shown}{line}\n")
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_a_page_names_its_command_and_every_flag(name):
    page = name.split()[0]
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    context = click.Context(COMMANDS[name], info_name=name, parent=CONTEXT)
    shown = (param for param in COMMANDS[name].get_params(context) if not getattr(param, "hidden", False))
    flags = {flag for param in shown for flag in param.opts if flag.startswith("--")}
    assert "--help" in flags
    absent = [flag for flag in sorted(flags) if not re.search(rf"(?<![\w-]){flag}(?![\w-])", text)]
    assert absent == [], f"docs/cli/{page}.md does not mention these flags"
    assert text.startswith(f"# charrnn {page}\n")


@pytest.mark.parametrize("name", NAMES)
def test_the_index_links_every_page(name):
    assert f"[{name}]({name}.md)" in (PAGES / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which `charrnn` and `python` are those under test."""
    shim = tmp_path / "bin" / "charrnn"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m charrnn "$@"\n', encoding="utf-8")
    shim.chmod(0o755)
    path = [str(shim.parent), str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    env = {name: value for name, value in os.environ.items() if name not in ("CHARRNN_MODEL", "FORCE_COLOR")}
    return env | {
        "PATH": os.pathsep.join(path),
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "80",
        "NO_COLOR": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


class Folder(NamedTuple):
    """A folder with a copy of data/, and the environment in which a document's blocks are run there."""

    path: Path
    env: dict[str, str]

    def run(self, place: str, args: list[str]) -> str:
        """Return what a program prints on both streams; fail, with the place in the document, where it fails."""
        done = subprocess.run(
            args,
            cwd=self.path,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT,
            check=False,
        )
        output = done.stdout.decode(errors="replace")
        assert done.returncode == 0, f"{place}: {args[-1]}\n{output}"
        return output


@pytest.fixture
def folder(tmp_path, shell):
    shutil.copytree(ROOT / "data", tmp_path / "shown" / "data")
    return Folder(tmp_path / "shown", shell)


in_bash = pytest.mark.skipif(os.name != "posix" or not shutil.which("bash"), reason="the commands are for bash")


@in_bash
@pytest.mark.slow
def test_the_readme_does_what_it_shows(folder):
    ran = 0
    for block in blocks((ROOT / "README.md").read_text(encoding="utf-8")):
        place = f"README.md, block of line {block.line}"
        kind, *more = block.info.split() or [""]
        if kind == "python":
            folder.run(place, [sys.executable, "-c", block.body])
        elif kind == "console":
            for command, shown in commands(block.body):
                output = folder.run(place, ["bash", "-c", command])
                ran += 1
                if "exact" in more:
                    assert output.rstrip() == shown.rstrip(), f"{place}: {command}"
    assert ran, "README.md shows no commands: a tour has ```console blocks with lines that begin with `$ `"


@in_bash
@pytest.mark.slow
def test_the_pages_of_commands_show_commands_that_run(folder):
    """All of them in one folder: first the page of `train`, last that of `rm`, with runs of a tenth of the steps."""
    pytest.importorskip("regex")
    names = ["train", *(name for name in NAMES if name not in ("train", "rm")), "rm"]
    for name in names:
        for block in blocks((PAGES / f"{name}.md").read_text(encoding="utf-8")):
            for command, _ in commands(block.body) if block.info == "console" else []:
                quick = re.sub(r"(--(?:steps|eval-every) \d+)0", r"\1", command)
                folder.run(f"docs/cli/{name}.md, block of line {block.line}", ["bash", "-o", "pipefail", "-c", quick])


@in_bash
@pytest.mark.slow
def test_the_page_of_the_library_shows_python_that_runs(folder):
    """Its blocks are files, and one program from the first to the last; then its commands are run."""
    pytest.importorskip("regex")
    shown = blocks((ROOT / "docs" / "library.md").read_text(encoding="utf-8"))
    for block in shown:
        if block.info.startswith("python "):
            (folder.path / block.info.removeprefix("python ")).write_text(block.body, encoding="utf-8")
    program = "".join(block.body for block in shown if block.info == "python")
    assert program.startswith("import charrnn\n")
    folder.run("docs/library.md", [sys.executable, "-c", program])
    for command, _ in (pair for block in shown if block.info == "console" for pair in commands(block.body)):
        folder.run("docs/library.md", ["bash", "-c", command])


def anchors(path: Path) -> set[str]:
    """Return the anchors that a document's headings have on the usual hosts of repositories."""
    text = without_blocks(path.read_text(encoding="utf-8"))
    headings = re.findall(r"^#{1,6} +(.*?) *#*$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", LINKED, ids=name_of)
def test_relative_links_resolve(path):
    text = without_code(path.read_text(encoding="utf-8"))
    targets = re.findall(r"\]\(\s*<?([^)\s>]+)", text)
    targets += re.findall(r"^\s*\[[^\]]+\]:\s*<?(\S+?)>?\s*$", text, re.MULTILINE)
    targets += re.findall(r"""(?:src|href)=["']([^"']+)""", text)
    broken = []
    for target in targets:
        if re.match(r"[a-z][a-z0-9+.-]*:", target):  # another place on the net
            continue
        name, _, anchor = target.partition("#")
        goal = (path.parent / name).resolve() if name else path
        inside = goal == ROOT or ROOT in goal.parents
        if not inside or not goal.exists() or (anchor and anchor not in anchors(goal)):
            broken.append(target)
    assert broken == []


def test_there_are_documents():
    assert {"README.md", "docs/cli/README.md"} <= set(map(name_of, DOCUMENTS))


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_the_distribution_is_called_by_its_name(path):
    """`charrnn` alone is somebody else's on the package index."""
    wrong = re.findall(r"pip3? install[^\n`]*?[ \"']charrnn(?![\w/-])[^\n`]*", path.read_text(encoding="utf-8"))
    assert wrong == []


def test_the_readers_of_documents_read(tmp_path):
    """What this file takes out of documents is what is in them."""
    text = "# A b-c: `d`!\n```console exact\n$ one \\\n> two\nshown\n$ three\n```\n[x](y.md) `[z](w.md)`\n"
    (block,) = blocks(text)
    assert (block.line, block.end, block.info) == (2, 7, "console exact")
    assert commands(block.body) == [("one \\\ntwo", "shown\n"), ("three", "")]
    assert "y.md" in without_code(text)
    assert "w.md" not in without_code(text)
    path = tmp_path / "a.md"
    path.write_text(text, encoding="utf-8")
    assert anchors(path) == {"a-b-c-d"}

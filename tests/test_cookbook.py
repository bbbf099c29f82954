"""The recipes of docs/cookbook.md are run as they stand, section by section, with models trained for a moment."""

import os
import re
import shutil
import signal
import subprocess

import pytest
from test_docs import ROOT, TIMEOUT, blocks, commands, shell  # noqa: F401  `shell` is a fixture

from benchmarks.cookbook import renewed

pytestmark = pytest.mark.skipif(os.name != "posix" or not shutil.which("bash"), reason="the recipes are for bash")

SECTIONS = dict(re.findall(r"^## (.*)\n((?:(?!## ).*\n)*)", (ROOT / "docs" / "cookbook.md").read_text("utf-8"), re.M))
TOOLS = ("awk", "jq", "paste", "rev")


def quick(command):
    """Return the command with a model that takes a moment in the place of one that takes minutes."""
    return re.sub(r"--minutes \d+", "--steps 3 --hidden-size 8 --batch-size 8 --seq-len 20 --threads 1", command)


def first_line(process):
    """Return the first line of a command that does not end by itself, and end it."""
    line = process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    return line


@pytest.mark.parametrize("recipe", SECTIONS)
def test_a_recipe_does_what_it_says(tmp_path, shell, recipe):  # noqa: F811
    if absent := [tool for tool in TOOLS if not shutil.which(tool)]:
        pytest.skip(f"needs {', '.join(absent)}")
    shutil.copytree(ROOT / "data", folder := tmp_path / "here" / "data")
    for block in blocks(SECTIONS[recipe]):
        for command, _ in commands(block.body):
            process = subprocess.Popen(
                ["bash", "-c", quick(command)],
                cwd=folder.parent,
                env=shell,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            with process:
                if "--follow" in command:
                    assert first_line(process), command
                else:
                    _, told = process.communicate(timeout=TIMEOUT)
                    assert process.returncode == 0, f"{command}\n{told}"
                    assert not re.search("^(Error|Traceback|bash|usage)", told, re.M | re.I), f"{command}\n{told}"


def test_what_is_shown_is_renewed():
    text = "a\n```console\n$ one\nold\n$ two | --follow\n$ three\n```\n```python\n$ no\n```\n"
    asked = []
    shown = renewed(text, lambda command: asked.append(command) or f"of {command}\n")
    assert asked == ["one", "three"]
    assert shown == text.replace("old\n", "of one\n").replace("$ three\n", "$ three\nof three\n")


def test_there_are_recipes():
    assert len(SECTIONS) >= 4
    assert all(blocks(text) for text in SECTIONS.values())

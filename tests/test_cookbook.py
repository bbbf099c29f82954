"""Run the recipes of docs/cookbook.md, section by section, on small texts with tiny models."""

import os
import re
import shutil
import signal
import string
import subprocess

import pytest
from test_docs import ROOT, TIMEOUT, blocks, commands, shell  # noqa: F401  `shell` is a fixture

from benchmarks.cookbook import renewed

pytestmark = pytest.mark.skipif(os.name != "posix" or not shutil.which("bash"), reason="the recipes are for bash")

SECTIONS = dict(re.findall(r"^## (.*)\n((?:(?!## ).*\n)*)", (ROOT / "docs" / "cookbook.md").read_text("utf-8"), re.M))
TOOLS = ("awk", "jq", "paste", "rev")


@pytest.fixture
def texts(tmp_path):
    """Return a folder with the texts that the recipes name, made from the project's own."""
    ferry, names = ((ROOT / "data" / name).read_text("utf-8") for name in ("ferry.txt", "names.txt"))
    symbols = f"{string.ascii_letters}{string.digits}{string.punctuation}\n"
    made = {
        "names.txt": names,
        "alice29.txt": f"{symbols}CHAPTER I\n{ferry}",
        "tinyshakespeare.txt": f"{names}{ferry}",
        "irish_abc.txt": f"{symbols}{ferry}",
        "english.txt": ferry,
        "german.txt": "".join(f"{line[::-1]}\n" for line in ferry.splitlines()),
        "words.txt": "".join(f"{word}\n" for word in sorted(set(re.findall("[a-z]{5,}", ferry)))),
        "dpkg.log": "".join(
            f"2026-01-01 12:00:{n % 60} status {'un' * (n % 3)}packed ferry{n} 1.{n}\n" for n in range(1_500)
        ),
    }
    (folder := tmp_path / "here" / "texts").mkdir(parents=True)
    for name, text in made.items():
        (folder / name).write_text(text, "utf-8")
    return folder


def quick(command):
    """Return the command with a tiny model instead of one that takes minutes, and with few samples."""
    command = re.sub(r"--count \d+", "--count 3", command)
    return re.sub(r"--minutes \d+", "--steps 3 --hidden-size 8 --batch-size 8 --seq-len 20 --threads 1", command)


def first_line(process):
    """Return the first line of a command that does not end by itself, then end it."""
    line = process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    return line


@pytest.mark.slow
@pytest.mark.parametrize("recipe", SECTIONS)
def test_a_recipe_does_what_it_says(texts, shell, recipe):  # noqa: F811
    if absent := [tool for tool in TOOLS if not shutil.which(tool)]:
        pytest.skip(f"needs {', '.join(absent)}")
    for block in blocks(SECTIONS[recipe]):
        for command, _ in commands(block.body):
            process = subprocess.Popen(
                ["bash", "-c", quick(command)],
                cwd=texts.parent,
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
                    _, errors = process.communicate(timeout=TIMEOUT)
                    assert process.returncode == 0, f"{command}\n{errors}"
                    assert not re.search("^(Error|Traceback|bash|usage)", errors, re.M | re.I), f"{command}\n{errors}"


def test_outputs_are_updated():
    text = "a\n```console\n$ one\nold\n$ two | --follow\n$ three\n```\n```python\n$ no\n```\n"
    ran = []
    shown = renewed(text, lambda command: ran.append(command) or f"of {command}\n")
    assert ran == ["one", "three"]
    assert shown == text.replace("old\n", "of one\n").replace("$ three\n", "$ three\nof three\n")


def test_there_are_recipes():
    assert len(SECTIONS) >= 4
    assert all(blocks(text) for text in SECTIONS.values())

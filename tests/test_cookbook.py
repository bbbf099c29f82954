"""Run the recipes of docs/cookbook.md, section by section, on small texts with tiny models."""

import os
import re
import shutil
import signal
import string
import subprocess

import pytest
from test_docs import ROOT, TIMEOUT, blocks, commands, shell  # noqa: F401  `shell` is a fixture

from benchmarks.cookbook import lacking, renewed, save_files

pytestmark = pytest.mark.skipif(os.name != "posix" or not shutil.which("bash"), reason="the recipes are for bash")

SECTIONS = dict(re.findall(r"^## (.*)\n((?:(?!## ).*\n)*)", (ROOT / "docs" / "cookbook.md").read_text("utf-8"), re.M))
TOOLS = ("awk", "jq", "paste", "rev")
#: Run the tasks of a job with the variables that Slurm sets; they know only the options of the recipe.
SLURM = {
    "sbatch": """#!/bin/bash
array=${2#--array=} output=${3#--output=}
for i in $(seq ${array/-/ }); do
    SLURM_ARRAY_TASK_ID=$i SLURM_PROCID=0 bash "${@:4}" &> "${output/\\%a/$i}" || code=$?
done
exit ${code:-0}
""",
    "srun": """#!/bin/bash
for i in $(seq $2); do SLURM_PROCID=$((i - 1)) "${@:3}" & done
for job in $(jobs -p); do wait $job || code=$?; done
exit ${code:-0}
""",
}


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
        "code.txt": f"{symbols}{ferry}" * 12,  # more than one batch of lines that are scored together
        "723170TYA.CSV": "site\ncolumns\n" + "".join(f"{'0,' * 31}{n % 24 - n % 7}.5,0\n" for n in range(24 * 80)),
        "elnino.csv": "columns\n" + "".join(f"{year}{',20.0,21.53' * 6}\n" for year in range(30)),
        "dpkg.log": "".join(
            f"2026-01-01 12:00:{n % 60} status {'un' * (n % 3)}packed ferry{n} 1.{n}\n" for n in range(1_500)
        ),
    }
    (folder := tmp_path / "here" / "texts").mkdir(parents=True)
    for name, text in made.items():
        (folder / name).write_text(text, "utf-8")
    return folder


@pytest.fixture
def slurm(shell, tmp_path):  # noqa: F811
    """Put stand-ins for Slurm's programs on the path: a test must not submit jobs to a cluster."""
    for name, script in SLURM.items():
        (program := tmp_path / "bin" / name).write_text(script, "utf-8")
        program.chmod(0o755)


def quick(command):
    """Return the command with a tiny model instead of one that takes minutes, and with few samples."""
    command = re.sub(r"--count \d+", "--count 3", command)
    return re.sub(
        r"--(minutes|steps) \d+", "--steps 3 --hidden-size 8 --batch-size 8 --seq-len 20 --threads 1", command
    )


def first_line(process):
    """Return the first line of a command that does not end by itself, then end it."""
    line = process.stdout.readline()
    os.killpg(process.pid, signal.SIGTERM)  # a background job may ignore SIGINT
    return line


@pytest.mark.slow
@pytest.mark.usefixtures("slurm")
@pytest.mark.parametrize("recipe", SECTIONS)
def test_a_recipe_does_what_it_says(texts, shell, recipe):  # noqa: F811
    if absent := [tool for tool in TOOLS if not shutil.which(tool)]:
        pytest.skip(f"needs {', '.join(absent)}")
    save_files(SECTIONS[recipe], texts.parent)
    for block in (block for block in blocks(SECTIONS[recipe]) if block.info == "console"):
        absent += (lacks := lacking(block.body, shell["PATH"]))
        for command, shown in commands(block.body) if not lacks else []:
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
                    output, errors = process.communicate(timeout=TIMEOUT)
                    assert process.returncode == 0, f"{command}\n{errors}"
                    assert not re.search("^(Error|Traceback|bash|usage)", errors, re.M | re.I), f"{command}\n{errors}"
                    assert output == shown or "cmp " not in command, f"{command}\n{output}"
    if absent:
        pytest.skip(f"the rest of this recipe needs {', '.join(absent)}")


def test_outputs_are_updated():
    text = "a\n```console\n$ one\nold\n$ two | --follow\n$ three\n```\n```python\n$ no\n```\n"
    ran = []
    shown = renewed(text, lambda command: ran.append(command) or f"of {command}\n")
    assert ran == ["one", "three"]
    assert shown == text.replace("old\n", "of one\n").replace("$ three\n", "$ three\nof three\n")


def test_a_block_without_its_program_is_left_alone(tmp_path):
    text = "```console\n$ srun -n 2 date\nold\n```\n```console\n$ echo srun date\nold\n```\n"
    shown = renewed(text, lambda command: "new\n", lambda block: lacking(block, str(tmp_path)))
    assert shown == text.replace("echo srun date\nold", "echo srun date\nnew")
    (program := tmp_path / "srun").write_text("")
    program.chmod(0o755)
    assert lacking("$ srun -n 2 date\n", str(tmp_path)) == []


def test_files_of_a_document_are_saved(tmp_path):
    save_files("```bash a.sh\ndate\n```\n```console\n$ ls\n```\n```python\nprint()\n```\n", tmp_path)
    assert {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()} == {"a.sh": "date\n"}


def test_there_are_recipes():
    assert len(SECTIONS) >= 4
    assert all(blocks(text) for text in SECTIONS.values())

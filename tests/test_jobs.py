"""Five jobs that people come with, each as the script that they would write: it runs, and its output is of use.

Teaching a class, writing names and tunes, filtering a log, comparing cells, and embedding a model in a program.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT = 300  # seconds after which a script counts as hanging

pytestmark = pytest.mark.skipif(os.name != "posix" or not shutil.which("bash"), reason="the scripts are for bash")

TUNES = "".join(
    f"X:{number}\nT:Jig {number}\nK:{key}\n|:{key}2 BAG|{key}2 gab|{key}2 BAG|GAB c2:|\n\n"
    for number in range(1, 40)
    for key in "DGA"
)
LOG = "".join(f"Nov 29 10:{at // 60:02}:{at % 60:02} host sshd: accepted key for user{at % 7}\n" for at in range(600))
ODD = "Nov 29 10:07:03 host kernel: BUG: unable to handle page fault at ffff8801\n"


@pytest.fixture
def bash(tmp_path):
    """Return a function that runs a script in a folder of its own, and returns what it prints on stdout."""
    shim = tmp_path / "bin" / "charrnn"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m charrnn "$@"\n')
    shim.chmod(0o755)
    folder = tmp_path / "here"
    shutil.copytree(ROOT / "data", folder)
    path = os.pathsep.join([str(shim.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    env = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "NO_COLOR": "1"}

    def run(script: str, **files: str) -> str:
        for name, text in files.items():
            (folder / name.replace("_", ".")).write_text(text)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    return run


def test_a_teacher_trains_before_the_class_and_looks_inside(bash):
    output = bash(
        """
        charrnn train names.txt --cell rnn --hidden 16 --steps 30 --lr 0.01 --seed 1 --quiet
        charrnn sample names --lines 3 --seed 1
        charrnn info names --json | python -c 'import json, sys; print(json.load(sys.stdin)["parameters"])'
        python - <<'END'
import charrnn
model = charrnn.load("names")
trace = model.read("Merrowby")
print(trace.states.shape, trace.log_probs.shape)
for symbol, log_prob in zip(trace.symbols[:3], trace.log_probs[-1]):
    print(repr(symbol), round(float(log_prob), 2))
END
        """
    )
    lines = output.splitlines()
    assert len(lines) == 3 + 1 + 1 + 3
    assert "layer0.W_hh" in lines[3]
    assert re.fullmatch(r"\(8, 1, 1, 16\) \(8, \d+\)", lines[4])


def test_a_writer_gets_names_and_a_tune_book(bash):
    output = bash(
        """
        charrnn train tunes.abc --split-documents blank-lines --steps 60 --hidden 32 --seed 1 --quiet -o tunes
        charrnn generate -m tunes --count 3 -n 60 -t 0.5 --seed 1 > book.abc
        grep -c '^$' book.abc
        charrnn train names.txt --split-documents lines --steps 30 --hidden 16 --seed 1 --quiet
        charrnn sample names --count 5 --seed 1 --top-p 0.9 | wc -l
        charrnn sample names --prompt Mer --documents 2 --seed 1
        """,
        tunes_abc=TUNES,
    )
    blank, names, *merged = output.splitlines()
    assert int(blank) == 2  # between three tunes, which have no blank line inside
    assert int(names) == 5
    assert len(merged) == 2
    assert all(line.startswith("Mer") for line in merged)


def test_an_administrator_finds_the_odd_line_of_a_log(bash):
    output = bash(
        """
        charrnn train quiet.log --steps 40 --hidden 32 --seed 1 --quiet -o log
        cat new.log | charrnn score -m log --top 1 --with-score
        charrnn score -m log --above 99.5% new.log
        python -c 'import json, sys; [print(json.dumps({"n": n, "msg": t})) for n, t in enumerate(open("new.log"))]' |
            tr -d '\\r' > new.jsonl
        charrnn score -m log --field msg --top 1 --with-score new.jsonl
        """,
        quiet_log=LOG,
        new_log=LOG[: len(LOG) // 2] + ODD + LOG[len(LOG) // 2 :],
    )
    first, *above, record = output.splitlines()
    assert first.split("\t")[-1] + "\n" == ODD
    assert first.split("\t")[0] == "301"
    assert ODD.rstrip("\n") in above
    assert len(above) <= 4
    found = json.loads(record)
    assert found["n"] == 300
    assert found["bpc"] > 3


def test_a_student_compares_cells(bash):
    output = bash(
        """
        charrnn sweep names.txt --cell rnn,gru --seed 1,2 --steps 20 --hidden-size 16 > table
        charrnn sweep names.txt --cell rnn,gru --seed 1,2 --steps 20 --hidden-size 16 > again
        cmp table again
        charrnn compare names-sweep --by cell --csv
        charrnn list --where cell=gru --csv | wc -l
        """
    )
    head, *rows, count = output.splitlines()
    assert head.startswith("cell,n,loss,deviation,")
    assert {row.split(",")[0] for row in rows} == {"rnn", "gru"}
    assert all(row.split(",")[1] == "2" for row in rows)
    assert int(count) == 3


def test_a_programmer_embeds_a_model(bash):
    output = bash(
        """
        python - <<'END'
import charrnn
model = charrnn.train("names.txt", steps=30, hidden_size=16, seed=1, split_documents="lines", progress=False)
print(repr(model))
print(model.sample(10, temperature=0.5, seed=1) == model.sample(10, temperature=0.5, seed=1))
print(len(list(model.score(["Merrowby", "Xqvzkj"]))))
try:
    model.sample(10, temprature=0.5)
except charrnn.CharRNNError as error:
    print(error)
END
        printf '{"do": "sample", "prime": "Mer", "length": 5, "seed": 1}\\n' | charrnn serve --stdio 2> log
        """
    )
    model, same, scored, error, reply = output.splitlines()
    assert model.startswith("LanguageModel('checkpoints/names/best.npz': lstm 1x16, ")
    assert (same, scored) == ("True", "2")
    assert "did you mean temperature?" in error
    assert json.loads(reply)["text"]

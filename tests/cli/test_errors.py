"""Bad input: one line that says what is wrong, where, and what to do; an exit code; and no files left behind."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import pytest

from charrnn.cli import main
from charrnn.cli._command import commands_of
from charrnn.cli._streams import OutputError
from charrnn.config import flag_of, limit_of, setting_fields
from charrnn.errors import EXIT_CODES, ConfigError, CorpusError, DivergedError, MissingExtraError
from charrnn.wording import in_words

from ._material import LABELLED, SMALL, TEXT, TIMEOUT, error_line, meta, posix

TINY = "checkpoints/tiny"
NEW = ("--out", "new")


def locked_archive() -> bytes:
    """Return a zip archive whose file is marked as encrypted."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("text.txt", TEXT)
    data = bytearray(file.getvalue())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


class Bad(NamedTuple):
    """A command line that must be refused, with words of the error; its exit code is 2."""

    args: tuple[str, ...]
    says: tuple[str, ...]


def texts() -> dict[str, Bad]:
    """Return the bad texts: each one with the commands that read texts."""
    bad = {
        "missing": ("missing.txt", ("missing.txt does not exist", "check the path")),
        "folder": ("folder", ("folder is a folder without any file", "name another")),
        "empty": ("empty.txt", ("empty.txt is empty", "give a text")),
        "not UTF-8": ("latin1.txt", ("latin1.txt is not UTF-8", "0xe4", "offset 5", "--encoding latin1")),
        "UTF-16": ("utf16.txt", ("utf16.txt is not UTF-8", "0xff", "offset 0", "--encoding utf-16")),
        "null byte in the name": ("nul\0l", ("cannot read nul",)),
        "null byte in the text": ("nul.txt", ("nul.txt has a NUL byte at offset 4", "--bytes")),
        "cut short": ("cut.txt.gz", ("cut.txt.gz is cut short or damaged", "another copy")),
        "password": ("locked.zip", ("locked.zip is protected by a password", "unpack it first")),
    }
    if os.name == "posix":
        bad["unreadable"] = ("loop", ("cannot read loop", os.strerror(errno.ELOOP)))
    cases = {}
    for name, (path, says) in bad.items():
        cases[f"train: {name}"] = Bad(("train", path, *NEW), says)
        cases[f"train, validation: {name}"] = Bad(("train", "tiny.txt", *NEW, "--val-file", path), says)
        cases[f"eval: {name}"] = Bad(("eval", "tiny.txt", path), says)
        cases[f"vocab: {name}"] = Bad(("vocab", "tiny.txt", path), says)
    return cases


def models() -> dict[str, Bad]:
    """Return the bad checkpoints: each one with the commands that read checkpoints."""
    bad = {
        "missing": ("missing.npz", ("missing.npz does not exist", "train a model")),
        "a folder of something else": ("folder", ("folder has no best.npz or last.npz", "name the folder")),
        "empty": ("empty.txt", ("empty.txt is not a charrnn checkpoint", "name a run")),
        "text": (
            "tiny.txt",
            ("tiny.txt is a text, not a charrnn checkpoint", "`charrnn train tiny.txt`, or name a run"),
        ),
        "half": ("half.npz", ("half.npz is damaged or cut short", "another copy")),
        "all but the end": ("short.npz", ("short.npz is damaged or cut short", "another copy")),
        "flipped bits": ("flipped.npz", ("flipped.npz is damaged", "another copy")),
        "newer": ("newer.npz", ("newer.npz has format version 999", "reads version")),
        "other arrays": (
            "other.npz",
            ("other.npz is a NumPy archive of arrays, not a charrnn checkpoint", "name a run"),
        ),
        "NaN": ("nan.npz", ("nan.npz is damaged", "params/out.b_y", "not finite", "another copy")),
        "shape": ("shape.npz", ("shape.npz is damaged", "params/out.b_y", "shape", "another copy")),
        "array missing": ("fewer.npz", ("fewer.npz is damaged", "params/layer0.b_h", "another copy")),
        "settings": ("settings.npz", ("settings.npz is damaged", "--hidden-size", "another copy")),
        "pickled": ("pickled.npz", ("pickled.npz contains pickled objects", "not loaded")),
    }
    cases = {}
    for name, (path, says) in bad.items():
        cases[f"info: {name}"] = Bad(("info", "-m", path), says)
        cases[f"sample: {name}"] = Bad(("sample", "-m", path), says)
        cases[f"eval: {name}"] = Bad(("eval", "-m", path, "tiny.txt"), says)
        cases[f"score: {name}"] = Bad(("score", "-m", path, "tiny.txt"), says)
        cases[f"init-from: {name}"] = Bad(("train", "tiny.txt", *NEW, "--init-from", path), says)
    return cases


RECORDS = {
    "no column": Bad(
        ("train", "table.csv", "--field", "text", *NEW), ("table.csv has no column 'text'", "'id', 'words'")
    ),
    "no field": Bad(("train", "lines.jsonl", "--field", "txt", *NEW), ("lines.jsonl, line 1", "'txt'", "'text'")),
    "broken": Bad(("train", "lines.jsonl", "--field", "text", *NEW), ("lines.jsonl, line 3 is not JSON", "correct it")),
}

OPTIONS = {
    "steps and epochs": Bad(
        ("train", "tiny.txt", *NEW, "--steps", "3", "--epochs", "2"), ("--steps and --epochs", "give one length")
    ),
    "steps and minutes": Bad(
        ("train", "tiny.txt", *NEW, "--minutes", "3", "--steps", "2"), ("--steps and --minutes", "give one length")
    ),
    "all lengths": Bad(
        ("train", "tiny.txt", *NEW, "--minutes", "3", "--steps", "2", "--epochs", "1"),
        ("--steps", "--epochs", "--minutes", "give one length"),
    ),
    "a near word for documents": Bad(
        ("train", "tiny.txt", *NEW, "--split-documents", "line"),
        ("must be lines, blank-lines or files, got 'line'", "did you mean lines?"),
    ),
    "a separator as a word for documents": Bad(
        ("train", "tiny.txt", *NEW, "--split-documents", "<|end|>"), ("use --separator '<|end|>'",)
    ),
    "two ways to documents": Bad(
        ("train", "tiny.txt", *NEW, "--split-documents", "lines", "--separator", "%"),
        ("cannot be combined", "give one"),
    ),
    "a URL": Bad(("vocab", "https://x.org/a.txt"), ("is a URL", "curl -LO https://x.org/a.txt", "name a.txt")),
    "two kinds of validation": Bad(
        ("train", "tiny.txt", *NEW, "--val-file", "tiny.txt", "--val-fraction", "0.2"),
        ("--val-file and --val-fraction", "give one"),
    ),
    "no corpus": Bad(("train", *NEW), ("CORPUS", "name a text file")),
    "standard input twice": Bad(("train", "-", "-", *NEW), ("standard input can be read only once",)),
    "a pattern": Bad(("train", "*.nothing", *NEW), ("*.nothing matches no file",)),
    "sample-every": Bad(("train", "tiny.txt", "--sample-every", "-1"), ("--sample-every", "-1", "at least 0")),
    "unknown option": Bad(("train", "tiny.txt", "--units", "3"), ("no such option --units", "--hidden-size")),
    "temperature": Bad(("sample", "--temp", "-0.1"), ("--temp", "-0.1", "at least 0")),
    "temperature nan": Bad(("sample", "--temp", "nan"), ("--temp", "must be a finite number")),
    "temperature inf": Bad(("sample", "--temperature", "inf"), ("--temp", "must be a finite number")),
    "length": Bad(("sample", "-n", "-2"), ("--length", "-2", "at least -1")),
    "top-p": Bad(("sample", "--top-p", "0"), ("--top-p", "greater than 0")),
    "min-p": Bad(("sample", "--min-p", "1.5"), ("--min-p", "at most 1")),
    "repeat-penalty": Bad(("sample", "--repeat-penalty", "0"), ("--repeat-penalty", "greater than 0")),
    "repeat-window": Bad(("sample", "--repeat-window", "0"), ("--repeat-window", "at least 1")),
    "count": Bad(("sample", "--count", "0"), ("--count", "at least 1")),
    "best-of": Bad(("sample", "--best-of", "0"), ("--best-of", "at least 1")),
    "lines": Bad(("sample", "--lines", "0"), ("--lines", "at least 1")),
    "no documents": Bad(("sample", "--documents", "2"), ("--documents", "did not learn", "-n or --lines")),
    "documents and count": Bad(("sample", "--documents", "2", "--count", "3"), ("--documents and --count", "one")),
    "two primes": Bad(("sample", "--prime", "D", "--prime-lines", "tiny.txt"), ("--prime-lines", "give one")),
    "separated json": Bad(("sample", "--json", "--separator", "x"), ("--json", "--separator")),
    "endless texts": Bad(("sample", "-n", "-1", "--count", "2"), ("never be finished", "-n", "--stop")),
    "endless json": Bad(("sample", "-n", "-1", "--json"), ("never be finished", "-n", "--stop")),
    "empty stop": Bad(("sample", "--stop", ""), ("--stop", "one character")),
    "unknown stop": Bad(("sample", "--stop", "K\\u03a9"), ("--stop 'KΩ'", "U+03A9", "vocabulary")),
    "regex and stop": Bad(("sample", "--regex", "D", "--stop", "e"), ("--regex", "--stop", "cut off a match")),
    "regex and lines": Bad(("sample", "--regex", "D", "--lines", "2"), ("--regex", "--lines", "cut off a match")),
    "shares": Bad(("sample", "-m", "tiny.npz:0.5", "-m", "b"), ("-m b", "weight")),
    "top-k": Bad(("sample", "--top-k", "-1"), ("--top-k", "-1", "at least 0")),
    "seed": Bad(("sample", "--seed", "-1"), ("--seed", "-1", "at least 0")),
    "unknown": Bad(("sample", "--unknown", "guess"), ("--unknown", "'guess'", "error", "skip")),
    "protocol": Bad(("eval", "--protocol", "half"), ("--protocol", "'half'", "whole", "lanes")),
    "eval unknown": Bad(("eval", "--unknown", "guess"), ("--unknown", "'guess'", "error", "skip")),
    "vocab of nothing": Bad(("vocab",), ("CORPUS",)),
    "info takes no text": Bad(("info", "tiny.txt"), ("tiny.txt is a text, not a charrnn checkpoint",)),
    "unknown command": Bad(("trian",), ("trian",)),
}

CORPORA = {
    "one character": Bad(("train", "one.txt", *NEW), ("one.txt", "one character", "longer text")),
    "one distinct character": Bad(("train", "same.txt", *NEW), ("same.txt", "'a'", "nothing to learn")),
    "nothing left to train on": Bad(
        ("train", "two.txt", *NEW, "--val-fraction", "0.9"), ("two", "too short", "give at least 100", "--steps")
    ),
    "empty standard input": Bad(("train", "-", *NEW), ("standard input is empty", "give a text")),
    "unknown prime": Bad(("sample", "--prime", "Ω"), ("'Ω' (U+03A9) at position 0", "--unknown skip")),
    "unknown text": Bad(("eval", "greek.txt", "--unknown", "error"), ("'Ω' (U+03A9)", "--unknown skip")),
}

RESUME = ("train", "tiny.txt", "--resume")
FOLDERS = {
    "a run is there": Bad(("train", "tiny.txt"), (TINY, "--resume", "--force", "--out")),
    "a run is in --out": Bad(("train", "one-off.txt", "--out", TINY), (TINY, "--resume", "--force", "--out")),
    "out is a file": Bad(("train", "tiny.txt", "--out", "same.txt"), ("same.txt", "--out")),
    "out is below a file": Bad(("train", "tiny.txt", "--out", "same.txt/run"), ("same.txt", "--out")),
    "resume of no run": Bad((*RESUME, *NEW), ("new has no last.npz", "without --resume")),
    "resume of no file": Bad(("train", "one-off.txt", "--resume"), ("one-off has no last.npz", "without --resume")),
    "resume of nothing": Bad(("train", "--resume"), ("--resume needs", "CORPUS", "--out")),
    "resume and force": Bad((*RESUME, "--force"), ("--resume", "--force")),
    "resume and init-from": Bad((*RESUME, "--init-from", TINY), ("--resume", "--init-from")),
    "resume to less": Bad((*RESUME, "--steps", "39"), ("40 steps", "cannot be less")),
    "resume to both lengths": Bad((*RESUME, "--steps", "50", "--epochs", "9"), ("--steps and --epochs", "give one")),
    "resume, other size": Bad(
        (*RESUME, "--steps", "50", "--hidden-size", "17"),
        ("--hidden-size 17", "which has 16", "leave it out", "--out"),
    ),
    "resume, other rate": Bad(
        (*RESUME, "--steps", "50", "--learning-rate", "0.5"),
        ("--learning-rate 0.5", "which has 0.008", "leave it out"),
    ),
    "resume, other batch": Bad(
        (*RESUME, "--steps", "50", "--batch-size", "5"), ("--batch-size 5", "which has 4", "leave it out")
    ),
    "resume, other seed": Bad((*RESUME, "--steps", "50", "--seed", "2"), ("--seed 2", "which has 1", "leave it out")),
    "resume, other text": Bad(
        ("train", "one-off.txt", "--resume", "--out", TINY, "--steps", "50"),
        ("one-off.txt", "SHA-256", "restore it", "--init-from"),
    ),
    "resume, validation file": Bad(
        (*RESUME, "--steps", "50", "--val-file", "one-off.txt"),
        ("one-off.txt", "SHA-256", "restore it", "--init-from"),
    ),
    "resume without the text": Bad(
        ("train", "missing.txt", "--resume", "--out", TINY, "--steps", "50"), ("missing.txt does not exist",)
    ),
    "resume of best alone": Bad((*RESUME, "--out", "inference", "--steps", "50"), ("inference", "no last.npz")),
    "resume of a model": Bad(
        (*RESUME, "--out", "renamed", "--steps", "50"), (str(Path("renamed/last.npz")), "no run", "--init-from")
    ),
    "init-from, other size": Bad(
        ("train", "tiny.txt", *NEW, "--init-from", TINY, "--hidden-size", "3"),
        ("--hidden-size 3", "--init-from", "which has 16", "leave the option out"),
    ),
}

CASES = (
    texts()
    | models()
    | {f"option: {name}": case for name, case in OPTIONS.items()}
    | {f"corpus: {name}": case for name, case in CORPORA.items()}
    | {f"records: {name}": case for name, case in RECORDS.items()}
    | {f"folder: {name}": case for name, case in FOLDERS.items()}
)


@pytest.fixture(scope="session")
def made(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with bad texts, bad checkpoints and bad folders beside the good ones; tests take copies."""
    here = tmp_path_factory.mktemp("bad") / "files"
    shutil.copytree(trained, here)
    best = (here / TINY / "best.npz").read_bytes()
    middle = len(best) // 2
    flipped = bytes(255 - byte for byte in best[middle : middle + 9])
    for name in ("folder", "inference", "renamed"):
        (here / name).mkdir()
    for name, data in {
        "empty.txt": b"",
        "one.txt": b"a",
        "two.txt": b"ab",
        "same.txt": b"aaaaaaaaaaaa",
        "latin1.txt": "Der Käfer".encode("latin-1"),
        "utf16.txt": b"\xff\xfeD\0e\0r\0",
        "greek.txt": "Der Ω".encode(),
        "nul.txt": b"null\0 and more",
        "cut.txt.gz": gzip.compress(TEXT.encode())[:-9],
        "locked.zip": locked_archive(),
        "table.csv": b"id,words\n1,one\n",
        "lines.jsonl": b'{"text": "a"}\n\n{"text": "b"\n',
        "one-off.txt": TEXT.encode() + b"!",
        "inference/best.npz": best,
        "renamed/last.npz": best,
        "half.npz": best[:middle],
        "short.npz": best[:-1],
        "flipped.npz": best[:middle] + flipped + best[middle + 9 :],
    }.items():
        (here / name).write_bytes(data)
    if os.name == "posix":
        (here / "loop").symlink_to("loop")
    with np.load(here / TINY / "best.npz") as archive:
        good = dict(archive)
    settings = json.loads(str(good["meta"]))
    negative = settings["model"] | {"hidden_size": -5}
    bias = good["params/out.b_y"]
    for name, arrays in {
        "newer.npz": good | {"meta": np.array(json.dumps(settings | {"format_version": 999}))},
        "settings.npz": good | {"meta": np.array(json.dumps(settings | {"model": negative}))},
        "other.npz": {"weights": bias},
        "nan.npz": good | {"params/out.b_y": np.full_like(bias, np.nan)},
        "shape.npz": good | {"params/out.b_y": bias[:-1]},
        "fewer.npz": {name: array for name, array in good.items() if name != "params/layer0.b_h"},
        "pickled.npz": good | {"params/out.b_y": np.array([Explosive()], dtype=object)},
    }.items():
        np.savez(here / name, **arrays)
    return here


@pytest.fixture
def bad_files(made: Path, cwd: Path) -> Path:
    """Put a copy of all those files into the test's folder."""
    shutil.copytree(made, cwd, symlinks=True, dirs_exist_ok=True)
    return cwd


class Explosive:
    """An object whose unpickling would be noticed."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, ...]]:
        return os.mkdir, ("executed",)


def everything(folder: Path) -> dict[str, bytes | None]:
    """Return all paths under the folder with the contents of the files."""
    paths = (path for path in folder.rglob("*") if path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


@pytest.mark.parametrize("name", CASES)
def test_bad_input(run, bad_files, name):
    case = CASES[name]
    before = everything(bad_files)
    outcome = run(*case.args, code=2, input="")
    told = error_line(outcome.stderr)
    assert [word for word in case.says if word not in told] == [], told
    assert outcome.bytes == b""
    assert everything(bad_files) == before


@pytest.mark.parametrize(
    "args",
    [
        (*RESUME, "--init-from", TINY),
        ("train", "--resume"),
        ("train", "tiny.txt", *NEW, "--val-fraction", "0.2", "--val-documents", "3"),
        ("train", "tiny.txt", *NEW, "--test-fraction", "0.2", "--test-documents", "3"),
        ("train", "tiny.txt", *NEW, "--extend-vocab"),
        ("eval", "tiny.txt", "--test"),
    ],
    ids=" ".join,
)
def test_options_that_contradict_each_other_are_reported_in_one_line(run, tiny, args):
    assert run(*args, code=2).stderr.startswith("Error: ")


SETTINGS = {flag_of(item.name): item for item in setting_fields()}


@pytest.mark.parametrize("flag", [flag for flag, item in SETTINGS.items() if item.metadata["choices"]])
def test_a_choice_that_there_is_not(run, corpus, flag):
    told = error_line(run("train", corpus, flag, "nonsense", code=2).stderr)
    assert told.startswith(f"{flag} must be {in_words(SETTINGS[flag].metadata['choices'], 'or')}, got 'nonsense'")


NUMBERS = [flag for flag, item in SETTINGS.items() if str(item.type).startswith(("int", "float"))]


@pytest.mark.parametrize("flag", NUMBERS)
def test_a_value_out_of_range(run, corpus, cwd, flag):
    limits = SETTINGS[flag].metadata
    low, high = limits["low"], limits["high"]
    beyond = [low - 1, *([low] if limits["open_ends"] else []), *([] if high is None else [high * 2])]
    for value in beyond:
        told = error_line(run("train", corpus, flag, value, code=2).stderr)
        assert told == f"{flag} must be {limit_of(value, limits)}, got {value}"
    assert everything(cwd).keys() == {corpus}


FLOATS = [flag for flag, item in SETTINGS.items() if str(item.type).startswith("float")]


@pytest.mark.parametrize("flag", FLOATS)
def test_nan_is_out_of_range(run, corpus, cwd, flag):
    told = error_line(run("train", corpus, flag, "nan", code=2).stderr)
    assert told == f"{flag} must be a finite number, got nan"
    assert everything(cwd).keys() == {corpus}


@pytest.mark.parametrize("flag", FLOATS)
def test_infinity_is_refused_with_the_reason(run, corpus, cwd, flag):
    told = error_line(run("train", corpus, flag, "inf", code=2).stderr)
    assert told == f"{flag} must be a finite number, got inf"
    assert everything(cwd).keys() == {corpus}


def test_what_is_no_number_is_reported_in_plain_words(run, corpus):
    """Click's own words are "not a valid integer range"."""
    told = [error_line(run("train", corpus, flag, "many", code=2).stderr) for flag in ("--steps", "--sample-every")]
    told += [error_line(run("train", corpus, flag, "1.5", code=2).stderr) for flag in ("--batch-size", "--seed")]
    told += [error_line(run("train", corpus, flag, "much", code=2).stderr) for flag in ("--minutes", "--dropout")]
    told += [error_line(run("sample", flag, "hot", code=2).stderr) for flag in ("--temp", "-n", "--top-k", "--seed")]
    assert all(re.match("--[a-z-]+ must be a (whole )?number", line) for line in told)


@pytest.mark.parametrize("command_name", ["sample", "eval", "info"])
@pytest.mark.parametrize("folder", [(), ("checkpoints",), ("checkpoints/empty",)], ids=str)
def test_no_model_under_checkpoints(run, command_name, folder):
    for path in folder:
        Path(path).mkdir(parents=True)
    told = error_line(run(command_name, code=2).stderr)
    assert "no model under ./checkpoints" in told
    assert "charrnn train" in told
    assert "-m" in told


def test_a_variable_that_names_no_model(run, tiny):
    told = error_line(run("sample", code=2, env={"CHARRNN_MODEL": "elsewhere.npz"}).stderr)
    assert "elsewhere.npz does not exist" in told


@posix
@pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="root may read and write everything")
def test_files_without_permission(run, tiny):
    Path("tiny.txt").chmod(0)
    Path("checkpoints").chmod(0o500)
    assert f"cannot read tiny.txt: {os.strerror(errno.EACCES)}" in error_line(run("vocab", "tiny.txt", code=2).stderr)
    told = error_line(run("train", "-", *SMALL, "--steps", "2", code=2, input=TEXT).stderr)
    assert f"cannot write {Path('checkpoints/stdin')}: {os.strerror(errno.EACCES)}" in told
    assert "--out" in told
    Path("checkpoints").chmod(0o700)


@pytest.fixture
def secret(tiny, monkeypatch):
    """Make a folder under ./checkpoints in which nothing may be looked at, not even by root."""
    stat = os.stat

    def refuse(path: Any, *args: Any, **options: Any) -> os.stat_result:
        if isinstance(path, (str, Path)) and Path(path).parent.name == "secret":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return stat(path, *args, **options)

    tiny.with_name("secret").mkdir()
    monkeypatch.setattr(os, "stat", refuse)


def test_a_folder_that_may_not_be_read_is_skipped(run, secret):
    assert run("list").stdout.endswith("\n1 run, 0.1 MB, in checkpoints\n")
    assert run("score", "tiny.txt").stderr == f"Model: {Path(TINY, 'best.npz')}\n"
    for args in (("rm", "tinny"), ("score", "-m", "tinny", "tiny.txt")):
        assert "did you mean tiny?" in error_line(run(*args, code=2).stderr)
    for args in (("rm", "secret", "--yes"), ("score", "-m", "secret")):
        assert "be read" in error_line(run(*args, code=2).stderr)


def test_what_the_system_refuses_is_reported_by_its_name(run, monkeypatch):
    def refuse() -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "checkpoints")

    monkeypatch.setattr("charrnn.training.catalog.runs", refuse)
    told = error_line(run("list", code=2).stderr)
    assert told == f"checkpoints: {os.strerror(errno.EACCES)}: change the permissions there"


MORE_PROCESSES = "raise the limit on processes (`ulimit -u`)"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (OSError(errno.EMFILE, "Too many"), 1, "Too many: raise the limit on open files (`ulimit -n`)"),
        (OSError(errno.EAGAIN, "Unavailable"), 1, f"Unavailable: {MORE_PROCESSES}"),
        (OSError(errno.EINVAL, "Invalid argument"), 2, "Invalid argument"),
        (OSError(errno.EPIPE, "Broken pipe"), 1, "Broken pipe"),  # between processes, not of standard output
        (OSError("no number"), 1, "no number"),
        (
            RuntimeError("can't start new thread"),
            1,
            "can't start new thread: raise the limit on processes (`ulimit -u`)",
        ),
    ],
    ids=str,
)
def test_an_error_of_the_system_has_its_own_cause(run, monkeypatch, error, code, message):
    def fail() -> None:
        raise error

    monkeypatch.setattr("charrnn.training.catalog.runs", fail)
    assert error_line(run("list", code=code).stderr) == message


@posix
def test_too_few_open_files(command, corpus):
    import resource

    limit = (8, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    process = command(
        *("train", corpus, *SMALL, "--batch-size", "32", "--steps", "1", "--threads", "2"),
        stdin=subprocess.DEVNULL,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limit),
    )
    code, stderr = ended(process)
    told = error_line(stderr)
    assert code == 1
    assert os.strerror(errno.EMFILE) in told
    assert told.endswith("raise the limit on open files (`ulimit -n`)")


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk(run, tiny, monkeypatch):
    before = everything(tiny)
    monkeypatch.setattr("charrnn.system.atomic.os.fsync", full)
    told = error_line(run("train", "tiny.txt", "--resume", "--steps", "42", "--log-every", "100", code=1).stderr)
    assert os.strerror(errno.ENOSPC) in told
    assert str(tiny) in told
    assert "--out" in told
    assert everything(tiny) == before


def test_a_full_disk_at_the_start(run, corpus, monkeypatch):
    monkeypatch.setattr("charrnn.system.atomic.os.fsync", full)
    told = error_line(run("train", corpus, *SMALL, "--steps", "2", code=1).stderr)
    assert f"cannot write {Path(TINY) / 'last.npz'}: {os.strerror(errno.ENOSPC)}" in told


def test_too_little_memory(run, corpus, monkeypatch):
    def start(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("charrnn.training.run.Run.start", start)
    told = error_line(run("train", corpus, code=1).stderr)
    assert "not enough memory" in told
    assert "--hidden-size" in told


#: What a command may raise, and the exit code.
RAISED = [
    (ConfigError("no"), 2),
    (CorpusError("no"), 2),
    (CorpusError("not now", 1), 1),
    (DivergedError("the loss is no longer finite", 3), 2),
    (MissingExtraError("a page", "Jinja2", "pages"), 2),
    (click.UsageError("no"), 2),
    (OSError(errno.ENOENT, "no file"), 2),
    (OSError(errno.EACCES, "not allowed", "file"), 2),
    (OSError(errno.EIO, "input/output error"), 1),
    (OSError(errno.ENOSPC, "full", "file"), 1),
    (OutputError(errno.EPIPE, "closed"), 0),
    (OutputError(errno.EBADF, "closed"), 2),
    (OutputError(errno.ENOSPC, "full"), 1),
    (MemoryError(), 1),
    (RuntimeError("can't start new thread"), 1),
    (KeyboardInterrupt(), 130),
]


@pytest.mark.parametrize(("raised", "code"), RAISED, ids=lambda value: repr(value))
def test_every_kind_of_error_has_its_code(run, corpus, monkeypatch, raised, code):
    def start(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr("charrnn.training.run.Run.start", start)
    stderr = run("train", corpus, "--quiet", code=code).stderr
    assert stderr.count("\n") == (code > 0)
    assert code in EXIT_CODES


def test_a_run_that_diverges(run, corpus):
    run("train", corpus, *SMALL, "--steps", "4", "--quiet")
    best = Path(TINY, "best.npz").read_bytes()
    wild = ("--optimizer", "sgd", "--learning-rate", "1e38", "--clip-norm", "0", "--schedule", "constant")
    wild = ("train", corpus, *SMALL, "--steps", "20", "--eval-every", "20", *wild, "--out", "wild", "--force")
    for more, wanted in (((), "did not help"), (("--no-recover",), "no longer finite at step")):
        told = error_line(run(*wild, *more, code=2).stderr)
        assert wanted in told
        assert "--learning-rate" in told
        assert Path(TINY, "best.npz").read_bytes() == best
        run("info", "-m", "wild")  # what was saved before is whole


def test_pickled_objects_are_never_run(run, bad_files):
    run("info", "-m", "pickled.npz", code=2)
    assert not Path("executed").exists()


# What may be wrong with the streams, not with the input.


def ended(process: subprocess.Popen[bytes], input: bytes | None = None) -> tuple[int, str]:
    """Return the exit code and standard error."""
    _, stderr = process.communicate(input, timeout=TIMEOUT)
    return process.returncode, (stderr or b"").decode()


#: The labels of `labelled.tsv`, each by the same language model.
BY = [f"--by=checkpoints/tiny/best.npz={label}" for label in ("brummt", "krabbelt", "schläft")]
PRODUCTS = [
    ("sample", "--seed", "1"),
    ("eval", "tiny.txt"),
    ("eval", "--json"),
    ("info",),
    ("info", "--json"),
    ("vocab", "tiny.txt"),
    ("score", "tiny.txt"),
    ("embed", "tiny.txt"),
    ("complete", "Der "),
    ("classify", "train", "labelled.tsv", *SMALL[:4], "--steps", "1", "--seed", "1", "--quiet"),
    ("classify", "predict", "tiny.txt", *BY),
    ("classify", "eval", "labelled.tsv", *BY),
    ("fill", "D_r"),
    ("repair", "--help"),
    ("serve", "--stdio"),
    ("list",),
    ("compare", "tiny"),
    ("sweep", "tiny.txt", *SMALL, "--steps", "1", "--quiet"),
    ("plot", "tiny"),
    ("inspect", "tiny.txt"),
    ("report", "tiny"),
    ("export-log", "tiny", "--tensorboard", "events"),
    ("cache",),
    ("doctor",),
    ("rm", "tiny", "--yes"),
    ("score", "tiny.txt"),
    ("complete", "D"),
    ("serve", "--stdio"),
    ("train", "tiny.txt", *SMALL, "--steps", "1", "--out", "new", "--quiet"),
    ("train", "--help"),
    ("help", "train"),
]

#: What the group itself prints.
ASKING = [("--help",), ("--version",)]


def test_every_command_is_tried_without_a_reader():
    tried = [" ".join(args) for args in PRODUCTS]
    for name, _ in commands_of(click.Context(main)):
        assert any(f"{words} ".startswith(f"{name} ") for words in tried), name


@posix
@pytest.mark.parametrize(
    "args",
    [
        pytest.param(args, id=" ".join(args), marks=[pytest.mark.slow] * (args == ("doctor",)))
        for args in (*PRODUCTS, *ASKING)
    ],
)
def test_a_reader_that_is_gone_is_no_error(command, tiny, args):
    Path("labelled.tsv").write_text(LABELLED, encoding="utf-8")
    ours, theirs = os.pipe()
    os.close(ours)
    process = command(*args, stdout=theirs, stdin=subprocess.DEVNULL)
    os.close(theirs)
    code, stderr = ended(process)
    assert code == 0, stderr
    assert stderr in ("", f"Model: {tiny / 'best.npz'}\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("args", [("sample",), ("eval", "tiny.txt"), ("vocab", "tiny.txt"), *ASKING], ids=" ".join)
def test_a_full_standard_output_is_an_error(command, tiny, args):
    with open("/dev/full", "wb") as device:
        code, stderr = ended(command(*args, stdout=device, stdin=subprocess.DEVNULL))
    assert code == 1
    assert os.strerror(errno.ENOSPC) in error_line(stderr)


@pytest.fixture(params=["gone", "full"])
def unread(request):
    """Return a stream that cannot be written, because its reader is gone or it is full."""
    if request.param == "gone":
        ours, theirs = os.pipe()
        os.close(ours)
    elif Path("/dev/full").exists():
        theirs = os.open("/dev/full", os.O_WRONLY)
    else:
        pytest.skip("needs a device that is always full")
    yield theirs
    os.close(theirs)


@posix
@pytest.mark.parametrize(("words", "code"), [("score tiny.txt", 0), ("score missing.txt", 2), ("bogus", 2)])
def test_notes_and_errors_that_nobody_reads_change_nothing(command, tiny, unread, words, code):
    process = command(*words.split(), stderr=unread, stdin=subprocess.DEVNULL)
    stdout, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == code
    assert len(stdout.splitlines()) == (0 if code else TEXT.count("\n"))


def closing(descriptor: int) -> dict[str, Any]:
    """Return a function that closes a stream in a new process before the command starts."""
    return {"preexec_fn": lambda: os.close(descriptor)}


@posix
@pytest.mark.parametrize(
    "args", [("train", "-", "--steps", "1"), ("sample", "--prime", "-"), ("eval", "-")], ids=" ".join
)
def test_a_closed_standard_input_is_an_error(command, tiny, args):
    code, stderr = ended(command(*args, **closing(0)))
    assert code == 2
    assert "standard input" in error_line(stderr)


@posix
@pytest.mark.parametrize("args", [("sample",), *ASKING], ids=" ".join)
def test_a_closed_standard_output_is_an_error(command, tiny, args):
    code, stderr = ended(command(*args, stdin=subprocess.DEVNULL, **closing(1)))
    assert code == 2
    assert "standard output" in error_line(stderr)


@posix
def test_a_closed_standard_error_does_not_keep_from_training(command, corpus):
    process = command("train", corpus, *SMALL, "--steps", "2", stdin=subprocess.DEVNULL, **closing(2))
    code, _ = ended(process)
    assert code == 0
    assert meta(Path(TINY, "last.npz"))["step"] == 2

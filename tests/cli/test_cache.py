"""`charrnn cache`: entries are listed and removed, and a user sees when one is made."""

import os
from pathlib import Path

import pytest

from charrnn.data import reading

from ._material import SMALL, TEXT, error_line, posix, same_arrays

NOTE = "Encoding 0 MB of text for the cache; `charrnn cache` shows where\n"


@pytest.fixture(autouse=True)
def folder(cwd, monkeypatch):
    """Cache every text, in the test's own folder."""
    monkeypatch.setattr(reading, "CACHED_FROM", 1)
    monkeypatch.setenv("CHARRNN_CACHE", str(cwd / "cache"))
    return cwd / "cache"


def test_an_empty_cache(run, folder):
    assert run("cache").stdout == f"0 texts, 0.0 MB, in {folder}\n"
    assert run("cache", "--json").json == {"folder": str(folder), "entries": []}
    assert run("cache", "--remove").stdout == f"Removed 0 texts, 0.0 MB, in {folder}\n"


def test_entries_are_listed(run, corpus, folder):
    run("train", corpus, *SMALL, "--steps", "2", "--quiet")
    (entry,) = run("cache", "--json").json["entries"]
    path = os.path.realpath(corpus)
    assert list(entry) == ["corpus", "chars", "symbols", "bytes", "built", "valid", "sha256", "file"]
    assert entry["corpus"] == [path]
    assert (entry["chars"], entry["symbols"], entry["bytes"]) == (len(TEXT), len(set(TEXT)), len(TEXT))
    assert entry["valid"] is True
    assert entry["sha256"] == run("info", "--json").json["source"]["sha256"]
    assert Path(entry["file"]).parent == folder
    table = run("cache", env={"COLUMNS": "500"}).stdout.splitlines()
    assert table[0].split() == ["Corpus", "Characters", "Symbols", "MB", "Built", "State"]
    assert table[1].split() == [
        path,
        f"{len(TEXT):,}",
        str(len(set(TEXT))),
        "0.0",
        *entry["built"][:16].split(),
        "valid",
    ]
    assert table[2] == f"1 text, 0.0 MB, in {folder}"
    Path(corpus).write_bytes(b"different texts")
    assert run("cache", "--json").json["entries"] == [entry | {"valid": False}]
    assert run("cache", env={"COLUMNS": "500"}).stdout.splitlines()[1].split()[-1] == "stale"


def test_one_or_all_can_be_removed(run, folder):
    for name in ("a.txt", "b.txt", "c.txt"):
        Path(name).write_bytes(TEXT.encode())
        run("vocab", name)
    assert [Path(entry["corpus"][0]).name for entry in run("cache", "./b.txt", "--json").json["entries"]] == ["b.txt"]
    assert run("cache", "--remove", "b.txt").stdout == f"Removed 1 text, 0.0 MB, in {folder}\n"
    left = run("cache", "--json").json["entries"]
    assert {Path(entry["corpus"][0]).name for entry in left} == {"a.txt", "c.txt"}
    removed = run("cache", "--remove", "--json").json["entries"]
    assert removed == left
    assert [path.name for path in folder.iterdir()] == [".lock"]
    assert Path("a.txt").exists()


@pytest.mark.parametrize("args", [("no.txt",), ("--remove", "no.txt"), ("--remove", "a.txt", "no.txt")], ids=" ".join)
def test_a_missing_entry_is_named_and_nothing_is_removed(run, args):
    Path("a.txt").write_bytes(TEXT.encode())
    run("vocab", "a.txt")
    assert error_line(run("cache", *args, code=2).stderr).startswith("no.txt is not in the cache: ")
    assert len(run("cache", "--json").json["entries"]) == 1


@pytest.mark.parametrize(
    "args", [("train", *SMALL, "--steps", "2", "tiny.txt"), ("vocab", "tiny.txt")], ids=lambda a: a[0]
)
def test_a_note_says_that_a_text_is_encoded_once(run, corpus, args):
    assert run(*args).stderr.startswith(NOTE)
    again = (*args, "--force") if args[0] == "train" else args
    assert NOTE not in run(*again).stderr
    run("cache", "--remove")
    if args[0] == "train":
        assert run(*again, "--quiet").stderr == ""


def test_each_text_has_its_line(run, corpus):
    Path("val.txt").write_bytes(TEXT[:300].encode())
    assert run("train", corpus, "--val-file", "val.txt", *SMALL, "--steps", "2").stderr.startswith(NOTE * 2)
    run("cache", "--remove")
    assert run("train", corpus, "--resume", "--steps", "3").stderr.startswith(NOTE * 2)
    run("cache", "--remove")
    assert run("eval", corpus, "val.txt").stderr.endswith(NOTE)


def test_results_are_the_same_with_and_without_the_cache(run, corpus, monkeypatch):
    def all_of(out):
        run("train", corpus, *SMALL, "--steps", "9", "--eval-every", "4", "--quiet", "--out", out)
        figures = run("eval", "-m", out, corpus, "--json").json
        return {name: value for name, value in figures.items() if name != "chars_per_second"}, run(
            "vocab", corpus
        ).bytes

    ours = all_of("cached")
    monkeypatch.setattr(reading, "CACHED_FROM", 1 << 40)
    assert ours == all_of("memory")
    assert same_arrays(Path("cached/last.npz"), Path("memory/last.npz"))


def test_a_folder_that_cannot_be_written_is_refused_in_one_line(run, corpus, folder):
    folder.write_bytes(b"a file")
    told = error_line(run("train", corpus, *SMALL, "--steps", "2", code=2).stderr)
    assert told.startswith(f"cannot write {folder}: ")
    assert "CHARRNN_CACHE" in told
    assert not Path("checkpoints").exists()


@posix
def test_without_a_home_folder(run, corpus, monkeypatch):
    for name in ("CHARRNN_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    reason = "there is no home folder: set the environment variable CHARRNN_CACHE to a folder for the cache\n"
    assert run("cache").stderr == f"Note: texts are not cached: {reason}"
    assert run("cache", "--json").json == {"folder": None, "entries": []}
    assert run("cache", "--remove").stdout == "Removed 0 texts, 0.0 MB, in no folder\n"
    assert run("vocab", corpus).stderr == f"Note: the text is encoded in memory, not in the cache: {reason}"


@posix
def test_a_bar_shows_how_far_it_is(terminal, cwd):
    with open("large.txt", "wb") as file:
        file.write(b"A line of a text that is large enough.\n" * 900_000)
    started = terminal("vocab", "large.txt")
    shown = started.read_all()
    assert "Encoding the text, once:" in shown
    assert started.process.returncode == 0

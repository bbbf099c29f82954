"""The cache on disk: the same text as from memory, valid while its file is unchanged, and complete or absent."""

import errno
import hashlib
import json
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from fixtures_run import SETTINGS, TEXT, assert_same_run, finish, output_of, python, start, stop_at, write_text
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn.config import TextConfig
from charrnn.data import cache, files, reading, records, text
from charrnn.data.corpus import Corpus
from charrnn.data.reading import read_text
from charrnn.data.text import END, Text
from charrnn.data.vocab import Vocab
from charrnn.errors import CharRNNError, CorpusError
from charrnn.system.atomic import InUseError, lock
from charrnn.training.loop import Stepped
from charrnn.training.run import Run

pytestmark = pytest.mark.usefixtures("no_sync")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Cache every text, in pieces of a few characters; return the folder of the cache."""
    path = tmp_path / "cache"
    monkeypatch.setenv("CHARRNN_CACHE", str(path))
    monkeypatch.setattr(reading, "CACHED_FROM", 1)
    monkeypatch.setattr(text, "_BLOCK", 7)
    for module in (files, records, text, cache):
        monkeypatch.setattr(module, "CHUNK", 7)
    return path


@pytest.fixture
def reads(monkeypatch):
    """Return a list to which the path of each file that is read is added."""
    paths, read = [], reading.open_inputs
    monkeypatch.setattr(reading, "open_inputs", lambda path, told: paths.append(path) or read(path, told))
    return paths


def names(folder):
    """Return the suffixes of the files in the cache, without the lock."""
    return sorted(path.suffix for path in folder.iterdir() if path.name != ".lock")


def in_cache(found, folder):
    """Return whether the ids of a text are a mapped file of the cache."""
    ids = found.ids
    while ids is not None and not isinstance(ids, np.memmap):
        ids = ids.base
    return ids is not None and Path(ids.filename).parent == folder


def put(path, data):
    """Write a file with a modification time that no other file has."""
    Path(path).write_bytes(data)
    put.clock += 10**9
    os.utime(path, ns=(put.clock, put.clock))
    return str(path)


put.clock = 10**18


# The same text


@given(
    st.text(
        st.sampled_from("a\r\né\ufeff水語\U0001f600\U0010ffff")
        | st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
        min_size=1,
    ).filter(lambda text: text[0] != "\ufeff")
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_text_from_the_cache_is_that_from_memory(tmp_path, folder, whole):
    path = put(tmp_path / "text.txt", whole.encode())
    for _ in range(2):  # made, found
        found = read_text(path)
        assert in_cache(found, folder)
        assert str(found) == whole
        assert found.sha256 == hashlib.sha256(whole.encode()).hexdigest()
        vocab = Vocab.from_text(found.symbols)
        assert vocab == Vocab.from_text(whole)
        assert vocab.ids_of(found)[np.arange(len(whole))].tolist() == vocab.encode(whole).tolist()


@pytest.mark.parametrize("char", ["é", "水", "\U0001f600"])
def test_the_borders_of_pieces_may_cut_characters(tmp_path, folder, char):
    for before in range(8):
        whole = "x" * before + char * 20
        assert str(read_text(put(tmp_path / f"{before}.txt", whole.encode()))) == whole


@pytest.mark.parametrize("data", ["a mark \ufeff inside".encode(), b"one\r\ntwo\r\n\rthree\n\n", b"\x1a"])
def test_no_byte_is_changed(tmp_path, data):
    assert str(read_text(put(tmp_path / "text.txt", data))).encode() == data


@pytest.mark.parametrize(("kinds", "dtype"), [(255, "u1"), (256, "u1"), (257, "<u2"), (65_536, "<u2"), (65_537, "<u4")])
def test_the_type_on_disk_grows_with_the_symbols(tmp_path, folder, monkeypatch, kinds, dtype):
    for module in (files, records, text, cache):
        monkeypatch.setattr(module, "CHUNK", 100 if kinds < 1000 else 9999)
    whole = "".join(chr(point) for point in range(1, 70_000) if not 0xD800 <= point < 0xE000)[:kinds]
    whole += whole[::-1]
    found = read_text(put(tmp_path / "text.txt", whole.encode()))
    assert in_cache(found, folder)
    assert found.ids.dtype == np.dtype(dtype)
    assert sum(path.stat().st_size for path in folder.glob("*.ids")) == len(whole) * np.dtype(dtype).itemsize
    assert str(found) == whole


def test_ids_of_the_cache_cannot_be_changed(tmp_path):
    ids = read_text(put(tmp_path / "text.txt", b"abc")).ids
    with pytest.raises(ValueError, match="read-only"):
        ids[0] = 1


def test_several_texts_are_one_entry(tmp_path, folder, reads):
    paths = [put(tmp_path / name, data.encode()) for name, data in (("a", "eins é"), ("b", "水 zwei"))]
    assert str(read_text(*paths)) == "eins é水 zwei"
    assert str(read_text(*reversed(paths))) == "水 zweieins é"
    assert len(reads) == 4
    assert str(read_text(*paths)) == "eins é水 zwei"
    assert len(reads) == 4
    assert len(cache.entries()) == 2


# Which texts are kept, and where


def test_small_texts_standard_input_and_pipes_are_held_in_memory(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(reading, "CACHED_FROM", 6)
    assert not in_cache(read_text(put(tmp_path / "small.txt", b"12345")), folder)
    assert not folder.exists()
    assert in_cache(read_text(put(tmp_path / "large.txt", b"123456")), folder)
    if os.name == "posix":
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        writer = python(f"open({str(pipe)!r}, 'w').write('through a pipe')")
        assert str(read_text(str(pipe))) == "through a pipe"
        writer.communicate()
    assert len(cache.entries()) == 1


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {"CHARRNN_CACHE": "/mine", "XDG_CACHE_HOME": "/xdg"}, "/mine"),
        ("linux", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/charrnn"),
        ("linux", {}, "/home/me/.cache/charrnn"),
        ("linux", {"CHARRNN_CACHE": "", "XDG_CACHE_HOME": ""}, "/home/me/.cache/charrnn"),
        ("darwin", {"XDG_CACHE_HOME": "/xdg"}, "/home/me/Library/Caches/charrnn"),
    ],
)
@pytest.mark.skipif(os.name != "posix", reason="paths of POSIX")
def test_the_folder_is_where_the_system_keeps_caches(monkeypatch, platform, environment, expected):
    for name in ("CHARRNN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (environment | {"HOME": "/home/me"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cache.sys, "platform", platform)
    assert str(cache.folder()) == expected


@pytest.mark.skipif(os.name != "posix", reason="homes of POSIX")
@pytest.mark.parametrize("why", ["no home", "a home that may not be written", "no locks"])
def test_without_a_cache_the_text_is_held_in_memory(tmp_path, folder, monkeypatch, why):
    for name in ("CHARRNN_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    if why == "no home":
        monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
        reason = "there is no home folder: "
    elif why == "no locks":
        monkeypatch.setenv("CHARRNN_CACHE", str(folder))
        monkeypatch.setattr(cache, "lock", lambda file, wait: False)
        reason = f"the file system of {folder} has no locks: "
    else:
        monkeypatch.setenv("HOME", put(tmp_path / "home", b"a file"))
        reason = f"cannot write {cache.folder()}: {os.strerror(errno.ENOTDIR)}: "
    assert str(read_text(put(tmp_path / "text.txt", b"abc"))) == "abc"
    assert cache.obstacle() == f"{reason}set the environment variable CHARRNN_CACHE to a folder for the cache"
    assert cache.entries() == []
    assert folder.exists() == (why == "no locks")


def test_nothing_is_in_the_way_of_a_cache_that_another_process_has_locked(folder):
    assert cache.obstacle() is None
    with open(folder / ".lock", "w") as file:
        lock(file)
        assert cache.obstacle() is None


# When it is made anew


def test_a_text_is_read_once(tmp_path, reads):
    path = put(tmp_path / "text.txt", b"abc")
    for _ in range(3):
        assert str(read_text(path)) == "abc"
    assert reads == [path]
    os.link(path, tmp_path / "other name.txt")
    (tmp_path / "link.txt").symlink_to(path)
    read_text(str(tmp_path / "link.txt"))
    assert reads == [path]


@pytest.mark.parametrize("data", [b"abX", b"abcd"], ids=["another time", "another size"])
def test_a_text_that_has_changed_is_read_again(tmp_path, folder, reads, data):
    path = put(tmp_path / "text.txt", b"abc")
    read_text(path)
    kept = os.stat(path)
    put(path, data)
    if len(data) != 3:
        os.utime(path, ns=(kept.st_mtime_ns, kept.st_mtime_ns))
    assert not cache.entries()[0].valid
    assert str(read_text(path)) == data.decode()
    assert len(reads) == 2
    assert cache.entries()[0].valid
    assert names(folder) == [".ids", ".json"]


def test_a_text_that_changes_while_it_is_read_is_stale(tmp_path, reads):
    path = put(tmp_path / "text.txt", b"0123456789")

    def change(read, total):
        if read == 7:
            put(path, b"01234567890")

    read_text(path, reading=change)
    assert not cache.entries()[0].valid
    assert str(read_text(path)) == "01234567890"
    assert len(reads) == 2


def spoilt(path, way):
    """Damage a file in one of many ways."""
    data = path.read_bytes()
    if way == "missing":
        path.unlink()
        return
    kept = {
        "empty": b"",
        "cut short": data[: len(data) // 2],
        "one byte short": data[:-1],
        "one byte more": data + b"\0",
        "other bytes": b"\xff" * len(data),
        "nested": b"[" * 100_000,
        "a list": b"[]",
        "another format": data.replace(b'"format_version": 2', b'"format_version": 1'),
        "no files": data.replace(b'"files"', b'"flies"'),
        "more characters": data.replace(b'"chars": 10', b'"chars": 11'),
        "no characters": data.replace(b'"chars": 10', b'"chars": null'),
    }[way]
    assert way == "other bytes" or kept != data
    put(path, kept)  # with a time of its own, as any other writer


ANY = ["missing", "empty", "cut short", "one byte short", "one byte more", "other bytes"]
OBJECT = ["nested", "a list", "another format", "no files", "more characters", "no characters"]
WAYS = [*((".ids", way) for way in ANY), *((".json", way) for way in ANY + OBJECT if way != "one byte more")]


@pytest.mark.parametrize(("kind", "way"), WAYS, ids=" ".join)
def test_a_damaged_entry_is_made_anew(tmp_path, folder, reads, kind, way):
    path = put(tmp_path / "text.txt", b"0123456789")
    read_text(path)
    (damaged,) = folder.glob(f"*{kind}")
    spoilt(damaged, way)
    assert cache.entries() == []
    assert str(read_text(path)) == "0123456789"
    assert len(reads) == 2
    assert len(cache.entries()) == 1
    assert names(folder) == [".ids", ".json"]


@pytest.mark.parametrize("change", [{"chars": 9}, {"chars": 5}, {"symbols": "0123456789" * 30}])
def test_an_entry_whose_ids_are_not_as_long_as_its_characters_is_made_anew(tmp_path, folder, reads, change):
    path = put(tmp_path / "text.txt", b"0123456789")
    read_text(path)
    (entry,) = folder.glob("*.json")
    entry.write_text(json.dumps(json.loads(entry.read_text()) | change))
    assert cache.entries() == []
    assert str(read_text(path)) == "0123456789"
    assert len(reads) == 2


def test_an_entry_of_a_size_that_none_has_is_not_read(tmp_path, folder, reads, monkeypatch):
    path = put(tmp_path / "text.txt", b"0123456789")
    read_text(path)
    (entry,) = folder.glob("*.json")
    monkeypatch.setattr(cache, "MAX_ENTRY", entry.stat().st_size)
    assert len(cache.entries()) == 1
    with open(entry, "r+b") as file:
        file.truncate(1 << 26)  # zeros, of which the disk has none
    tracemalloc.start()
    try:
        assert cache.entries() == []
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()
    assert str(read_text(path)) == "0123456789"


def test_an_entry_that_is_too_large_to_be_read_back_is_an_error(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "MAX_ENTRY", 10)
    with pytest.raises(CharRNNError, match="cannot be read back"):
        read_text(put(tmp_path / "text.txt", b"0123456789"))


# What may go wrong


def test_a_text_that_is_refused_leaves_nothing(tmp_path, folder):
    path = put(tmp_path / "text.txt", "é".encode() * 1000 + b"\xe9 and more")
    with pytest.raises(CorpusError, match=r"text\.txt is not UTF-8: byte 0xe9 at offset 2,000; the rest is UTF-8"):
        read_text(path)
    path = put(tmp_path / "cut.txt", b"cut short: \xf0\x9f\x98")
    with pytest.raises(CorpusError, match=r"cut\.txt is not UTF-8: byte 0xf0 at offset 11; "):
        read_text(path)
    assert names(folder) == []


def test_a_dull_text_is_refused(tmp_path):
    with pytest.raises(CorpusError, match="repeats the one character 'a'"):
        Corpus.read(put(tmp_path / "dull.txt", b"a" * 100))
    with pytest.raises(CorpusError, match="has one character"):
        Corpus.read(put(tmp_path / "one.txt", b"a"))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_read_only_folder_is_refused_in_one_line(tmp_path, folder):
    folder.mkdir(mode=0o500)
    with pytest.raises(CharRNNError, match=f"{os.strerror(errno.EACCES)}: .*CHARRNN_CACHE"):
        read_text(put(tmp_path / "text.txt", b"abc"))


def test_a_file_in_the_folders_place_is_refused_in_one_line(tmp_path, folder):
    folder.write_bytes(b"")
    with pytest.raises(CharRNNError) as caught:
        read_text(put(tmp_path / "text.txt", b"abc"))
    assert str(caught.value).startswith(f"cannot write {folder}: ")
    assert "environment variable CHARRNN_CACHE" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_entries_in_a_read_only_folder_are_used(tmp_path, folder, monkeypatch):
    path = put(tmp_path / "text.txt", b"abc")
    read_text(path)

    def refuse(*args, **options):
        raise AssertionError("nothing is to be written")

    monkeypatch.setattr(cache, "_locked", refuse)
    assert str(read_text(path)) == "abc"


def test_a_full_disk_is_refused_in_one_line(tmp_path, folder, monkeypatch):
    path = put(tmp_path / "text.txt", b"abc")

    def refuse(ids):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cache, "_little_endian", refuse)
    with pytest.raises(CharRNNError) as caught:
        read_text(path)
    assert os.strerror(errno.ENOSPC) in str(caught.value)
    assert "free space" in str(caught.value)
    assert "environment variable CHARRNN_CACHE" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert names(folder) == []


def test_progress_is_reported_while_an_entry_is_made(tmp_path):
    path, seen = put(tmp_path / "text.txt", b"x" * 20), []
    read_text(path, reading=lambda *now: seen.append(now))
    assert seen == [(7, 20), (14, 20), (20, 20)]
    read_text(path, reading=lambda *now: seen.append("again"))
    assert len(seen) == 3


# Other processes

#: Makes an entry again and again in children of its own. The n-th child ends itself, as a kill would, at the n-th time
#: that it encodes, opens, syncs, renames or removes. Prints how many there were.
SUICIDES = """
import builtins, os, signal, sys
from pathlib import Path
from charrnn.data import cache, files, reading, records, text
from charrnn.system import atomic
from data.test_cache import put

reading.CACHED_FROM = 1
files.CHUNK = records.CHUNK = text.CHUNK = cache.CHUNK = 10
path, stale, left = Path(sys.argv[1]), sys.argv[2] == "a stale entry", 0
whole = ("Der müde Käfer. 水\\n" * 2 + "".join(map(chr, range(0x4E00, 0x4E00 + 260)))).encode()

def mortal(call):
    def around(*args, **options):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **options)
    return around

cache._little_endian, cache._unlink = mortal(cache._little_endian), mortal(cache._unlink)
os.replace, os.fsync, atomic.open = mortal(os.replace), mortal(lambda descriptor: None), mortal(builtins.open)

def suffixes():
    return sorted(found.suffix for found in cache.folder().iterdir() if found.name != ".lock")

died, code = 0, -signal.SIGKILL
while code == -signal.SIGKILL:
    if stale:
        reading.read_text(put(path, b"what stood there before"))
    put(path, whole)
    if os.fork() == 0:
        left = died + 1
        reading.read_text(str(path))
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.wait()[1])
    assert code in (0, -signal.SIGKILL), code
    died += code != 0
    for entry in cache.entries():
        assert not entry.valid or str(entry.text).encode() == whole
    assert str(reading.read_text(str(path))).encode() == whole
    assert suffixes() == [".ids", ".json"]
    cache.remove()
    assert suffixes() == []
print(died)
"""


@pytest.mark.skipif(os.name != "posix", reason="kills by a signal")
@pytest.mark.parametrize("before", ["nothing", "a stale entry"])
def test_a_kill_at_any_moment_leaves_a_whole_entry_or_none(tmp_path, before):
    assert int(output_of(SUICIDES, tmp_path / "text.txt", before)) > 30


def test_two_processes_may_want_the_same_entry_at_once(tmp_path, folder):
    path = put(tmp_path / "text.txt", "Der müde Käfer. 水\n".encode() * 3000)
    code = """
import sys
from charrnn.data import reading
reading.CACHED_FROM = 1
print(reading.read_text(sys.argv[1]))
"""
    processes = [python(code, path) for _ in range(4)]
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, outputs
    assert {out for out, _ in outputs} == {Path(path).read_text(encoding="utf-8") + "\n"}
    assert names(folder) == [".ids", ".json"]
    assert cache.entries()[0].valid


def test_one_process_at_a_time_makes_entries(tmp_path, folder):
    def another(read, total):
        with open(folder / ".lock", "w") as file, pytest.raises(InUseError):
            lock(file)

    read_text(put(tmp_path / "text.txt", b"abc"), reading=another)
    with open(folder / ".lock", "w") as file:
        lock(file)


def test_a_process_that_waited_uses_the_entry_of_another(tmp_path, reads, monkeypatch):
    path = put(tmp_path / "text.txt", b"abc")

    def wait(file, *, wait):
        monkeypatch.setattr(cache, "lock", lock)
        assert wait
        read_text(path)
        return True

    monkeypatch.setattr(cache, "lock", wait)
    assert str(read_text(path)) == "abc"
    assert reads == [path]


def test_leftovers_are_removed_before_an_entry_is_made(tmp_path, folder):
    path = put(tmp_path / "text.txt", b"abc")
    read_text(path)
    (folder / "orphan.ids").write_bytes(b"of an entry that a kill cut short")
    (folder / ".left.ids.tmp").write_bytes(b"behind by another")
    put(path, b"a stale entry")
    seen = []
    read_text(path, reading=lambda *now: seen.append(names(folder)))
    assert seen[0] == [".tmp"]
    assert names(folder) == [".ids", ".json"]


def test_entries_can_be_removed(tmp_path, folder, reads):
    paths = [put(tmp_path / name, b"text") for name in ("one.txt", "two.txt")]
    texts = [read_text(path) for path in paths]
    (wanted,) = [entry for entry in cache.entries() if entry.paths == {os.path.realpath(paths[0])}]
    cache.remove([wanted.path])
    assert [entry.paths for entry in cache.entries()] == [{os.path.realpath(paths[1])}]
    assert names(folder) == [".ids", ".json"]
    (folder / "damaged.json").write_bytes(b"{")
    (folder / ".left.ids.tmp").write_bytes(b"behind")
    cache.remove()
    assert names(folder) == []
    if os.name == "posix":
        assert list(map(str, texts)) == ["text", "text"]  # a text that is open can still be read


# Training and evaluating from it


@pytest.mark.parametrize("settings", [{}, {"val_fraction": 0.0}, {"seq_len": 7, "batch_size": 3}], ids=str)
def test_training_from_the_cache_gives_the_same_bytes(tmp_path, folder, monkeypatch, settings):
    path = write_text(tmp_path, TEXT[::-1] + "é水")
    finish(start(tmp_path / "cached", path, **settings))
    assert len(cache.entries()) == 1
    monkeypatch.setattr(reading, "CACHED_FROM", 1 << 30)
    finish(start(tmp_path / "memory", path, **settings))
    for name in ("last.npz", "best.npz", "log.jsonl"):
        ours, theirs = tmp_path / "cached" / name, tmp_path / "memory" / name
        assert ours.exists() == theirs.exists()
    assert_same_run(tmp_path / "cached", tmp_path / "memory") if settings.get("val_fraction") != 0.0 else None
    assert (tmp_path / "cached" / "last.npz").read_bytes() == (tmp_path / "memory" / "last.npz").read_bytes()


def test_a_resume_reads_the_cache_and_not_the_text(tmp_path, reads):
    path = write_text(tmp_path)
    finish(start(tmp_path / "whole", path))
    stop_at(start(tmp_path / "run", path), lambda event: isinstance(event, Stepped) and event.step == 9)
    assert len(reads) == 1
    finish(Run.resume(tmp_path / "run"))
    assert len(reads) == 1
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_a_resume_reads_a_touched_text_again_and_its_hash_decides(tmp_path, reads):
    path = write_text(tmp_path)
    stop_at(start(tmp_path / "run", path), lambda event: isinstance(event, Stepped) and event.step == 3)
    put(path, TEXT.encode())
    Run.resume(tmp_path / "run").close()
    assert len(reads) == 2
    put(path, TEXT.replace("red", "RED").encode())
    with pytest.raises(CorpusError, match="SHA-256 differs"):
        Run.resume(tmp_path / "run")


def test_another_vocabulary_and_a_validation_file_are_mapped(tmp_path, monkeypatch):
    first, second = write_text(tmp_path), write_text(tmp_path, "über 水\n" + TEXT.upper(), "other.txt")
    val = write_text(tmp_path, "grün " + TEXT[:300], "val.txt")
    finish(start(tmp_path / "first", first))
    for name, least in (("cached", 1), ("memory", 1 << 30)):
        monkeypatch.setattr(reading, "CACHED_FROM", least)
        read = Corpus.read(second, val_path=val)
        finish(start(tmp_path / name, read, init_from=tmp_path / "first" / "last.npz", extend_vocab=True))
    assert_same_run(tmp_path / "cached", tmp_path / "memory")


def test_evaluation_reads_the_cache(tmp_path, folder):
    from charrnn import load

    path = write_text(tmp_path)
    finish(start(tmp_path / "run", path, **SETTINGS))
    model = load(tmp_path / "run")
    whole = "».Ω" + TEXT[::-1] + "Ωmega"
    found = read_text(write_text(tmp_path, whole, "score.txt"))
    assert in_cache(found, folder)
    for protocol in ("whole", "lanes"):
        ours = model.evaluate(found, protocol=protocol).to_dict()
        theirs = model.evaluate(whole, protocol=protocol).to_dict()
        assert ours.pop("chars_per_second") > 0
        assert theirs.pop("chars_per_second") > 0
        assert ours == theirs
    assert ours["unknown"] == sum(char not in TEXT for char in whole)
    part = model.validation_text()
    assert isinstance(part, Text)
    assert in_cache(part, folder)
    assert str(part) == TEXT[-len(part) :]


def test_the_json_object_describes_the_ids(tmp_path, folder):
    path = put(tmp_path / "text.txt", "zaé\n".encode())
    read_text(path)
    (found,) = folder.glob("*.json")
    what = json.loads(found.read_bytes())
    ids = found.with_suffix(".ids")
    assert what == {
        "format_version": 2,
        "settings": "",
        "files": [{"path": os.path.realpath(path), "size": 5, "mtime_ns": os.stat(path).st_mtime_ns}],
        "sha256": hashlib.sha256("zaé\n".encode()).hexdigest(),
        "symbols": "\nazé",
        "chars": 4,
        "ids": [4, ids.stat().st_mtime_ns],
    }
    assert list(ids.read_bytes()) == [2, 1, 3, 0]


def test_each_way_to_read_a_text_has_an_entry_of_its_own(tmp_path, folder, reads):
    path = put(tmp_path / "text.txt", "Eins\nÉs\nzwei\n".encode())
    lines = {"split_documents": "lines"}
    ways = [{}, {"lowercase": True}, {"bytes": True}, {"encoding": "latin-1"}, lines, lines | {"document_rules": 1}]
    texts = [read_text(path, config=TextConfig(**way)) for way in ways]
    for seed in (1, 2):
        texts.append(read_text(path, config=TextConfig(**lines), shuffle_seed=seed))
    assert all(in_cache(found, folder) for found in texts)
    assert len({str(found) for found in texts[:6]}) == 4  # bytes are latin-1, and there are no blank lines
    assert sorted(str(texts[6]).split(END)) == sorted(str(texts[4]).split(END))
    assert len(cache.entries()) == 8
    assert len(reads) == 6
    again = [read_text(path, config=TextConfig(**way)) for way in ways]
    again += [read_text(path, config=TextConfig(**lines), shuffle_seed=seed) for seed in (1, 2)]
    assert list(map(str, again)) == list(map(str, texts))
    assert len(reads) == 6
    assert str(read_text(path, config=TextConfig(min_count=3, val_fraction=0.2))) == str(texts[0])
    assert len(cache.entries()) == 8


def test_files_of_a_folder_are_one_entry_until_another_comes(tmp_path, folder, reads):
    (tmp_path / "texts").mkdir()
    put(tmp_path / "texts" / "a.txt", b"one")
    put(tmp_path / "texts" / "b.txt", b"two")
    assert [str(read_text(str(tmp_path / "texts"))) for _ in range(2)] == ["onetwo"] * 2
    assert len(reads) == 2
    put(tmp_path / "texts" / "c.txt", b"three")
    assert str(read_text(str(tmp_path / "texts"))) == "onetwothree"

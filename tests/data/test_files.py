"""Files, folders, globs and packed files: which are read, in which order, and how each is refused."""

import bz2
import gzip
import io
import json
import lzma
import os
import sys
import threading
import zipfile
import zlib
from importlib import import_module
from pathlib import Path

import pytest

from charrnn.data import files
from charrnn.data.files import STDIN, find_files, list_files, open_inputs, stem
from charrnn.training.folder import RunFolder

from ._material import refusal

TEXT = "Käse\r\n水 ".encode() * 1000


def contents(path):
    """Return name, suffix and bytes of each input at a path."""
    return [(item.name, item.suffix, b"".join(item.data)) for item in open_inputs(str(path), lambda read: None)]


def tree(folder, *names):
    """Make files that hold their own names; return the folder."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def found(folder, *paths):
    """Return the files at the paths, relative to the folder."""
    return [os.path.relpath(path, folder) for path in list_files([str(path) for path in paths])]


# Which files


def test_a_folder_means_its_files_and_then_those_of_its_subfolders(tmp_path):
    tree(tmp_path, "b.txt", "a/z.txt", "a/b/c.txt", "c.txt", "B.txt", ".hidden", ".git/config", "d/e.txt")
    assert found(tmp_path, tmp_path) == ["B.txt", "b.txt", "c.txt", "a/z.txt", "a/b/c.txt", "d/e.txt"]


def test_paths_keep_the_order_that_they_are_given_in(tmp_path):
    tree(tmp_path, "b.txt", "a/z.txt", "c.txt")
    assert found(tmp_path, tmp_path / "c.txt", tmp_path / "a", tmp_path / "b.txt", tmp_path / "c.txt") == [
        "c.txt",
        "a/z.txt",
        "b.txt",
        "c.txt",
    ]
    assert list_files([STDIN]) == [STDIN]


def test_globs_mean_the_matching_files_in_order(tmp_path):
    tree(tmp_path, "b.txt", "a.txt", "a.md", "d/x.txt", "d/e/y.txt", "[1].txt")
    assert found(tmp_path, tmp_path / "*.txt") == ["[1].txt", "a.txt", "b.txt"]
    assert found(tmp_path, tmp_path / "**" / "*.txt") == ["[1].txt", "a.txt", "b.txt", "d/e/y.txt", "d/x.txt"]
    assert found(tmp_path, tmp_path / "[1].txt") == ["[1].txt"]  # a file with that name is no glob
    assert found(tmp_path, tmp_path / "d*") == ["d/x.txt", "d/e/y.txt"]
    assert found(tmp_path, tmp_path / "**") == ["[1].txt", "a.md", "a.txt", "b.txt", "d/x.txt", "d/e/y.txt"]


@pytest.mark.skipif(os.name != "posix", reason="links and pipes of POSIX")
def test_links_may_lead_round_in_circles(tmp_path):
    tree(tmp_path, "a/one.txt", "a/b/two.txt")
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "self").symlink_to(".")
    (tmp_path / "a" / "again").symlink_to("b")
    (tmp_path / "a" / "nowhere.txt").symlink_to("nothing")
    os.mkfifo(tmp_path / "a" / "pipe")
    assert sorted(Path(path).name for path in list_files([str(tmp_path / "a")])) == ["one.txt", "two.txt"]


@pytest.mark.skipif(os.name != "posix", reason="links and pipes of POSIX")
def test_patterns_read_no_folder_twice_and_regular_files_alone(tmp_path, monkeypatch):
    tree(tmp_path, "a/one.txt", "a/b/two.txt", "a/.hidden/no.txt", "file")
    for link, to in (("self", "."), ("again", "."), ("b/up", ".."), ("c", "b"), ("nowhere.txt", "nothing")):
        (tmp_path / "a" / link).symlink_to(to)
    os.mkfifo(tmp_path / "a" / "pipe.txt")
    one, two, linked = "a/one.txt", "a/b/two.txt", "a/c/two.txt"
    assert sorted(found(tmp_path, tmp_path / "**" / "*.txt")) == [two, one]
    assert sorted(found(tmp_path, tmp_path / "**" / "b" / "**" / "*.txt")) == [two, "a/b/up/one.txt"]
    assert found(tmp_path, tmp_path / "*" / "**" / "c" / "*.txt") == [linked]
    assert found(tmp_path, tmp_path / "a" / "*" / "*.txt") == ["a/again/one.txt", two]
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert list_files(["../**/o*.txt"]) == ["../one.txt"]
    assert sorted(list_files(["**/*.txt"])) == ["two.txt", "up/one.txt"]
    assert "matches no file" in refusal(list_files, ["../p*.txt"])


def test_paths_that_name_nothing_are_refused(tmp_path):
    assert "matches no file" in refusal(list_files, [str(tmp_path / "*.txt")])
    assert "a folder without any file" in refusal(list_files, [str(tmp_path)])
    assert "can be read only once: name it once" in refusal(list_files, [STDIN, STDIN])
    assert "does not exist" in refusal(contents, tmp_path / "nothing.txt")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="rights of POSIX; root has them all")
def test_a_folder_that_may_not_be_read_is_refused(tmp_path):
    tree(tmp_path, "a/one.txt", "a/b/two.txt")
    (tmp_path / "a" / "b").chmod(0)
    assert "cannot read the folder" in refusal(list_files, [str(tmp_path)])


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (
            "https://example.org/books/11-0.txt",
            "download it with `curl -LO https://example.org/books/11-0.txt`, then name 11-0.txt",
        ),
        (
            "HTTP://example.org/a.txt?x=1&y=2",
            "download it with `curl -LO 'HTTP://example.org/a.txt?x=1&y=2'`, then name a.txt",
        ),
        ("https://example.org", "download it with `curl -Lo text.txt https://example.org`, then name text.txt"),
        ("s3://bucket/a*.txt", "copy the file to this machine, then give its path"),
    ],
)
def test_a_url_is_refused_with_the_command_that_downloads_it(url, says):
    assert refusal(list_files, [url]) == f"{url} is a URL: {says}"


# Runs


def run_folder(folder, *files):
    """Make a folder with these files of a training run."""
    log = json.dumps({"step": 1, "epoch": 0.1, "seconds": 0.2}) + "\n"
    for name in files:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(log if name == "log.jsonl" else name)


def test_the_files_of_a_run_are_those_that_are_left_out():
    folder = RunFolder(Path("run"))
    assert [str(folder.path / name) for name in files.RUN_FILES] == [*map(str, (folder.best, folder.last, folder.log))]


@pytest.mark.parametrize("kept", [("best.npz",), ("last.npz",), ("log.jsonl",), files.RUN_FILES], ids=str)
def test_a_run_is_left_out_of_a_folder_and_named(tmp_path, monkeypatch, kept):
    monkeypatch.chdir(tree(tmp_path, "a.txt", "checkpoints/g/samples.txt", "checkpoints/notes.txt"))
    run_folder(tmp_path / "checkpoints" / "g", *kept)
    for path, run in (
        (".", "./checkpoints/g"),
        (str(tmp_path), f"{tmp_path}/checkpoints/g"),
        ("**/*", "checkpoints/g"),
    ):
        found = find_files([path])
        assert [os.path.relpath(file) for file in found.files] == ["a.txt", "checkpoints/notes.txt"]
        assert found.notes == [f"left out 1 run: {run}"]
    assert "checkpoints/*/*.txt has no text, only 1 run" in refusal(list_files, ["checkpoints/*/*.txt"])
    assert find_files(["checkpoints/g/samples.txt"]) == (["checkpoints/g/samples.txt"], [])  # what is named is read
    assert find_files(["checkpoints/g/*.txt"]) == (["checkpoints/g/samples.txt"], [])


def test_of_a_run_beside_its_text_only_its_own_files_are_left_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tree(tmp_path, "a.txt", "b/c.txt"))
    run_folder(tmp_path, *files.RUN_FILES)
    assert find_files(["."]) == (["./a.txt", "./b/c.txt"], ["."])
    assert find_files(["*"]) == (["a.txt", "b/c.txt"], ["."])


def test_a_folder_of_runs_alone_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(4):
        run_folder(tmp_path / "checkpoints" / str(number), "last.npz")
    says = "has no text, only 4 runs: checkpoints/0, checkpoints/1, checkpoints/2, …: name a text file"
    assert says in refusal(list_files, ["checkpoints"])
    assert "checkpoints/0 is a run, not a text: name a text file" in refusal(list_files, ["checkpoints/0"])


@pytest.mark.parametrize("log", ['{"step": 1}\n', "[1]\n", "words\n", ""], ids=repr)
def test_a_log_of_something_else_is_a_text(tmp_path, log):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "log.jsonl").write_text(log)
    assert found(tmp_path, tmp_path) == ["sub/log.jsonl"]


# Files that can be read only once


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_a_pipe_can_be_read_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("a")
    once = {STDIN, "/dev/stdin", "/dev/fd/0", "/dev/fd/63", "/proc/self/fd/5", "/dev/null", str(tmp_path / "pipe")}
    more = {str(tmp_path), str(tmp_path / "file"), "/dev/fd", "missing", "a\0b"}
    assert {path for path in once | more if files.is_once(path)} == once
    assert {files.lasting_path(path) for path in once} == {STDIN}
    assert {files.lasting_path(path) for path in more} == more


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
@pytest.mark.parametrize("paths", [("-", "/dev/stdin"), ("/dev/fd/0", "-"), ("pipe", "pipe")])
def test_what_can_be_read_once_is_named_once(tmp_path, monkeypatch, paths):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    assert "can be read only once: name it once" in refusal(list_files, [*paths])


# Names


@pytest.mark.parametrize(
    ("path", "name"), [("a/b.txt", "b"), ("a/b.txt.gz", "b"), ("b.zip", "b"), ("b", "b"), ("a.b.jsonl.zst", "a.b")]
)
def test_a_text_is_named_without_the_suffix_of_its_packing(path, name):
    assert stem(path) == name


# What is in them


def zst(data):
    if sys.version_info >= (3, 14):
        return import_module("compression.zstd").compress(data)
    return pytest.importorskip("zstandard").ZstdCompressor().compress(data)


def zipped(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


PACKERS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zst}
packings = pytest.mark.parametrize("packing", PACKERS)


@packings
def test_packed_files_are_unpacked_in_pieces(tmp_path, monkeypatch, packing):
    monkeypatch.setattr(files, "CHUNK", 100)
    monkeypatch.setattr(files, "_PACKED_CHUNK", 7)
    path = tmp_path / f"text.JSONL{packing.upper()}"
    path.write_bytes(PACKERS[packing](TEXT))
    assert contents(path) == [(str(path), ".jsonl", TEXT)]


@packings
def test_several_compressed_streams_are_one_text(tmp_path, packing):
    path = tmp_path / f"text.txt{packing}"
    path.write_bytes(PACKERS[packing](TEXT) + PACKERS[packing](b"more"))
    assert contents(path)[0][2] == TEXT + b"more"


@packings
def test_damage_after_the_first_stream_is_refused(tmp_path, packing):
    path = tmp_path / f"text.txt{packing}"
    for behind in (b"\0" + PACKERS[packing](b"more")[1:], b"nothing packed"):
        path.write_bytes(PACKERS[packing](TEXT) + behind)
        assert f"{path} is cut short or damaged" in refusal(contents, path)


@pytest.mark.parametrize("slip", [1, 1 << 10])
def test_zeros_may_pad_the_streams_of_xz(tmp_path, monkeypatch, slip):
    monkeypatch.setattr(files, "_PACKED_CHUNK", slip)
    path = tmp_path / "text.xz"
    path.write_bytes(lzma.compress(TEXT) + bytes(4) + lzma.compress(b"more") + bytes(8))
    assert contents(path)[0][2] == TEXT + b"more"


@packings
def test_a_packed_file_that_is_cut_short_is_refused(tmp_path, packing):
    path = tmp_path / f"text.txt{packing}"
    data = PACKERS[packing](os.urandom(2000))
    for length in (len(data) - 1, len(data) // 2, 3):
        path.write_bytes(data[:length])
        assert f"{path} is cut short or damaged" in refusal(contents, path)


@packings
def test_a_file_that_is_not_packed_as_its_name_says_is_refused(tmp_path, packing):
    path = tmp_path / f"text.txt{packing}"
    path.write_bytes(TEXT)
    assert f"{path} is cut short or damaged" in refusal(contents, path)


@packings
def test_a_file_that_unpacks_to_far_too_much_is_refused_while_it_does(tmp_path, monkeypatch, packing):
    monkeypatch.setattr(files, "_ALWAYS_ALLOWED", 1 << 12)
    path = tmp_path / f"bomb{packing}"
    path.write_bytes(PACKERS[packing](bytes(1 << 22)))
    message = refusal(contents, path)
    assert message.startswith(f"{path} unpacks to more than 200 times its size")
    path.write_bytes(PACKERS[packing](bytes(1 << 12)))
    assert len(contents(path)[0][2]) == 1 << 12


def test_an_archive_holds_its_texts_by_name(tmp_path):
    path = tmp_path / "texts.zip"
    path.write_bytes(zipped(**{"b.txt": b"two", "a/x.csv": b"one", "empty/": b"", "c": TEXT}))
    assert contents(path) == [
        (f"{path}/a/x.csv", ".csv", b"one"),
        (f"{path}/b.txt", ".txt", b"two"),
        (f"{path}/c", "", TEXT),
    ]


def test_hidden_files_in_an_archive_are_skipped_as_in_a_folder(tmp_path):
    path = tmp_path / "texts.zip"
    members = {"./a.txt": b"one", "b/c.d": b"two"}
    path.write_bytes(zipped(**members, **{".DS_Store": b"\0", "__MACOSX/._a.txt": b"\0", "b/.git/config": b"no"}))
    assert contents(path) == [(f"{path}/./a.txt", ".txt", b"one"), (f"{path}/b/c.d", ".d", b"two")]
    path.write_bytes(zipped(**{".hidden": b"no"}))
    assert "an archive without any file to read" in refusal(contents, path)


def test_archives_that_cannot_be_read_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "texts.zip"
    whole = zipped(a=os.urandom(1000))
    path.write_bytes(whole[:500])
    assert f"{path} is cut short or damaged" in refusal(contents, path)
    path.write_bytes(whole[:200] + b"\0" * 50 + whole[250:])
    assert f"{path} is cut short or damaged" in refusal(contents, path)
    path.write_bytes(zipped())
    assert "an archive without any file" in refusal(contents, path)
    locked = bytearray(whole)
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        locked[whole.index(mark) + at] |= 1  # the flag of what is encrypted
    path.write_bytes(locked)
    assert f"{path} is protected by a password (a): unpack it first" in refusal(contents, path)
    other = bytearray(whole)
    for mark, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        other[whole.index(mark) + at] = 9  # a way of packing that Python does not have
    path.write_bytes(other)
    assert f"{path} is compressed in an unknown way" in refusal(contents, path)
    monkeypatch.setattr(files, "_ALWAYS_ALLOWED", 1 << 12)
    path.write_bytes(zipped(a=bytes(1 << 12), b=bytes(1 << 20), c=bytes(1 << 20)))
    assert "unpacks to more than 200 times its size" in refusal(contents, path)


def test_a_damaged_checksum_is_noticed(tmp_path):
    path = tmp_path / "text.gz"
    data = bytearray(gzip.compress(TEXT))
    assert data[-8:-4] == zlib.crc32(TEXT).to_bytes(4, "little")
    data[-5] ^= 1
    path.write_bytes(data)
    assert f"{path} is cut short or damaged (CRC" in refusal(contents, path)


def test_without_the_package_a_zst_file_is_refused_with_what_to_install(tmp_path, monkeypatch):
    def absent():
        raise ImportError

    monkeypatch.setattr(files, "_zst_frame", absent)
    path = tmp_path / "text.zst"
    path.write_bytes(b"anything")
    assert "pip install 'charrnn-numpy[zst]'" in refusal(contents, path)


def test_progress_is_reported_in_bytes_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "CHUNK", 1000)
    path = tmp_path / "text.xz"
    path.write_bytes(lzma.compress(os.urandom(5000)))
    told = []
    for item in open_inputs(str(path), told.append):
        assert sum(map(len, item.data)) == 5000
    assert told == sorted(told)
    assert told[-1] == path.stat().st_size


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_packed_text_may_come_through_a_pipe(tmp_path):
    os.mkfifo(path := tmp_path / "a.gz")
    writer = threading.Thread(target=path.write_bytes, args=(gzip.compress(b"abc"),))
    writer.start()
    assert b"".join(b"".join(each.data) for each in open_inputs(str(path), lambda read: None)) == b"abc"
    writer.join()

"""Lines: complete wherever the pieces end, from files, from standard input as it arrives, and from a growing file."""

import gzip
import io
import os
import re
import sys
from itertools import chain, islice
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.data import files, lines
from charrnn.data.lines import complete_lines, follow_lines, read_lines, split_lines
from charrnn.errors import CorpusError

from ._material import pieces, refusal, sizes

LINES = [b"one", b"", b"K\xc3\xa4se\r", b"\xff\0\t", b"x" * 50, b"last"]
DATA = b"\n".join(LINES)


def read(*paths):
    """Return all lines of the files."""
    return list(chain.from_iterable(read_lines([str(path) for path in paths])))


@pytest.mark.parametrize("end", [b"", b"\n"], ids=["without an end", "with one"])
@pytest.mark.parametrize("chunk", [1, 2, 7, 1000])
def test_lines_are_whole_whatever_the_pieces(tmp_path, monkeypatch, chunk, end):
    (tmp_path / "lines").write_bytes(DATA + end)
    monkeypatch.setattr(files, "CHUNK", chunk)
    assert read(tmp_path / "lines") == LINES


def test_a_picture_has_lines_only_for_bytes(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\n")
    assert "a.png is a picture (PNG): name a text file" in refusal(read, tmp_path / "a.png")
    assert [*read_lines([str(tmp_path / "a.png")], any_kind=True)] == [[b"\x89PNG\r", b"\x1a", b"\0"]]


@given(st.text("ab\n\r\f\x85\u2028", max_size=30), sizes)
def test_lines_end_with_newlines_carriage_returns_or_both(text, sizes):
    found = [line for lines in complete_lines(pieces(text, sizes)) for line in lines]
    assert "".join(found) == text
    assert [re.sub("(\r\n|\r|\n)\\Z", "", line) for line in found] == split_lines(text)


@given(st.text("ab\n\r", max_size=30), sizes)
def test_lines_of_bytes_are_those_of_text(text, sizes):
    found = chain.from_iterable(lines._split_lines(pieces(text.encode(), sizes)))
    assert [line.decode().removesuffix("\r") for line in found] == split_lines(text)


def test_a_carriage_return_ends_a_line_and_belongs_to_it_only_before_a_newline(tmp_path):
    (tmp_path / "lines").write_bytes(b"mac\rdos\r\nunix\n\r\r\nlast\r")
    assert read(tmp_path / "lines") == [b"mac", b"dos\r", b"unix", b"", b"\r", b"last"]


def test_a_file_has_as_many_lines_as_it_has_line_ends_and_a_rest(tmp_path):
    for data, found in ((b"", []), (b"\n", [b""]), (b"\n\n", [b"", b""]), (b"a", [b"a"])):
        (tmp_path / "lines").write_bytes(data)
        assert read(tmp_path / "lines") == found


def test_files_follow_one_another_and_are_unpacked(tmp_path):
    (tmp_path / "a").write_bytes(b"one\ntwo")
    (tmp_path / "b.gz").write_bytes(gzip.compress(b"three\n"))
    assert read(tmp_path / "a", tmp_path / "b.gz", tmp_path / "a") == [b"one", b"two", b"three", b"one", b"two"]


class Arriving(io.RawIOBase):
    """Bytes that arrive in these pieces."""

    def __init__(self, *pieces):
        self.pieces, self.asked = list(pieces), 0

    def readable(self):
        return True

    def readinto(self, buffer):
        self.asked += 1
        piece = self.pieces.pop(0) if self.pieces else b""
        buffer[: len(piece)] = piece
        return len(piece)


def test_lines_that_have_arrived_are_yielded_at_once(monkeypatch):
    raw = Arriving(b"one\ntwo\nthr", b"ee\n", b"four")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(raw)))
    pieces = read_lines(["-"])
    assert next(pieces) == [b"one", b"two"]
    assert raw.asked == 1
    assert next(pieces) == [b"three"]
    assert raw.asked == 2
    assert list(pieces) == [[b"four"]]


@pytest.fixture
def grown(tmp_path, monkeypatch):
    """Return a file, and a list of changes, of which one is made whenever the reader waits."""
    path, happens = tmp_path / "log", []
    path.write_bytes(b"one\ntw")

    def sleep(seconds):
        assert happens, "the reader waits for more than there will be"
        happens.pop(0)(path)

    monkeypatch.setattr(lines, "time", SimpleNamespace(sleep=sleep))
    return path, happens


def append(data):
    def add(path):
        with open(path, "ab") as file:
            file.write(data)

    return add


def replaced(data):
    def replace(path):
        new = path.with_name("new")
        new.write_bytes(data)
        os.replace(new, path)

    return replace


def followed(path, count):
    """Return this many lines of a file that is followed."""
    found = follow_lines(str(path))
    try:
        return list(islice(chain.from_iterable(found), count))
    finally:
        found.close()


def test_a_growing_file_is_followed(grown):
    path, happens = grown
    happens += [append(b"o"), append(b""), append(b"\nthree\nfo"), append(b"ur\n")]
    assert followed(path, 4) == [b"one", b"two", b"three", b"four"]
    assert happens == []


def test_a_file_that_was_cut_short_is_read_from_its_beginning(grown):
    path, happens = grown
    happens += [lambda path: path.write_bytes(b"x\n"), append(b"y\n")]
    assert followed(path, 4) == [b"one", b"tw", b"x", b"y"]


@pytest.mark.skipif(os.name != "posix", reason="needs files that can be replaced while they are read")
def test_a_file_that_was_replaced_is_read_to_its_end_and_then_the_new_one(grown):
    path, happens = grown
    old = path.with_name("old")

    def rotate(path):
        append(b"o\nlate\n")(path)
        os.replace(path, old)

    happens += [rotate, append(b""), append(b"new\n"), replaced(b"newer, and longer\n")]
    assert followed(path, 5) == [b"one", b"two", b"late", b"new", b"newer, and longer"]


def test_only_files_that_can_grow_are_followed(tmp_path):
    for name, says in (("absent", "does not exist"), ("a.gz", "unpack it first"), (".", "not a file that can grow")):
        with pytest.raises(CorpusError, match=says):
            next(follow_lines(str(tmp_path / name)))

"""Reading: characters that arrive untouched, files and documents in their order, refusals in one line."""

import gzip
import io
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config import STDIN, TextConfig
from charrnn.data import reading
from charrnn.data import text as text_module
from charrnn.data.files import describe_path
from charrnn.data.reading import read_text, text_of
from charrnn.data.text import END, Text
from charrnn.errors import CorpusError

from ._material import NAMES, documents, refusal


@pytest.mark.parametrize(
    "data",
    [
        b"one\r\ntwo\r\n",
        b"one\rtwo\n\n",
        b"a mark \xef\xbb\xbfinside",
        b"\x1a inside",
        b"no newline at the end",
        "ﬁ é é 水 🚣\u2028x\x85y\x0c".encode(),
        b"   \t\n",
    ],
)
def test_no_byte_of_a_file_is_changed(tmp_path, data):
    path = tmp_path / "corpus.txt"
    path.write_bytes(data)
    assert str(read_text(str(path))).encode() == data


@pytest.mark.parametrize(("path", "remedy"), [(STDIN, "write it to a file"), ("a.txt", "give a shorter one")])
def test_a_text_that_memory_cannot_hold_is_refused(tmp_path, monkeypatch, path, remedy):
    def full(pieces):
        raise MemoryError

    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("abc")
    monkeypatch.setattr(Text, "gather", full)
    assert refusal(read_text, path).startswith(f"not enough memory for the text of {describe_path(path)}: {remedy}")


@pytest.mark.parametrize("data", [b"", b"\xff\xfe"])
def test_standard_input_is_named_in_refusals(monkeypatch, data):
    class Input:
        buffer = io.BytesIO(data)

    monkeypatch.setattr(sys, "stdin", Input)
    assert "standard input is" in refusal(read_text, STDIN)


@pytest.mark.parametrize(
    ("data", "byte", "offset"),
    [
        (b"\xe9", "0xe9", "0"),
        (b"caf\xe9 au lait", "0xe9", "3"),
        ("é".encode() * 1000 + b"\x80", "0x80", "2,000"),
        (b"cut short \xe6\xb0", "0xe6", "10"),
        (b"surrogate \xed\xa0\x80", "0xed", "10"),
    ],
)
def test_a_text_that_is_not_utf_8_is_refused_by_byte_and_offset(tmp_path, data, byte, offset):
    path = tmp_path / "latin.txt"
    path.write_bytes(data)
    message = refusal(read_text, str(path))
    assert f"{path} is not UTF-8: byte {byte} at offset {offset};" in message
    assert message.count(";") == 1


@pytest.mark.skipif(shutil.which("iconv") is None, reason="needs iconv")
@pytest.mark.parametrize("encoding", ["cp1252", "macintosh", "koi8-r"])
def test_the_command_that_converts_a_text_works(tmp_path, encoding):
    line = "Все счастливые семьи похожи друг на друга" if encoding == "koi8-r" else "Der Käfer läuft über die Straße"
    text = f"{line}\n" * 9
    path = tmp_path / "a book.txt"
    path.write_bytes(text.encode(encoding))
    command = refusal(read_text, str(path)).split("`")[1]
    subprocess.run(command, shell=True, check=True)
    assert (tmp_path / "a book.utf8").read_text() == text


@pytest.mark.parametrize(
    ("data", "encoding", "says"),
    [
        ("Prosa".encode("utf-16"), "utf-8", "it starts like UTF-16: train with --encoding utf-16"),
        ("Prosa".encode("utf-32"), "ascii", "it starts like UTF-32: train with --encoding utf-32"),
        ("Prosa".encode("utf-16")[:-1], "utf-16", "it ends inside a character: use a complete"),
        ("Prosa".encode("utf-16")[:-1], "utf-16-le", "it ends inside a character: use a complete"),
        (b"Prosa " * 20_000 + "Prosa".encode("utf-16"), "utf-8", "name its encoding"),  # later on, a mark is none
    ],
)
def test_a_text_that_begins_as_another_encoding_does_is_said_to(tmp_path, data, encoding, says):
    path = tmp_path / "text.txt"
    path.write_bytes(data)
    assert f"; {says}" in refusal(partial(read_text, config=TextConfig(encoding=encoding)), str(path))


def test_unreadable_files_are_refused(tmp_path):
    missing, empty = tmp_path / "missing.txt", tmp_path / "empty.txt"
    empty.write_bytes(b"")
    assert f"{missing} does not exist" in refusal(read_text, str(missing))
    assert f"{empty} is empty" in refusal(read_text, str(empty))
    assert "cannot read" in refusal(read_text, str(empty / "below a file"))
    assert "cannot read" in refusal(read_text, "a path with \x00")


def test_packed_texts_are_those_that_were_packed(names):
    whole = (names / "a.txt").read_bytes()
    (names / "a.txt.gz").write_bytes(gzip.compress(whole))
    assert str(read_text(str(names / "a.txt.gz"))).encode() == whole


def test_the_work_for_many_files_grows_with_their_number(tmp_path, monkeypatch):
    described = []
    monkeypatch.setattr(reading, "describe_path", lambda path: described.append(path) or describe_path(path))
    paths = [str(tmp_path / f"{number}.txt") for number in range(100)]
    for path in paths:
        Path(path).write_text("a")
    assert str(read_text(*paths)) == "a" * 100
    assert len(described) <= 2 * len(paths)


def test_only_files_that_are_named_have_to_hold_text(tmp_path):
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "full.txt").write_text("a")
    assert str(read_text(str(tmp_path))) == "a"
    assert f"{tmp_path / 'empty.txt'} is empty" in refusal(read_text, str(tmp_path), str(tmp_path / "empty.txt"))


@pytest.mark.parametrize("settings", [{"split_documents": "lines"}, {"split_documents": "lines", "bytes": True}])
def test_lines_become_documents_with_marks_around_them(names, settings):
    text = read_text(str(names), config=TextConfig(**settings))
    assert documents(text) == NAMES
    assert text.marks().tolist() == [0, *np.cumsum([len(name) + 1 for name in NAMES])]
    assert len(read_text(str(names)).marks()) == 0


def test_the_ends_of_files_are_ends_of_documents(names):
    by_file = read_text(str(names), config=TextConfig(split_documents="files"))
    assert documents(by_file) == [(names / name).read_bytes().decode() for name in ("a.txt", "b.txt")]
    by_blank = read_text(str(names), config=TextConfig(split_documents="blank-lines"))
    assert documents(by_blank) == ["anna\nbert\r\ncleo", "dora", "emil\nfranz\ngerda\nhans\nida\njan"]
    by_separator = read_text(str(names), config=TextConfig(separator=r"\nf"))
    assert documents(by_separator) == ["anna\nbert\r\ncleo\n\ndora", "emil", "ranz\ngerda\nhans\nida\njan"]


def test_records_are_documents(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one\\n"}\n{"text": "two"}\n')
    (tmp_path / "b.csv").write_text("id,text\n1,three\n")
    assert documents(read_text(str(tmp_path), config=TextConfig(field="text"))) == ["one\n", "two", "three"]


def test_long_documents_are_shuffled_in_pieces(monkeypatch):
    whole = Text.of(END + END.join(["a" * 50, "b", "c" * 20, "d", "e" * 7]) + END)
    monkeypatch.setattr(reading, "CHUNK", 8)
    monkeypatch.setattr(text_module, "CHUNK", 8)
    for seed in range(5):
        pieces = list(reading._shuffle(whole, seed))
        assert max(map(len, pieces)) <= 8
        assert sorted(documents("".join(pieces))) == sorted(documents(whole))


def test_files_without_any_document_are_empty(tmp_path):
    (tmp_path / "blank.txt").write_text("\n\n\n")
    settings = TextConfig(split_documents="lines")
    with pytest.raises(CorpusError, match=r"blank\.txt is empty"):
        read_text(str(tmp_path / "blank.txt"), config=settings)


@given(st.text(st.sampled_from("ab\n é") | st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff")))
def test_a_text_at_hand_is_read_as_a_file_would_be(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "text.txt"
    path.write_bytes(text.encode() + b"x")
    for settings in ({"split_documents": "lines"}, {"normalize": "NFKC", "lowercase": True}, {"bytes": True}, {}):
        config = TextConfig(**settings)
        assert str(text_of(text + "x", config)) == str(read_text(str(path), config=config))


def test_half_a_surrogate_pair_has_no_bytes():
    with pytest.raises(CorpusError, match="position 2"):
        text_of("ab\ud83d", TextConfig(bytes=True))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"a\0b", "--bytes"),
        (b"\x89PNG\r\n\x1a\n\0", "x.bin is a picture (PNG): name a text file"),
        (bytes(256), "--bytes"),
    ],
)
def test_binary_files_are_refused_but_can_be_learned_as_bytes(tmp_path, data, says):
    path = tmp_path / "x.bin"
    path.write_bytes(data)
    assert says in refusal(read_text, str(path))
    assert "a pattern such as '**/*.txt'" in refusal(read_text, str(tmp_path))  # there it was not named
    assert list(map(ord, str(read_text(str(path), config=TextConfig(bytes=True))))) == list(data)

"""The corpus: its sources, strings that are read as files, documents that stay whole, an exact split."""

import hashlib
import io
import os
import sys
from fractions import Fraction
from itertools import chain
from threading import Thread

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.config import STDIN, TextConfig
from charrnn.data import reading
from charrnn.data.corpus import Corpus, InputSize, Source, split_characters
from charrnn.data.text import Text
from charrnn.errors import CorpusError

from ._material import NAMES, documents, refusal


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"bytes": True},
        {"lowercase": True},
        {"normalize": "NFKC"},
        {"split_documents": "lines"},
        {"split_documents": "lines", "bytes": True, "val_documents": 2},
        {"separator": r"\n", "shuffle_documents": True, "test_documents": 1},
    ],
    ids=str,
)
def test_a_string_is_read_as_a_file_with_its_text(tmp_path, settings):
    text, fractions = "Éins\nﬁn é\nzwei\nDrei\nvier\nfünf", {"val_fraction": 0.25, "test_fraction": 0.2}
    (tmp_path / "text.txt").write_bytes(text.encode())
    config = TextConfig(**settings, **fractions)
    ours = Corpus.from_text(text, **fractions).read_as(config, 3)
    theirs = Corpus.read(str(tmp_path / "text.txt"), config, seed=3)
    for name in ("train", "val", "test"):
        assert str(getattr(ours, name)) == str(getattr(theirs, name))
    assert ours.source == Source(None, theirs.source.sha256)
    assert ours.settings == theirs.settings
    assert ours.merge_settings({}) == theirs.settings


def test_a_string_keeps_its_fractions_and_can_be_read_in_several_ways():
    corpus = Corpus.from_text("Éa" * 10, 0.5, 0.1)
    lower, as_bytes = (corpus.read_as(TextConfig(**{way: True}), None) for way in ("lowercase", "bytes"))
    assert (str(lower.train), str(lower.val), str(lower.test)) == ("éa" * 4, "éa" * 5, "éa")
    assert (len(as_bytes.train), len(as_bytes.val), len(as_bytes.test)) == (12, 15, 3)
    assert (lower.settings["val_fraction"], lower.settings["test_fraction"]) == (0.5, 0.1)
    assert str(corpus.train) == "Éa" * 4


def test_a_corpus_that_was_read_is_returned_unchanged(tmp_path):
    (tmp_path / "text.txt").write_text("ABC")
    read, config = Corpus.read(str(tmp_path / "text.txt")), TextConfig(lowercase=True)
    for corpus in (read, Corpus.from_text(Text.of("ABC")), Corpus.from_text("ABC").read_as(TextConfig(), None)):
        assert corpus.read_as(config, None) is corpus


def test_a_string_without_any_document_is_empty():
    with pytest.raises(CorpusError, match=r"^the text is empty: "):
        Corpus.from_text("\n\n").read_as(TextConfig(split_documents="lines"), None)


def test_standard_input_is_read_as_bytes(monkeypatch):
    class Input:
        buffer = io.BytesIO(b"\xef\xbb\xbfa\r\nb")

    monkeypatch.setattr(sys, "stdin", Input)
    corpus = Corpus.read(STDIN, TextConfig(val_fraction=0.0))
    assert str(corpus.train) == "a\r\nb"
    assert corpus.source.path == STDIN
    assert corpus.name == "stdin"


@pytest.mark.parametrize(
    ("text", "words"),
    [("a", "has one character"), ("🚣", "has one character"), ("aaaa", "repeats the one character 'a'")],
)
def test_a_text_with_nothing_to_learn_is_refused(tmp_path, text, words):
    path = tmp_path / "dull.txt"
    path.write_bytes(text.encode())
    message = refusal(Corpus.read, str(path))
    assert message.startswith(str(path))
    assert words in message


def test_two_characters_are_a_corpus(tmp_path):
    path = tmp_path / "short.txt"
    path.write_bytes(b"ab")
    assert str(Corpus.read(str(path), TextConfig(val_fraction=0.0)).train) == "ab"


def test_a_validation_file_leaves_the_corpus_whole(tmp_path):
    train, val = tmp_path / "train.txt", tmp_path / "val.txt"
    train.write_bytes(b"abcdefghij")
    val.write_bytes(b"zz")
    corpus = Corpus.read(str(train), TextConfig(val_fraction=0.5), str(val))
    assert (str(corpus.train), str(corpus.val)) == ("abcdefghij", "zz")
    assert corpus.val_source.path == str(val)
    assert corpus.val_source.sha256 == hashlib.sha256(b"zz").hexdigest()
    assert corpus.source.path == str(train)


@pytest.mark.parametrize("words", ["does not exist", "is empty"])
def test_a_validation_file_that_cannot_be_read_is_refused(tmp_path, words):
    train, val = tmp_path / "train.txt", tmp_path / "val.txt"
    train.write_bytes(b"abcdefghij")
    if words == "is empty":
        val.write_bytes(b"")
    assert f"{val} {words}" in refusal(Corpus.read, str(train), None, str(val))


fractions = st.integers(0, 900).map(lambda thousandth: thousandth / 1000) | st.floats(0, 0.9)


@given(st.integers(0, 3000), fractions)
@example(10, 0.1)  # 10 * (1 - 0.1) is 9.0, but 30 * (1 - 0.9) is 2.9999999999999996
@example(30, 0.9)
@example(100, 0.29)
def test_the_training_split_has_exactly_the_floor_of_its_share(n, fraction):
    text = "".join(chr(0x100 + place) for place in range(n))
    train, val, test = map(str, split_characters(Text.of(text), fraction))
    assert test == ""
    exact = n * (1 - Fraction(repr(fraction)))
    assert len(train) == exact.numerator // exact.denominator
    assert train + val == text


def test_no_fraction_leaves_nothing_for_validation():
    for nothing in (0, 0.0):
        assert [str(part) for part in split_characters(Text.of("abc"), nothing)] == ["abc", "", ""]


@pytest.mark.parametrize(("n", "parts"), [(1000, (900, 50, 50)), (101, (90, 5, 6)), (20, (18, 1, 1)), (3, (2, 0, 1))])
def test_the_test_split_follows_the_validation_split(tmp_path, n, parts):
    text = "".join(chr(0x4E00 + at) for at in range(n))
    train, val, test = map(str, split_characters(Text.of(text), 0.05, 0.05))
    assert train + val + test == text
    assert (len(train), len(val), len(test)) == parts


def test_a_validation_file_leaves_the_test_split_to_the_corpus(tmp_path):
    corpus, val = tmp_path / "corpus.txt", tmp_path / "val.txt"
    corpus.write_text("abcdefghij")
    val.write_text("jihg")
    read = Corpus.read(str(corpus), TextConfig(test_fraction=0.2), str(val))
    assert (str(read.train), str(read.val), str(read.test)) == ("abcdefgh", "jihg", "ij")
    read = Corpus.read(str(corpus), TextConfig(test_fraction=0.2))
    assert (str(read.train), str(read.val), str(read.test)) == ("abcdefg", "h", "ij")


# Several files, and documents


def test_several_files_are_one_text_in_their_order(names):
    first, second = (names / name for name in ("a.txt", "b.txt"))
    corpus = Corpus.read([str(second), str(first)])
    assert str(corpus.train) + str(corpus.val) == (second.read_bytes() + first.read_bytes()).decode()
    assert corpus.source.paths == (str(second), str(first))
    assert (corpus.name, corpus.input_size.files, corpus.input_size.bytes) == ("b", 2, 51)
    assert Corpus.read(str(names)).source.sha256 != corpus.source.sha256
    assert "no file to read" in refusal(Corpus.read, [])


def test_a_corpus_is_named_by_its_file_or_folder(names, monkeypatch):
    (names / "v1.2").mkdir()
    monkeypatch.chdir(names / "v1.2")
    paths = ["../a.txt", "../*.txt", "**/*.txt", ".", "..", str(names / "v1.2"), "../a.txt.gz", "gone.txt", "/", "-"]
    expected = ["a", names.name, "v1.2", "v1.2", names.name, "v1.2", "a", "gone", "text", "stdin"]
    assert [Corpus.name_of(path) for path in paths] == expected


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({}, (9, 1, 0)),
        ({"val_fraction": 0.0}, (10, 0, 0)),
        ({"val_fraction": 0.25, "test_fraction": 0.1}, (6, 3, 1)),
        ({"val_documents": 3}, (7, 3, 0)),
        ({"val_documents": 0, "test_documents": 2}, (8, 0, 2)),
        ({"val_documents": 4, "test_documents": 5}, (1, 4, 5)),
        ({"test_documents": 5}, (4, 1, 5)),
        ({"val_fraction": 0.25, "test_documents": 2}, (5, 3, 2)),
        ({"val_documents": 3, "test_fraction": 0.2}, (5, 3, 2)),
        ({"val_fraction": 0.9}, (1, 9, 0)),
    ],
)
@pytest.mark.parametrize("shuffled", [False, True])
def test_documents_are_held_back_whole(names, settings, parts, shuffled):
    settings = settings | {"split_documents": "lines", "shuffle_documents": shuffled}
    corpus = Corpus.read(str(names), TextConfig(**settings), seed=3)
    found = [documents(part) for part in (corpus.train, corpus.val, corpus.test)]
    assert tuple(map(len, found)) == parts
    whole = list(chain(*found))
    assert sorted(whole) == NAMES
    assert (whole == NAMES) is not shuffled
    for part, size in zip((corpus.train, corpus.val, corpus.test), parts, strict=True):
        assert len(part) == sum(map(len, documents(part))) + (size + 1 if size else 0)


def test_a_shuffle_is_a_matter_of_the_seed(names, monkeypatch):
    def order(seed):
        settings = TextConfig(split_documents="lines", shuffle_documents=True, val_fraction=0.0)
        return documents(Corpus.read(str(names), settings, seed=seed).train)

    orders = [order(seed) for seed in (1, 2, 1)]
    assert orders[0] == orders[2] != orders[1]
    monkeypatch.setattr(reading, "CHUNK", 7)
    assert order(1) == orders[0]


def test_holding_all_documents_back_is_refused(names):
    settings = TextConfig(split_documents="lines", val_documents=6, test_documents=4)
    assert "of 10 documents none are left to train on" in refusal(Corpus.read, str(names), settings)


def test_a_validation_file_is_split_into_documents_too(names):
    settings = TextConfig(split_documents="lines", val_fraction=0.5)
    corpus = Corpus.read(str(names / "b.txt"), settings, str(names / "a.txt"))
    assert (documents(corpus.train), documents(corpus.val)) == (NAMES[4:], NAMES[:4])


@pytest.mark.parametrize(
    ("settings", "wants"),
    [
        ({}, True),
        ({"val_fraction": 0.0}, False),
        ({"split_documents": "lines", "val_documents": 0}, False),
        ({"split_documents": "lines", "val_documents": 1}, True),
    ],
)
def test_whether_a_corpus_wants_validation(tmp_path, settings, wants):
    path = tmp_path / "text.txt"
    path.write_text("one\ntwo\nthree\n")
    assert Corpus.read(str(path), TextConfig(**settings)).wants_validation is wants
    assert Corpus.read(str(path), TextConfig(**settings), str(path)).wants_validation


# Texts that can be read only once, and notes


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_a_text_from_a_pipe_is_remembered_as_one_from_standard_input(tmp_path):
    for name in ("text", "val"):
        os.mkfifo(tmp_path / name)
    texts = {"text": "abc" * 10, "val": "cba" * 5}
    threads = [Thread(target=(tmp_path / name).write_text, args=(text,)) for name, text in texts.items()]
    for thread in threads:
        thread.start()
    corpus = Corpus.read(str(tmp_path / "text"), val_path=str(tmp_path / "val"))
    for thread in threads:
        thread.join()
    assert (str(corpus.train), str(corpus.val)) == tuple(texts.values())
    assert corpus.val_source is not None
    assert (corpus.source.paths, corpus.val_source.path, corpus.name) == (("-",), "-", "stdin")
    assert Corpus.name_of(str(tmp_path / "text")) == "stdin"
    assert corpus.input_size == InputSize(2, 0)


def test_standard_input_cannot_be_both_corpus_and_validation_text():
    with pytest.raises(CorpusError, match="standard input can be read only once"):
        Corpus.read("-", val_path="/dev/stdin")


def test_runs_left_out_of_a_corpus_are_noted_and_change_nothing(tmp_path):
    (tmp_path / "a.txt").write_text("abc" * 10)
    before = Corpus.read(str(tmp_path))
    (tmp_path / "runs" / "one").mkdir(parents=True)
    (tmp_path / "runs" / "one" / "best.npz").write_bytes(b"PK\3\4")
    after = Corpus.read(str(tmp_path), learned=(before.source, None))
    assert (after.source, after.input_size) == (before.source, before.input_size)
    assert (before.notes, after.notes) == ([], [f"left out 1 run: {tmp_path / 'runs' / 'one'}"])


@pytest.mark.parametrize(
    ("separator", "hint"),
    [
        ("%%", ""),
        ("lines", "; did you mean --split-documents lines?"),
        (r"\textbf", r"; \n, \t and \uXXXX in a separator are escapes, and \\ is a backslash"),
    ],
)
def test_a_separator_that_is_nowhere_is_noted(tmp_path, separator, hint):
    path = tmp_path / "a.txt"
    path.write_text(r"one % \textbf{two} % three")
    assert Corpus.read(str(path), TextConfig(separator="%")).notes == []
    (told,) = Corpus.read(str(path), TextConfig(separator=separator)).notes
    assert told == f"--separator {separator} splits {path} nowhere: it is one document{hint}"


def test_control_characters_of_latin_1_are_noted(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("“Käse”, he said.".encode("cp1252"))
    (told,) = Corpus.read(str(path), TextConfig(encoding="Latin-1")).notes
    assert told.startswith("--encoding Latin-1 reads byte 0x93 as a control character; in cp1252 it is “")
    assert Corpus.read(str(path), TextConfig(encoding="cp1252")).notes == []
    path.write_bytes("Käse, he said.".encode("latin-1"))
    assert Corpus.read(str(path), TextConfig(encoding="Latin-1")).notes == []

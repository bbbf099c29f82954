"""The corpus: characters that arrive untouched, documents that stay whole, refusals in one line, an exact split."""

import gzip
import hashlib
import io
import sys
from fractions import Fraction
from functools import partial
from itertools import chain

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.config import TextConfig
from charrnn.data import corpus as corpus_module
from charrnn.data import text as text_module
from charrnn.data.corpus import STDIN, Corpus, Source, read_text, split, text_of
from charrnn.data.files import describe
from charrnn.data.text import END, Text
from charrnn.errors import CorpusError


def refusal(call, *args):
    """Return the one line with which the call refuses."""
    with pytest.raises(CorpusError) as caught:
        call(*args)
    message = str(caught.value)
    assert "\n" not in message
    return message


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


def test_a_corpus_knows_its_source_by_path_and_bytes(tmp_path):
    path = tmp_path / "a corpus.of ours.txt"
    path.write_bytes("é\r\n水".encode() * 10)
    corpus = Corpus.read(str(path))
    assert str(corpus.train) + str(corpus.val) == "é\r\n水" * 10
    assert corpus.source.path == str(path)
    assert corpus.source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert corpus.val_source is None
    assert corpus.name == "a corpus.of ours"


def test_a_text_at_hand_is_a_corpus_without_a_path():
    corpus = Corpus.from_text("0123456789" * 3, 0.2)
    assert (str(corpus.train), str(corpus.val)) == ("0123456789" * 2 + "0123", "456789")
    assert corpus.source.path is None
    assert corpus.source.sha256 == hashlib.sha256(b"0123456789" * 3).hexdigest()
    assert corpus.name == "text"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"bytes": True},
        {"lowercase": True},
        {"normalize": "NFKC"},
        {"split_documents": "lines"},
        {"split_documents": "lines", "bytes": True, "val_documents": 2},
        {"split_documents": r"\n", "shuffle_documents": True, "test_documents": 1},
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
    assert ours.agreed({}) == theirs.settings


def test_a_string_keeps_its_fractions_and_can_be_read_in_several_ways():
    corpus = Corpus.from_text("Éa" * 10, 0.5, 0.1)
    lower, as_bytes = (corpus.read_as(TextConfig(**{way: True}), None) for way in ("lowercase", "bytes"))
    assert (str(lower.train), str(lower.val), str(lower.test)) == ("éa" * 4, "éa" * 5, "éa")
    assert (len(as_bytes.train), len(as_bytes.val), len(as_bytes.test)) == (12, 15, 3)
    assert (lower.settings["val_fraction"], lower.settings["test_fraction"]) == (0.5, 0.1)
    assert str(corpus.train) == "Éa" * 4


def test_what_is_read_is_not_read_again(tmp_path):
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


@pytest.mark.parametrize(("path", "remedy"), [(STDIN, "write it to a file"), ("a.txt", "give a shorter one")])
def test_a_text_that_memory_cannot_hold_is_refused(tmp_path, monkeypatch, path, remedy):
    def full(pieces):
        raise MemoryError

    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("abc")
    monkeypatch.setattr(Text, "gather", full)
    assert refusal(read_text, path).startswith(f"not enough memory for the text of {describe(path)}: {remedy}")


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
    assert "iconv" in message


@pytest.mark.parametrize(
    ("data", "encoding", "says"),
    [
        ("Prosa".encode("utf-16"), "utf-8", "it begins as UTF-16 does: train with --encoding utf-16"),
        ("Prosa".encode("utf-32"), "ascii", "it begins as UTF-32 does: train with --encoding utf-32"),
        ("Prosa".encode("utf-16")[:-1], "utf-16", "convert it"),  # cut short: it has that encoding already
        ("Prosa".encode("utf-16")[:-1], "utf-16-le", "convert it"),
        (b"Prosa " * 20_000 + "Prosa".encode("utf-16"), "utf-8", "convert it"),  # later on, a mark is none
    ],
)
def test_a_text_that_begins_as_another_encoding_does_is_said_to(tmp_path, data, encoding, says):
    path = tmp_path / "text.txt"
    path.write_bytes(data)
    assert f"; {says}" in refusal(partial(read_text, config=TextConfig(encoding=encoding)), str(path))


def test_what_cannot_be_read_is_refused(tmp_path):
    missing, empty = tmp_path / "missing.txt", tmp_path / "empty.txt"
    empty.write_bytes(b"")
    assert f"{missing} does not exist" in refusal(read_text, str(missing))
    assert f"{empty} is empty" in refusal(read_text, str(empty))
    assert "cannot read" in refusal(read_text, str(empty / "below a file"))
    assert "cannot read" in refusal(read_text, "a path with \x00")


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
def test_the_training_part_has_exactly_the_floor_of_its_share(n, fraction):
    text = "".join(chr(0x100 + place) for place in range(n))
    train, val, test = map(str, split(Text.of(text), fraction))
    assert test == ""
    exact = n * (1 - Fraction(repr(fraction)))
    assert len(train) == exact.numerator // exact.denominator
    assert train + val == text


def test_no_fraction_leaves_nothing_for_validation():
    for nothing in (0, 0.0):
        assert [str(part) for part in split(Text.of("abc"), nothing)] == ["abc", "", ""]


@pytest.mark.parametrize(("n", "parts"), [(1000, (900, 50, 50)), (101, (90, 5, 6)), (20, (18, 1, 1)), (3, (2, 0, 1))])
def test_a_test_part_stands_behind_the_validation_part(tmp_path, n, parts):
    text = "".join(chr(0x4E00 + at) for at in range(n))
    train, val, test = map(str, split(Text.of(text), 0.05, 0.05))
    assert train + val + test == text
    assert (len(train), len(val), len(test)) == parts


def test_a_validation_file_leaves_the_test_part_to_the_corpus(tmp_path):
    corpus, val = tmp_path / "corpus.txt", tmp_path / "val.txt"
    corpus.write_text("abcdefghij")
    val.write_text("jihg")
    read = Corpus.read(str(corpus), TextConfig(test_fraction=0.2), str(val))
    assert (str(read.train), str(read.val), str(read.test)) == ("abcdefgh", "jihg", "ij")
    read = Corpus.read(str(corpus), TextConfig(test_fraction=0.2))
    assert (str(read.train), str(read.val), str(read.test)) == ("abcdefg", "h", "ij")


# Several files, and documents


def documents(text):
    """Return the documents of a text."""
    return str(text).split(END)[1:-1]


@pytest.fixture
def names(tmp_path):
    """Write ten names, a line each, into two files; return their folder."""
    (tmp_path / "a.txt").write_bytes(b"anna\nbert\r\ncleo\n\ndora\n")
    (tmp_path / "b.txt").write_bytes(b"emil\nfranz\ngerda\nhans\nida\njan")
    return tmp_path


NAMES = ["anna", "bert", "cleo", "dora", "emil", "franz", "gerda", "hans", "ida", "jan"]


def test_several_files_are_one_text_in_their_order(names):
    first, second = (names / name for name in ("a.txt", "b.txt"))
    corpus = Corpus.read([str(second), str(first)])
    assert str(corpus.train) + str(corpus.val) == (second.read_bytes() + first.read_bytes()).decode()
    assert corpus.source.paths == (str(second), str(first))
    assert (corpus.name, corpus.found.files, corpus.found.bytes) == ("b", 2, 51)
    assert Corpus.read(str(names)).source.sha256 != corpus.source.sha256
    assert "no file to read" in refusal(Corpus.read, [])


def test_a_corpus_is_named_by_its_file_or_folder(names, monkeypatch):
    (names / "v1.2").mkdir()
    monkeypatch.chdir(names / "v1.2")
    paths = ["../a.txt", "../*.txt", "**/*.txt", ".", "..", str(names / "v1.2"), "../a.txt.gz", "gone.txt", "/", "-"]
    expected = ["a", names.name, "v1.2", "v1.2", names.name, "v1.2", "a", "gone", "text", "stdin"]
    assert [Corpus.name_of(path) for path in paths] == expected


def test_packed_texts_are_those_that_were_packed(names):
    whole = (names / "a.txt").read_bytes()
    (names / "a.txt.gz").write_bytes(gzip.compress(whole))
    assert str(read_text(str(names / "a.txt.gz"))).encode() == whole


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
    by_separator = read_text(str(names), config=TextConfig(split_documents=r"\nf"))
    assert documents(by_separator)[1:] == ["emil", "ranz\ngerda\nhans\nida\njan"]


def test_records_are_documents(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one\\n"}\n{"text": "two"}\n')
    (tmp_path / "b.csv").write_text("id,text\n1,three\n")
    assert documents(read_text(str(tmp_path), config=TextConfig(field="text"))) == ["one\n", "two", "three"]


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
    monkeypatch.setattr(corpus_module, "CHUNK", 7)
    assert order(1) == orders[0]


def test_long_documents_are_shuffled_in_pieces(monkeypatch):
    whole = Text.of(END + END.join(["a" * 50, "b", "c" * 20, "d", "e" * 7]) + END)
    monkeypatch.setattr(corpus_module, "CHUNK", 8)
    monkeypatch.setattr(text_module, "CHUNK", 8)
    for seed in range(5):
        pieces = list(corpus_module._shuffled(whole, seed))
        assert max(map(len, pieces)) <= 8
        assert sorted(documents("".join(pieces))) == sorted(documents(whole))


def test_holding_all_documents_back_is_refused(names):
    settings = TextConfig(split_documents="lines", val_documents=6, test_documents=4)
    assert "of 10 documents none are left to train on" in refusal(Corpus.read, str(names), settings)


def test_a_validation_file_is_parted_too(names):
    settings = TextConfig(split_documents="lines", val_fraction=0.5)
    corpus = Corpus.read(str(names / "b.txt"), settings, str(names / "a.txt"))
    assert (documents(corpus.train), documents(corpus.val)) == (NAMES[4:], NAMES[:4])


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


@pytest.mark.parametrize("data", [b"a\0b", b"\x89PNG\r\n\x1a\n\0"])
def test_what_is_no_text_is_refused_but_can_be_learned_as_bytes(tmp_path, data):
    path = tmp_path / "x.bin"
    path.write_bytes(data)
    assert "--bytes" in refusal(read_text, str(path))
    assert list(map(ord, str(read_text(str(path), config=TextConfig(bytes=True))))) == list(data)

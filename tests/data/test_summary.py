"""The summary of a corpus, counted by hand."""

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config import TextConfig
from charrnn.data import summary
from charrnn.data import text as text_module
from charrnn.data.corpus import Corpus
from charrnn.data.summary import repeated_share, summarize
from charrnn.data.text import END, Text
from charrnn.data.vocab import Vocab


def summarized(*paths, val_path=None, **settings):
    corpus = Corpus.read([str(path) for path in paths], TextConfig(**settings), val_path)
    return summarize(corpus, Vocab.from_text(corpus.train.symbols, corpus.val.symbols).counted(corpus.train))


def test_running_text(tmp_path):
    (tmp_path / "a.txt").write_text("one é\n" * 10 + "two\n")
    (tmp_path / "b.txt").write_text("one é\nnew\n")
    found = summarized(tmp_path, val_fraction=0.1)  # the last 8 characters: "ne é", "new"
    assert (found.files, found.bytes, found.chars, found.symbols) == (2, 85, 74, 8)
    assert found.documents is None
    assert found.rarest == [("t", 1), ("w", 1), (" ", 10), ("e", 10), ("é", 10), ("\n", 11), ("n", 11), ("o", 12)]
    assert found.repeated == 0
    assert (found.unknown, found.unknown_share) == (0, 0)


def test_unknown_characters_are_counted():
    corpus = Corpus.from_text("ab" * 8 + "cccd", 0.05)  # the last one is validated
    found = summarize(corpus, Vocab("ab", specials=("unknown",)).counted(corpus.train))
    assert (found.symbols, found.unknown, found.unknown_share) == (4, 2, 3 / 19)


def test_files_and_bytes_are_those_of_all_splits(tmp_path, monkeypatch):
    text, val = tmp_path / "text.txt", tmp_path / "val.txt"
    text.write_text("abc" * 10)
    val.write_text("cba")
    found = summarized(text, val_path=str(val))
    assert (found.files, found.bytes, found.chars) == (2, 33, 33)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"cab")))
    found = summarized(text, "-")
    assert (found.files, found.bytes, found.chars) == (2, 0, 33)


def test_documents(tmp_path):
    (tmp_path / "a.txt").write_text("anna\nbert\nanna\n\nbert\ncleo\n")
    found = summarized(tmp_path / "a.txt", split_documents="lines", val_documents=2)
    assert (found.files, found.chars, found.symbols, found.documents) == (1, 20, 9, 5)
    assert found.rarest == [("b", 1), ("e", 1), ("r", 1), ("t", 1), ("a", 4), ("n", 4)]
    assert found.repeated == 0.5


words = st.lists(st.text("ab", max_size=3), max_size=8)


@given(words, words, st.sampled_from(["\n", END]), st.integers(1, 4))
def test_the_share_that_is_repeated_is_that_of_characters(train, val, mark, chunk):
    train, val = [[mark, mark.join(lines), mark] for lines in (train, val)]
    expected = [line for line in "".join(val).split(mark) if line]
    both = [line for line in expected if line in "".join(train).split(mark)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_module, "CHUNK", chunk)
        found = repeated_share(Text.of("".join(train)), Text.of("".join(val)))
    assert found == (len("".join(both)) / len("".join(expected)) if expected else None)


def test_only_so_much_is_compared(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("one\n" * 10 + "two\n" * 80 + "one\n" * 10)
    assert summarized(tmp_path / "a.txt", val_fraction=0.2).repeated == 1
    monkeypatch.setattr(summary, "COMPARED_TRAIN", 100)
    assert summarized(tmp_path / "a.txt", val_fraction=0.2).repeated == 0.5
    monkeypatch.setattr(summary, "COMPARED_VAL", 20)
    assert summarized(tmp_path / "a.txt", val_fraction=0.2).repeated == 1


@pytest.mark.parametrize("chunk", [1, 2, 1000])
@pytest.mark.parametrize(
    ("text", "crlf", "cr"),
    [
        ("a\nb\n", False, False),
        ("a\r\nb\r\n", True, False),
        ("a\rb\r", False, True),
        ("a\r\nb\rc", True, True),
        ("a\r\r\nb", True, True),
    ],
)
def test_line_ends_with_carriage_returns_are_told_apart(monkeypatch, chunk, text, crlf, cr):
    monkeypatch.setattr(text_module, "CHUNK", chunk)
    corpus = Corpus.from_text(text, 0.0)
    found = summarize(corpus, Vocab.from_text(corpus.train.symbols).counted(corpus.train))
    assert (found.crlf, found.cr) == (crlf, cr)


def test_a_split_between_the_characters_of_a_line_end_makes_no_lone_return():
    corpus = Corpus.from_text("ab\r\nab\r\n", 0.1)  # the last character is validated
    found = summarize(corpus, Vocab.from_text("ab\r\n").counted(corpus.train))
    assert (found.crlf, found.cr) == (True, False)


def test_lines_that_end_with_carriage_returns_are_compared():
    assert repeated_share(Text.of("one\rtwo\r"), Text.of("two\rsix\n")) == 0.5

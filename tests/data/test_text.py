"""A text as ids: encoded in one pass whatever the pieces, counted, sliced, and translated to other ids."""

import hashlib
import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.arrays import smallest_type
from charrnn.data import text as text_module
from charrnn.data.text import END, Alphabet, Encoder, Text
from charrnn.data.vocab import Vocab
from charrnn.errors import VocabError

#: More kinds than a byte holds, with what breaks: NUL, line ends, a mark, characters beyond the basic plane.
chars = st.one_of(
    st.sampled_from("\0\n\r\ta\x7fé\ufeff水\U0001f600\U0010ffff"), st.characters(exclude_categories=["Cs"])
)
texts = st.text(chars)
pieces = st.lists(texts, max_size=6)


@pytest.fixture(scope="module", autouse=True)
def small():
    """Process texts in pieces of 8 characters and blocks of 4."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_module, "CHUNK", 8)
        patch.setattr(text_module, "_BLOCK", 4)
        yield


@given(pieces)
def test_pieces_are_encoded_as_the_whole_text(parts):
    whole = "".join(parts)
    text = Text.gather(parts)
    assert str(text) == whole
    assert len(text) == len(whole)
    assert sorted(text.symbols) == sorted(set(whole))
    assert text.ids.dtype == smallest_type(len(set(whole)))
    assert text.sha256 == hashlib.sha256(whole.encode()).hexdigest()


@given(pieces.filter(any), texts)
def test_the_ids_in_a_vocabulary_are_those_of_encode(parts, more):
    whole = "".join(parts)
    for vocab in (Vocab.from_text(whole), Vocab.from_text(whole, more)):
        ids = vocab.ids_of(Text.gather(parts))
        places = np.arange(len(whole))
        assert len(ids) == len(whole)
        assert ids[places].tolist() == vocab.encode(whole).tolist()
        assert np.array_equal(ids[places[::-1].reshape(1, -1)], vocab.encode(whole)[::-1].reshape(1, -1))


@given(texts, texts.filter(bool), st.randoms(use_true_random=False))
def test_unknown_characters_are_skipped_as_encode_does(whole, known, random):
    vocab = Vocab.from_text(known)
    kept = vocab.encode(whole, "skip")
    ids = vocab.ids_of(Text.of(whole), "skip")
    assert len(ids) == len(kept)
    places = np.array([random.randrange(len(kept)) for _ in range(12)] if len(kept) else [], np.intp)
    assert ids[np.arange(len(kept))].tolist() == kept.tolist()
    assert ids[places.reshape(-1, 3)].tolist() == kept[places.reshape(-1, 3)].tolist()


@given(texts, texts.filter(bool))
def test_unknown_characters_are_refused_as_encode_does(whole, known):
    vocab = Vocab.from_text(known)
    if set(whole) <= set(known):
        assert vocab.ids_of(Text.of(whole))[np.arange(len(whole))].tolist() == vocab.encode(whole).tolist()
        return
    with pytest.raises(VocabError) as ours:
        vocab.ids_of(Text.of(whole))
    with pytest.raises(VocabError) as theirs:
        vocab.encode(whole)
    assert str(ours.value) == str(theirs.value)


def test_unknown_characters_are_named_with_their_positions_in_the_whole_text():
    with pytest.raises(VocabError, match=r"^3 of 31 .*: 'x' \(U\+0078\) at position 20, 'y' .* at position 30; "):
        Vocab("ab").ids_of(Text.of("ab" * 10 + "xx" + "b" * 8 + "y"))


def test_a_slice_may_lack_symbols_of_the_text():
    text = Text.of("abab" + "z" * 20)[:4]
    assert Vocab("ab").ids_of(text)[np.arange(4)].tolist() == [0, 1, 0, 1]
    assert Vocab("ab").counted(text).counts == (2, 2)


def test_where_nothing_changes_the_ids_are_the_texts_own():
    text = Text.of("ba\nab")
    assert Vocab("\nab").ids_of(text) is text.ids
    assert Vocab("\nabc").ids_of(text) is text.ids
    assert Vocab("\n ab").ids_of(text) is not text.ids


@given(texts, st.integers(0, 30), st.integers(0, 30))
def test_a_slice_has_the_text_of_that_slice(whole, begin, end):
    part = Text.of(whole)[begin:end]
    assert str(part) == whole[begin:end]
    assert part.sha256 == hashlib.sha256(whole[begin:end].encode()).hexdigest()


def test_a_slice_copies_nothing():
    text = Text.of("abcabc" * 5)
    assert np.shares_memory(text[3:9].ids, text.ids)


@given(st.text("ab\n\r\U0001f600", max_size=40), st.integers(0, 20))
@example("seven..\nnext line in the next piece", 0)
def test_counts_and_starts(whole, at):
    text = Text.of(whole)[at:]
    part = whole[at:]
    begins = [part[match.end()] for match in re.finditer(r"^|\n|\r(?!\n)", part) if match.end() < len(part)]
    assert text.counts().tolist() == [part.count(char) for char in text.symbols]
    assert text.starts().tolist() == [begins.count(char) for char in text.symbols]


@pytest.mark.parametrize(
    ("kinds", "dtype"), [(0, np.uint8), (256, np.uint8), (257, np.uint16), (65_536, np.uint16), (65_537, np.uint32)]
)
def test_ids_have_the_smallest_type(kinds, dtype, monkeypatch):
    monkeypatch.setattr(text_module, "CHUNK", 10_000)
    whole = "".join(chr(point) for point in range(70_000) if not 0xD800 <= point < 0xE000)[:kinds]
    text = Text.of(whole[::-1])
    assert text.ids.dtype == dtype
    assert str(text) == whole[::-1]


def test_types_grow_with_the_symbols_piece_by_piece():
    encoder = Encoder()
    types = [encoder.encode("".join(map(chr, range(97, 97 + count)))).dtype for count in (255, 256, 257, 2)]
    assert types == [np.uint8, np.uint8, np.uint16, np.uint16]
    assert encoder.chars == 255 + 256 + 257 + 2


@pytest.mark.parametrize("symbols", ["", "a", "\x7f", "\x80", "zya", "é\0", "".join(map(chr, range(300)))])
def test_an_alphabet_knows_its_symbols_and_no_others(symbols):
    alphabet = Alphabet(symbols)
    assert alphabet.encode(symbols).tolist() == list(range(len(symbols)))
    for stranger in ("~", "\x81", "\u0500", "\U0010ffff", "\udc80"):
        assert alphabet.encode("~" + stranger).tolist() == [
            symbols.index(char) if char in symbols else alphabet.absent for char in "~" + stranger
        ]


def test_lone_surrogates_pass_through():
    whole = "a\ud800b\udfff"
    assert str(Text.of(whole)) == whole
    assert Text.of(whole).sha256 == hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()


def test_ids_may_be_changed_by_whoever_asked_for_them():
    for symbols in ("ab", "aé"):
        Vocab.from_text(symbols).encode(symbols)[...] = 0


@given(st.lists(texts, min_size=1, max_size=6))
def test_documents_are_counted_and_their_marks_found(documents):
    text = Text.of(END + END.join(documents) + END)
    assert text.documents == len(documents)
    assert [text.mark(number) for number in range(len(documents) + 1)] == text.marks().tolist()
    with pytest.raises(IndexError):
        text.mark(len(documents) + 1)
    assert text[1:].documents == len(documents) - 1
    assert Text.of("").documents == text[:0].documents == 0

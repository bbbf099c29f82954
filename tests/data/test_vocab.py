"""The vocabulary: any text to ids and back, and what it refuses."""

import json
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.data.text import END, Text
from charrnn.data.vocab import SPECIALS, Vocab
from charrnn.errors import VocabError

#: Any text that a file can hold, rich in what breaks: NUL, line ends, characters beyond the basic plane.
texts = st.text(
    st.one_of(st.sampled_from("\0\n\r\taé\u2028\ufeff\U0001f600\U0010ffff"), st.characters(exclude_categories=["Cs"]))
)
some_text = texts.filter(bool)


@given(some_text)
def test_decoding_gives_back_what_was_encoded(text):
    vocab = Vocab.from_text(text)
    ids = vocab.encode(text)
    assert ids.shape == (len(text),)
    assert vocab.decode(ids) == text
    assert vocab.decode(ids.tolist()) == text
    assert vocab.decode(int(at) for at in ids) == text


@given(some_text)
def test_ids_follow_the_code_points(text):
    vocab = Vocab.from_text(text)
    assert list(vocab.symbols) == sorted(set(text))
    assert vocab.size == len(set(text))
    assert vocab.encode(vocab.symbols).tolist() == list(range(vocab.size))
    assert vocab.encode(text).tolist() == [vocab.symbols.index(char) for char in text]


@given(some_text, texts)
def test_a_vocabulary_of_several_texts_is_that_of_all_together(one, other):
    assert Vocab.from_text(one, other) == Vocab.from_text(other + one)


def test_the_empty_text_has_no_ids():
    vocab = Vocab("ab")
    assert vocab.encode("").shape == (0,)
    assert vocab.encode("").dtype == np.uint8
    assert vocab.decode([]) == ""
    assert vocab.decode(vocab.encode("")) == ""


@pytest.mark.parametrize(
    "text", ["\0", "a\0b\0\0", "\r\n\n\r", "\U0001f600\U0010ffff", "\ufeffa", "é e\u0301", "\ud7ff\ue000\uffff"]
)
def test_awkward_texts_come_back(text):
    vocab = Vocab.from_text(text)
    assert vocab.decode(vocab.encode(text)) == text
    assert Vocab.from_dict(json.loads(json.dumps(vocab.to_dict()))).decode(vocab.encode(text)) == text


@pytest.mark.parametrize(
    ("symbols", "specials", "dtype"),
    [
        (1, 0, np.uint8),
        (256, 0, np.uint8),
        (257, 0, np.uint16),
        (256, 1, np.uint16),
        (255, 1, np.uint8),
        (65536, 0, np.uint16),
        (65537, 0, np.uint32),
    ],
)
def test_ids_have_the_smallest_type_that_holds_them_all(symbols, specials, dtype):
    chars = [chr(point) for point in range(70_000) if not 0xD800 <= point < 0xE000][:symbols]
    vocab = Vocab("".join(chars), specials=SPECIALS[:specials])
    assert vocab.size == symbols + specials
    ids = vocab.encode(chars[-1])
    assert ids.dtype == dtype
    assert ids.tolist() == [symbols - 1]


def test_unknown_characters_are_named_with_their_places():
    with pytest.raises(VocabError) as caught:
        Vocab("abc").encode("axb\U0001f600x\0")
    assert str(caught.value) == (
        "4 of 6 characters are not in the model's vocabulary: 'x' (U+0078) at position 1, '\U0001f600' (U+1F600) at "
        "position 3, '\\x00' (U+0000) at position 5; leave them out of the text, or skip them with --unknown skip"
    )


def test_no_more_than_five_unknown_characters_are_named():
    with pytest.raises(VocabError, match=r"^6 of 6 .*'h' \(U\+0068\) at position 4, …; leave them out"):
        Vocab("abc").encode("defghi")
    with pytest.raises(VocabError, match=r"^10 of 10 .*'h' \(U\+0068\) at position 8; leave them out"):
        Vocab("abc").encode("ddeeffgghh")


@given(some_text, texts)
def test_unknown_characters_can_be_skipped(known, text):
    vocab = Vocab.from_text(known)
    ids = vocab.encode(text, unknown="skip")
    assert vocab.decode(ids) == "".join(char for char in text if char in known)
    assert ids.dtype == vocab.encode(known).dtype


def test_lone_surrogates_are_unknown_characters():
    vocab = Vocab.from_text("ab")
    assert vocab.encode("a\ud800b\udfff", unknown="skip").tolist() == [0, 1]
    with pytest.raises(VocabError, match=r"^1 of 2 characters .*: the byte 0xff at position 1;"):
        vocab.encode("a\udcff")


@given(st.lists(st.integers(0, 4), max_size=9), st.sampled_from([np.float32, np.float64]))
def test_one_hot_rows_have_a_one_at_the_id(ids, dtype):
    vocab = Vocab("abc", specials=("end", "unknown"))
    rows = vocab.one_hot(np.array(ids, np.uint8), dtype)
    assert rows.dtype == dtype
    assert rows.tolist() == [[float(column == at) for column in range(5)] for at in ids]


def test_one_hot_rows_keep_the_axes_of_the_ids():
    rows = Vocab("abc").one_hot(np.array([[0, 2], [1, 1]]))
    assert rows.dtype == np.float32
    assert rows.tolist() == [[[1, 0, 0], [0, 0, 1]], [[0, 1, 0], [0, 1, 0]]]


@given(st.text("ab\n\r\U0001f600", min_size=1), st.text("ab\nz", max_size=5))
def test_counts_and_starts_are_those_of_the_training_split(text, more):
    vocab = Vocab.from_text(text, more)
    counted = vocab.counted(text)
    assert counted.symbols == vocab.symbols
    assert counted.counts == tuple(text.count(char) for char in vocab.symbols)
    begins = [text[match.end()] for match in re.finditer(r"^|\n|\r(?!\n)", text) if match.end() < len(text)]
    assert counted.starts == tuple(begins.count(char) for char in vocab.symbols)
    assert {type(number) for number in counted.counts + counted.starts} == {int}


def test_counting_changes_nothing_else():
    counted = Vocab("\nab", specials=("end",)).counted("ab\n\nb")
    assert counted == Vocab("\nab", (2, 1, 2), (1, 1, 1), ("end",))
    assert Vocab("ab").counted("") == Vocab("ab", (0, 0), (0, 0))


@given(some_text, st.booleans(), st.sampled_from([(), ("end",), ("end", "unknown")]))
def test_a_vocabulary_comes_back_from_json(text, count, specials):
    vocab = Vocab("".join(sorted(set(text))), specials=specials)
    vocab = vocab.counted(text) if count else vocab
    for ascii_only in (True, False):
        again = Vocab.from_dict(json.loads(json.dumps(vocab.to_dict(), ensure_ascii=ascii_only)))
        assert again == vocab
        assert hash(again) == hash(vocab)
        assert again.specials == specials


def test_to_dict_holds_these_fields():
    assert Vocab("\nab", (2, 1, 2), (1, 1, 1), ("end",)).to_dict() == {
        "kind": "chars",
        "symbols": "\nab",
        "specials": ["end"],
        "counts": [2, 1, 2],
        "starts": [1, 1, 1],
        "normalize": "none",
        "lowercase": False,
        "reverse": False,
    }


def test_special_symbols_follow_the_characters_and_decode_to_nothing():
    vocab = Vocab("abc", specials=("end", "unknown"))
    assert vocab.size == 5
    assert vocab.decode([0, 3, 1, 4, 4, 2]) == "abc"
    assert vocab.decode([3, 4]) == ""
    assert (vocab.end, vocab.unknown) == (3, 4)
    assert (Vocab("abc").end, Vocab("abc").unknown) == (None, None)
    assert (Vocab("abc", specials=("unknown",)).unknown, Vocab("abc", specials=("end",)).end) == (3, 3)


def test_the_unknown_symbol_replaces_characters_that_the_vocabulary_lacks():
    for specials in (("unknown",), ("end", "unknown")):
        vocab = Vocab("abc", specials=specials)
        for policy in ("error", "skip"):
            assert vocab.encode("aéc水", policy).tolist() == [0, vocab.unknown, 2, vocab.unknown]
            ids = vocab.ids_of(Text.of("aéc水"), policy)
            assert [int(ids[np.array([at])][0]) for at in range(len(ids))] == [0, vocab.unknown, 2, vocab.unknown]
        assert vocab.count_unknown(Text.of("aéc水é")) == 3
        assert vocab.counted("aéca").counts == (2, 0, 1)


def test_marks_between_documents_have_the_id_of_the_end():
    vocab = Vocab.from_text(f"{END}ba{END}", "c")
    assert (vocab.symbols, vocab.specials) == ("abc", ("end",))
    assert vocab.ids_of(Text.of(f"{END}ab{END}"))[np.arange(4)].tolist() == [3, 0, 1, 3]
    assert vocab.counted(f"{END}ab{END}").counts == (1, 1, 0)


def test_no_text_that_is_given_has_marks():
    vocab = Vocab("ab", specials=("end",))
    assert vocab.encode(f"a{END}b", "skip").tolist() == [0, 1]
    with pytest.raises(VocabError, match="1 of 3 characters"):
        vocab.encode(f"a{END}b")


def test_a_vocabulary_normalizes_the_text_that_it_encodes():
    vocab = Vocab("efé", normalize="NFKC", lowercase=True)
    assert vocab.decode(vocab.encode("E\u0301F\ufb00")) == "éfff"
    assert Vocab.from_dict(json.loads(json.dumps(vocab.to_dict()))) == vocab


@given(st.text())
def test_bytes_are_those_of_utf_8(text):
    vocab = Vocab("".join(map(chr, range(256))), kind="bytes")
    assert vocab.encode(text).tolist() == list(text.encode())
    assert vocab.encode(text).dtype == np.uint8
    assert vocab.decode(vocab.encode(text)) == text


def test_bytes_that_are_no_text():
    vocab = Vocab("".join(map(chr, range(256))), kind="bytes", specials=("end",))
    assert vocab.encode("\udcff").tolist() == [255]  # as Python takes such a byte of a command line
    assert vocab.decode([65, 255, 256, 66]) == "A\ufffdB"
    with pytest.raises(VocabError, match="position 1"):
        vocab.encode("a\ud812")


@pytest.mark.parametrize(("ids", "low", "high"), [([0, 3], 0, 3), ([-1], -1, -1), ([1, 2, -4, 99], -4, 99)])
def test_ids_of_no_symbol_are_refused(ids, low, high):
    with pytest.raises(VocabError) as caught:
        Vocab("abc").decode(ids)
    assert str(caught.value) == f"ids must be from 0 to 2, got {low} to {high}"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"symbols": ""}, "a vocabulary needs at least one symbol, each once and in the order of code points"),
        ({"symbols": "ba"}, "a vocabulary needs at least one symbol, each once and in the order of code points"),
        ({"symbols": "aab"}, "a vocabulary needs at least one symbol, each once and in the order of code points"),
        ({"symbols": "ab", "counts": (1,)}, "a vocabulary of 2 symbols has 1 counts"),
        ({"symbols": "ab", "starts": (1, 2, 3)}, "a vocabulary of 2 symbols has 3 starts"),
        ({"symbols": "ab", "kind": "words"}, "a vocabulary of kind 'words' is not known here: use one of chars, bytes"),
        ({"symbols": "ab", "kind": "bytes"}, "a vocabulary of bytes has 256 symbols, not 2"),
        ({"symbols": "ab", "normalize": "NFX"}, "a vocabulary in the form 'NFX' is not known here"),
        (
            {"symbols": "ab", "specials": ("unknown", "end")},
            "special symbols unknown, end are none of end, unknown, in order",
        ),
    ],
)
def test_bad_vocabularies_are_refused(settings, message):
    with pytest.raises(VocabError) as caught:
        Vocab(**settings)
    assert str(caught.value) == message


@pytest.mark.parametrize("texts", [(), ("",), ("", "")])
def test_no_text_makes_no_vocabulary(texts):
    with pytest.raises(VocabError, match="at least one symbol"):
        Vocab.from_text(*texts)


def test_the_entropy_is_that_of_the_frequencies_in_the_text_that_was_counted():
    assert Vocab("abc").counted("aabaabcc").entropy == pytest.approx(
        -(4 * math.log(4 / 8) + 2 * math.log(2 / 8) + 2 * math.log(2 / 8)) / 8
    )
    assert Vocab("abc").counted("aabb").entropy == pytest.approx(math.log(2))
    assert Vocab("abc").counted("aa").entropy == 0
    assert Vocab("abc").entropy == pytest.approx(math.log(3))


def test_a_decoder_returns_a_character_with_its_last_byte():
    vocab = Vocab("".join(map(chr, range(256))), kind="bytes", specials=("end",))
    decode = vocab.decoder()
    pieces = [decode(vocab.characters([byte])) for byte in (*"a水é".encode(), vocab.end, 0xFF)]
    assert pieces == ["a", "", "", "水", "", "é", "", "\ufffd"]
    assert decode("\xc3") + vocab.decoder()("b") == "b"  # each begins anew
    assert Vocab("ab").decoder()("ba") == "ba"

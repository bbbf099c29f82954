"""Completion, compared with an exhaustive search, and the ends of words."""

import json
import math

import numpy as np
import pytest

from charrnn.data.vocab import Vocab
from charrnn.errors import ConfigError, VocabError
from charrnn.generation.completion import CONTEXT, complete
from charrnn.nn import model

from .test_writer import Marked, writer_of

SYMBOLS = "\n 'ab"
WORD = "'ab"


@pytest.fixture(scope="module")
def plain():
    return writer_of(Vocab(SYMBOLS, starts=(1, 0, 0, 5, 4)))


@pytest.fixture(scope="module")
def marked():
    return writer_of(Marked(SYMBOLS, specials=("end", "unknown")))


def next_probs(writer, texts):
    """Return the probabilities (N, V) of the next symbol after each of N texts of equal length, by one forward pass."""
    member, vocab = writer.ensemble.members[0], writer.vocab
    ids = np.array([vocab.encode(text) for text in texts]).reshape(len(texts), -1).T
    if vocab.end is not None:
        ids = np.concatenate((np.full((1, len(texts)), vocab.end), ids))
    logits, _, _ = model.forward(member.weights, ids, model.zero_state(member.config, len(texts)))
    probs = np.exp(logits[-1] - logits[-1].max(axis=-1, keepdims=True))
    return probs / probs.sum(axis=-1, keepdims=True)


def all_completions(writer, text, length, ending, within):
    """Return the probability of every completion, by the definition: grown symbol by symbol, its ends added up.

    ending  symbols that end it
    within  whether it may end before it has any other
    """
    vocab, found, growing = writer.vocab, {}, {"": 1.0}
    for _ in range(length):
        grown = {}
        for (begun, prob), probs in zip(
            growing.items(), next_probs(writer, [text + begun for begun in growing]), strict=True
        ):
            may_end = within or not set(begun) <= set(ending)
            end = 0.0 if vocab.end is None else probs[vocab.end]
            for symbol, more in zip(vocab.symbols, probs, strict=False):
                if may_end and symbol in ending:
                    end += more
                else:
                    grown[begun + symbol] = prob * more
            if may_end or vocab.end is not None:
                found[begun, True] = prob * end
        growing = grown
    return found | {(begun, False): prob for begun, prob in growing.items()}


CASES = {
    "in a word": ("word", "b a", "\n ", True),
    "after an apostrophe": ("word", "a'", "\n ", True),
    "before a word": ("word", "ab ", "\n ", False),
    "after a line end": ("word", "ab\n", "\n ", False),
    "in a line": ("line", "a b", "\n", True),
    "at the beginning of a line": ("line", "b\n", "\n", True),
}


@pytest.mark.parametrize("writer", ["plain", "marked"])
@pytest.mark.parametrize("case", CASES)
def test_all_completions_are_found_with_their_probabilities(request, writer, case):
    writer, (to, text, ending, within) = request.getfixturevalue(writer), CASES[case]
    found = complete(writer, text, to=to, count=1000, max_length=4).completions
    expected = all_completions(writer, text, 4, ending, within)
    assert {(one.text, one.ended == to) for one in found} == set(expected)
    assert {one.ended for one in found} == {to, "length"}
    for one in found:
        assert one.probability == pytest.approx(expected[one.text, one.ended == to], rel=1e-9)
    probabilities = [one.probability for one in found]
    assert probabilities == sorted(probabilities, reverse=True)
    if writer.vocab.unknown is None:
        assert math.fsum(probabilities) == pytest.approx(1)


@pytest.mark.parametrize("text", ["", "b", "a a", "ab ", "b'", " ", "aaa", "bbb"])
def test_the_most_likely_are_those_of_all(plain, text):
    everything = complete(plain, text, count=1000, max_length=4).completions
    for count in (1, 3):
        found = complete(plain, text, count=count, max_length=4).completions
        assert [one.text for one in found] == [one.text for one in everything[:count]]


def test_next_characters_have_the_probabilities_of_the_model(plain):
    found = complete(plain, "ab", to="char", count=1000).completions
    (probs,) = next_probs(plain, ["ab"])
    assert {one.text: one.probability for one in found} == pytest.approx(dict(zip(SYMBOLS, probs, strict=True)))
    assert {one.ended for one in found} == {"char"}
    assert math.fsum(one.probability for one in found) == pytest.approx(1)
    assert complete(plain, "ab", to="char", count=2).completions == found[:2]


def test_the_end_mark_is_reported_and_the_unknown_symbol_never_offered(marked):
    found = complete(marked, "ab", to="char", count=1000).completions
    (probs,) = next_probs(marked, ["ab"])
    (end,) = [one for one in found if one.ended == "document"]
    assert (end.text, end.probability) == ("", pytest.approx(probs[marked.vocab.end]))
    assert sorted(one.text for one in found) == ["", *SYMBOLS]
    assert math.fsum(one.probability for one in found) == pytest.approx(1 - probs[marked.vocab.unknown])


def test_nothing_is_completed_as_lines_begin(plain):
    begins = {one.text: one.probability for one in complete(plain, "", to="char").completions}
    assert begins == pytest.approx({"a": 0.5, "b": 0.4, "\n": 0.1})
    assert all(one.text.lstrip("\n")[0] in "ab" for one in complete(plain, "").completions)


@pytest.mark.parametrize("char", ["a", "ß", "語", "7", "½", "\u0301", "'", "’", "_", "\u200d", "ʼ"])
def test_what_a_word_is_made_of(char):
    vocab = Vocab("".join(sorted({" ", "x", char})))
    texts = [one.text for one in complete(writer_of(vocab), "x", count=1000, max_length=2).completions]
    assert char in texts


@pytest.mark.parametrize("char", [" ", "\n", ".", "-", "—", "。", "«", '"', "$", "😀", "\u00a0", "\x00"])
def test_what_ends_a_word(char):
    writer = writer_of(Vocab("".join(sorted({"x", "y", char}))))
    texts = [one.text for one in complete(writer, "x", count=1000, max_length=2).completions]
    assert all(char not in text for text in texts)
    after = [one.text for one in complete(writer, f"x{char}", count=1000, max_length=3).completions]
    assert f"{char}y" in after


def test_a_text_without_ends_is_cut():
    writer = writer_of(Vocab("".join(sorted("天地玄黃"))))
    assert {one.ended for one in complete(writer, "天").completions} == {"length"}
    assert {len(one.text) for one in complete(writer, "天").completions} == {32}
    with pytest.raises(ConfigError, match="does not know line ends"):
        complete(writer, "天", to="line")


def test_line_ends_of_two_characters_belong_to_no_line():
    writer = writer_of(Vocab("\n\rab"))
    assert all("\r" not in one.text for one in complete(writer, "a", to="line", count=50, max_length=4).completions)


def test_the_text_is_brought_into_the_form_of_the_corpus():
    writer = writer_of(Vocab(" abé", lowercase=True, normalize="NFC"))
    assert complete(writer, "AE\u0301").completions == complete(writer, "aé").completions


def test_bytes_make_characters_and_what_is_none_can_go_back():
    writer = writer_of(Vocab("".join(map(chr, range(256))), kind="bytes"))
    found = complete(writer, "\udcc3", to="char", count=256).completions
    assert len({one.text for one in found}) == 256
    assert "\udca4" in {one.text for one in found}
    for one in found:
        assert writer.vocab.encode("\udcc3" + one.text).tolist()[0] == 0xC3
    assert complete(writer, "ä").completions == complete(writer, "\udcc3\udca4").completions
    of_words = {one.text for one in complete(writer, "x", count=1000, max_length=1).completions}
    assert of_words == {""} | {chr(0xDC00 + byte) for byte in range(128, 256)} | {
        char for char in map(chr, range(128)) if char.isalnum() or char in "'_"
    }


def test_of_a_long_text_the_end_is_read(plain, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("charrnn.generation.completion.CONTEXT", 3)
        assert complete(plain, "bb a'").completions == complete(plain, " a'").completions
        assert complete(plain, "b a'").completions != complete(plain, "a'").completions
    begin, end = "ab" * 5_000_000, "b a' " * (CONTEXT // 5) + "b'ab"
    assert complete(plain, begin + end).completions == complete(plain, end[-CONTEXT:]).completions
    with pytest.raises(VocabError, match=r"1 of \d+ characters .* at position 0"):
        complete(plain, "x" + begin + end)


def test_unknown_characters_are_refused_or_left_out(plain):
    with pytest.raises(VocabError, match=r"2 of 4 characters .* 'x' \(U\+0078\) at position 1"):
        complete(plain, "axbx")
    assert complete(plain, "axbx", unknown="skip").completions == complete(plain, "ab").completions
    assert complete(plain, "xx", unknown="skip").completions == complete(plain, "").completions


@pytest.mark.parametrize(
    "wrong",
    [
        {"to": "page"},
        {"count": 0},
        {"count": 1001},
        {"max_length": 0},
        {"max_length": 10**26},
        {"to": "char", "max_length": 2},
    ],
)
def test_senseless_settings(plain, wrong):
    with pytest.raises(ConfigError):
        complete(plain, "a", **wrong)


def test_a_dictionary_of_completions_is_json(plain):
    done = complete(plain, "a'", count=2)
    first = done.completions[0]
    data = json.loads(json.dumps(done.to_dict()))
    assert data["text"] == "a'"
    assert data["completions"][0] == {
        "text": first.text,
        "probability": first.probability,
        "logprob": first.logprob,
        "ended": first.ended,
    }
    assert len(data["completions"]) == 2

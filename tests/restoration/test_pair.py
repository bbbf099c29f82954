"""A pair of models: what both say of a text between two contexts, and which models are none."""

from dataclasses import replace

import numpy as np
import pytest
from fixtures_restoration import model_of

from charrnn import Vocab
from charrnn.api import LanguageModel
from charrnn.errors import ConfigError, VocabError
from charrnn.restoration.pair import CONTEXT, Pair

VOCABS = {
    "lines": Vocab("\n abcdefox"),
    "documents": Vocab("\n abcdefox", specials=("end", "unknown")),
    "no ends": Vocab(" abcdefox"),
    "in a form": Vocab("\n abcdefox", lowercase=True, normalize="NFC"),
}


def pair_of(vocab, **more):
    """Return a pair of random models."""
    return Pair.of(model_of(vocab, 1, **more), model_of(replace(vocab, reverse=True), 2, **more))


@pytest.mark.parametrize("vocab", VOCABS.values(), ids=VOCABS)
@pytest.mark.parametrize("more", [{}, {"cell": "rnn", "attention": 5}], ids=["lstm", "attention"])
def test_differences_are_those_of_whole_lines(vocab, more):
    pair = pair_of(vocab, **more)
    texts = ["bad", "fo", "x", "a b", ""]
    found = pair.log_probs("ab ", texts, " of", reach=CONTEXT)
    assert found.shape == (5, 2)
    for column, reader in enumerate(pair.readers):
        lines = LanguageModel(reader.checkpoint, memory=0).score([f"ab {text} of" for text in texts], threads=1)
        own = np.array([scored.logprob for scored in lines])
        np.testing.assert_allclose(found[:, column] - found[0, column], own - own[0], atol=1e-5)


def test_the_far_context_is_read_as_far_as_asked():
    pair = pair_of(VOCABS["lines"])
    short, long = (pair.log_probs("abcd", ["e", "f"], after, reach=2) for after in ("fo", "foxab"))
    np.testing.assert_allclose(short[:, 0], long[:, 0])
    assert not np.allclose(short[:, 1], long[:, 1])
    assert pair.log_probs("", [], "").shape == (0, 2)


def test_a_forward_model_alone_has_one_column():
    alone = Pair.of(model_of(VOCABS["lines"], 1))
    assert alone.log_probs("a", ["b", "c"], "d").shape == (2, 1)
    assert len(alone.readers) == 1


def test_unknown_characters_are_refused_or_left_out():
    pair = pair_of(VOCABS["lines"])
    with pytest.raises(VocabError, match="ä"):
        pair.log_probs("ä", ["a"], "")
    np.testing.assert_array_equal(pair.log_probs("äb", ["a"], "", unknown="skip"), pair.log_probs("b", ["a"], ""))


@pytest.mark.parametrize(
    ("forward", "backward", "message"),
    [
        (Vocab("ab"), Vocab("ab"), "--backward reads forwards"),
        (Vocab("ab", reverse=True), Vocab("ab", reverse=True), "-m was trained with --reverse"),
        (Vocab("ab"), Vocab("abc", reverse=True), r"different vocabularies \(2 and 3 characters; only one has 'c'\)"),
        (Vocab("ab", lowercase=True), Vocab("ab", reverse=True), "differ in --lowercase"),
        (Vocab("ab", normalize="NFC"), Vocab("ab", reverse=True), "differ in --normalize"),
        (Vocab("ab", specials=("end",)), Vocab("ab", reverse=True), "differ in --split-documents"),
        (Vocab("ab"), Vocab("ab", reverse=True, specials=("unknown",)), "differ in --min-count"),
        (Vocab("".join(map(chr, range(256))), kind="bytes"), Vocab("ab", reverse=True), "differ in --bytes"),
    ],
)
def test_models_that_are_no_pair_are_refused(forward, backward, message):
    with pytest.raises(ConfigError, match=message):
        Pair.of(model_of(forward, 1), model_of(backward, 2))

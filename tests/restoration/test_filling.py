"""Filling gaps: what is found is what an exhaustive search by whole lines finds."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from fixtures_restoration import model_of

from charrnn import Vocab
from charrnn.api import LanguageModel
from charrnn.errors import ConfigError, CorpusError, VocabError
from charrnn.restoration import filling
from charrnn.restoration.filling import fill, search
from charrnn.restoration.gaps import MOST_FILLS, FillConfig
from charrnn.restoration.pair import Pair

LETTERS = "abcd "
VOCABS = {
    "lines": Vocab("\n\r abcd"),
    "documents": Vocab(" abcd", specials=("end", "unknown")),
}
TEXTS = {
    "ab_c": [(1,)],
    "__cd": [(2,)],
    "ab__": [(2,)],
    "__": [(2,)],
    "a_*b": [(0,), (1,), (2,)],
    "a_ cab_d": [(1, 1)],
    "_*ca_": [(0, 1), (1, 1)],
    "_*ca_*": [(first, second) for first in range(2) for second in range(2)],
}


def pair_of(vocab, *, both=True):
    """Return random models, a forward one and a backward one."""
    return Pair.of(model_of(vocab, 1), model_of(replace(vocab, reverse=True), 2) if both else None)


#: Both models of a pair, and either alone.
CHOICES = {
    "both": lambda vocab: pair_of(vocab),
    "forward": lambda vocab: Pair(pair_of(vocab).forward),
    "backward": lambda vocab: Pair(pair_of(vocab).readers[1]),
}


def lines_of(text, lengths, max_gap):
    """Return every filled text, with what is in its gaps."""
    pieces = text.replace("_*", "?").replace("__", "?").replace("_", "?").split("?")
    for sizes in lengths:
        for chars in product(LETTERS, repeat=sum(sizes)):
            rest, gaps = "".join(chars), []
            for size in sizes:
                gaps.append(rest[:size])
                rest = rest[size:]
            yield pieces[0] + "".join(map("".join, zip(gaps, pieces[1:], strict=True))), tuple(gaps)


@pytest.mark.parametrize("models", CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("vocab", VOCABS.values(), ids=VOCABS)
@pytest.mark.parametrize("text", TEXTS)
def test_fills_are_those_of_an_exhaustive_search(text, vocab, models):
    pair, config = models(vocab), FillConfig(top=MOST_FILLS, max_gap=1 if text.startswith("_*") else 2)
    every = dict(sorted(lines_of(text, TEXTS[text], config.max_gap)))
    lines = [*every]
    scores = np.mean(
        [
            [scored.logprob for scored in LanguageModel(reader.checkpoint, memory=0).score(lines, threads=1)]
            for reader in pair.readers
        ],
        axis=0,
    )
    scores *= filling._FACTORS[len(pair.readers)]
    shares = dict(zip(lines, np.exp(scores - np.logaddexp.reduce(scores)), strict=True))
    found = fill(pair, text, config)
    assert [one.text for one in found.fills] == sorted(shares, key=lambda line: -shares[line])
    for one in found.fills:
        assert one.probability == pytest.approx(shares[one.text], rel=1e-3)
        assert len(one.logprobs) == len(pair.readers)
    best = found.fills[0]
    assert (lines_of and every[best.text] == best.gaps) or "_*" in text


def test_the_best_fills_are_shown_with_their_probability_among_all():
    pair = pair_of(VOCABS["lines"])
    many, few = (fill(pair, "a_b", FillConfig(top=top)) for top in (5, 2))
    assert many.fills[:2] == few.fills
    assert sum(one.probability for one in many.fills) == pytest.approx(1)
    assert few.to_dict()["fills"][0]["gaps"] == [few.fills[0].gaps[0]]


def test_gaps_side_by_side_give_each_text_once():
    texts = [one.text for one in fill(pair_of(VOCABS["lines"]), "a_*_*b", FillConfig(top=50, max_gap=2)).fills]
    assert len(texts) == len(set(texts)) == 50


def test_a_text_without_gaps_is_itself():
    (only,) = fill(pair_of(VOCABS["lines"]), "Ä*", FillConfig()).fills
    assert (only.text, only.gaps, only.probability, only.logprobs) == ("Ä*", (), 1.0, ())


def test_known_text_keeps_its_form():
    vocab = Vocab("\n abcd", lowercase=True)
    assert fill(pair_of(vocab), "AB_CD", FillConfig()).fills[0].text[:2] == "AB"
    assert (
        fill(pair_of(vocab), "AB_CD", FillConfig()).fills[0].gaps
        == fill(pair_of(vocab), "ab_cd", FillConfig()).fills[0].gaps
    )


def test_unknown_characters_are_named_by_their_position_or_left_out():
    pair = pair_of(VOCABS["lines"])
    with pytest.raises(VocabError, match="position 4"):
        fill(pair, "a_*bä", FillConfig())
    skipped = fill(pair, "a_bä", FillConfig(), unknown="skip").fills[0]
    assert skipped.text == f"a{fill(pair, 'a_b', FillConfig()).fills[0].gaps[0]}bä"


def test_a_long_context_is_read_only_near_the_gap():
    pair = pair_of(VOCABS["lines"])
    near = "abca " * 60
    assert (
        fill(pair, f"{'d' * 50}{near}_{near}{'d' * 50}", FillConfig()).fills[0].gaps
        == fill(pair, f"{near}_{near}", FillConfig()).fills[0].gaps
    )


def test_what_cannot_be_filled_is_refused():
    of_bytes = Vocab("".join(map(chr, range(256))), kind="bytes")
    with pytest.raises(ConfigError, match="the model reads bytes"):
        fill(pair_of(of_bytes, both=False), "a_", FillConfig())
    with pytest.raises(ConfigError, match="knows '_' as a character: choose another mark"):
        fill(pair_of(Vocab("_ab"), both=False), "a_", FillConfig())
    with pytest.raises(CorpusError, match="too long"):
        fill(pair_of(VOCABS["lines"]), "_" * 200, FillConfig())


def test_gaps_that_are_far_apart_are_filled_one_after_the_other(monkeypatch):
    """Each sees the text on its left with its gaps filled; the best fills of all are the products of the best."""
    pair, known = pair_of(VOCABS["lines"]), "dab cad " * 20
    monkeypatch.setattr("charrnn.restoration.filling.CONTEXT", 50)
    found = fill(pair, f"a_{known}_b", FillConfig(top=6)).fills
    first = fill(pair, f"a_{known}b", FillConfig(top=6)).fills
    second = fill(pair, f"a{first[0].gaps[0]}{known}_b", FillConfig(top=6)).fills
    products = {(a.gaps + b.gaps): a.probability * b.probability for a in first for b in second}
    wanted = sorted(products, key=lambda gaps: -products[gaps])[:6]
    assert [one.gaps for one in found] == wanted
    assert [one.probability for one in found] == pytest.approx([products[gaps] for gaps in wanted])
    assert found[0].text == f"a{wanted[0][0]}{known}{wanted[0][1]}b"
    assert found[0].logprobs == pytest.approx(
        [a + b for a, b in zip(first[0].logprobs, second[0].logprobs, strict=True)]
    )


def test_a_line_with_many_gaps_is_filled_in_parts(monkeypatch):
    sizes, text = [], "ab_ " * 60
    monkeypatch.setattr(filling, "_MOST", 40)
    monkeypatch.setattr(
        filling, "search", lambda pair, part, *more: sizes.append(len(part.gaps)) or search(pair, part, *more)
    )
    (made,) = fill(pair_of(VOCABS["lines"]), text, FillConfig()).fills
    assert sum(sizes) == len(made.gaps) == 60
    assert max(sizes) * 4 <= 43
    assert len(made.text) == len(text)


def test_language_models_fill():
    pair = pair_of(VOCABS["lines"])
    forward, backward = (LanguageModel(reader.checkpoint) for reader in pair.readers)
    config = FillConfig("?", 3, 2)
    assert forward.fill("ab?*c", backward, mark="?", max_gap=3, top=2) == fill(pair, "ab?*c", config)
    assert forward.fill("ab_c") == fill(Pair(pair.forward), "ab_c", FillConfig())
    assert forward.fill("ab_cX", unknown="skip").text == "ab_cX"
    with pytest.raises(ConfigError, match="--reverse"):
        forward.fill("ab_c", forward)

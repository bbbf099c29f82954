"""Novelty: runs of characters that a text copies from a corpus, and where the corpus has them."""

import numpy as np
import pytest

from charrnn.data import text as text_module
from charrnn.data.text import Text
from charrnn.generation.novelty import copied, places

CORPUS = "".join(np.random.default_rng(1).choice(list("abcd\u4e00"), 3000))


@pytest.mark.parametrize("size", [1, 2, 5, 8, 20, 300])
@pytest.mark.parametrize("chunk", [64, 1 << 20])
def test_it_is_what_looking_for_every_run_finds(monkeypatch, size, chunk):
    monkeypatch.setattr(text_module, "CHUNK", chunk)
    rng = np.random.default_rng(2)
    texts = ["".join(rng.choice(list("abcd\u4e00x"), 40)) for _ in range(40)]
    texts += [CORPUS[at : at + 37] for at in (0, 50, 63, 64, 2963)] + [
        "",
        "a",
        CORPUS[-30:],
        "x" + CORPUS[20:60] + "x",
        CORPUS[:400],
    ]
    expected = [any(text[at : at + size] in CORPUS for at in range(len(text) - size + 1)) for text in texts]
    assert copied(texts, Text.of(CORPUS), size) == expected
    found = [[CORPUS.find(text[at : at + size]) for at in range(len(text) - size + 1)] for text in texts]
    assert [each.tolist() for each in places(texts, Text.of(CORPUS), size)] == found
    assert len(set(expected)) == (1 if size == 1 and all(expected) else 2)


def test_texts_or_corpora_shorter_than_the_run_share_none():
    assert copied(["abc", ""], Text.of("abcdef"), 4) == [False, False]
    assert copied(["abcdef"], Text.of("abc"), 4) == [False]
    assert copied(["abcdef"], Text.of(""), 4) == [False]

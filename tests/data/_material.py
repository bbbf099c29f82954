"""Helpers for the tests of reading: pieces of any size, awkward texts, and refusals in one line."""

import pytest
from hypothesis import strategies as st

from charrnn.data.text import END
from charrnn.errors import CorpusError


def pieces(whole, sizes):
    """Return the text in pieces of these sizes, used in turn."""
    found, at = [], 0
    while at < len(whole):
        found.append(whole[at : at + sizes[len(found) % len(sizes)]])
        at += len(found[-1])
    return found


sizes = st.lists(st.integers(1, 5), min_size=1, max_size=5)
some_text = st.text(st.sampled_from("ab \n\r\t-é\u0301水😀ΑΣσ\ufeff") | st.characters(exclude_categories=["Cs"]))


class Scanned(str):
    """A piece of text that counts the characters that are read to copy, join or strip it."""

    chars = 0

    def _made(self, text, chars):
        Scanned.chars += chars
        return Scanned(text)

    def __radd__(self, before):
        return self._made(before + str(self), len(before) + len(self))

    def __add__(self, after):
        return self._made(str(self) + after, len(self) + len(after))

    def __getitem__(self, at):
        text = super().__getitem__(at)
        return self._made(text, len(text))

    def rstrip(self, chars=None):
        return self._made(super().rstrip(chars), len(self))


def scanned(call, run):
    """Return how many characters a call reads of 100 and of 200 pieces that are the same run of characters."""
    found = []
    for count in (100, 200):
        Scanned.chars = 0
        "".join(call([Scanned("a"), *[Scanned(run)] * count, Scanned("b")]))
        found.append(Scanned.chars)
    return found


def refusal(call, *args):
    """Return the one line with which the call, or the reading of what it yields, refuses."""
    with pytest.raises(CorpusError) as caught:
        list(call(*args))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def documents(text):
    """Return the documents of a text."""
    return str(text).split(END)[1:-1]


NAMES = ["anna", "bert", "cleo", "dora", "emil", "franz", "gerda", "hans", "ida", "jan"]

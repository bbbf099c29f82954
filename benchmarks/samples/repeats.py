"""How much of a text repeats itself, or another text: shares of its n-grams."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean


def repeated(texts: Sequence[str], n: int) -> float:
    """Return the share of n-grams that occurred earlier in the same text: the mean over the texts."""
    return fmean(1 - len(set(grams)) / len(grams) for grams in (grams_of(text, n) for text in texts))


def copied(texts: Sequence[str], other: str, n: int) -> float:
    """Return the share of n-grams that also occur in another text: the mean over the texts."""
    known = set(grams_of(other, n))
    return fmean(sum(gram in known for gram in grams) / len(grams) for grams in (grams_of(text, n) for text in texts))


def grams_of(text: str, n: int) -> list[str]:
    """Return all sequences of n characters of a text, which has at least n."""
    return [text[at : at + n] for at in range(len(text) - n + 1)]

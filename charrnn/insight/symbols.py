"""The map of a model's symbols: those that it treats alike lie close together."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import numpy as np

from charrnn.arrays import Array, Ids, Params
from charrnn.data.vocab import Vocab, describe_symbol

MOST = 150  # symbols on a map, so that they can be told apart
_CARRIER = "\N{DOTTED CIRCLE}"  # what a combining mark is shown on

#: The classes of symbols, in the order of the report.
CLASSES = (
    "lower-case letters",
    "upper-case letters",
    "letters without case",
    "digits",
    "spaces",
    "line ends",
    "punctuation and signs",
    "bytes of non-ASCII characters",
    "others",
    "document ends",
    "unknown characters",
)
_BY_CATEGORY = {"Ll": 0, "Lu": 1, "Lt": 1, "Lo": 2, "Lm": 2, "Nd": 3, "Nl": 3, "No": 3, "Zs": 4}
_BY_CHARACTER = {"\n": 5, "\r": 5, "\t": 4}
_PUNCTUATION, _BYTES, _OTHER, _END, _UNKNOWN = 6, 7, 8, 9, 10


def classes_of(vocab: Vocab) -> Ids:
    """Return the class of each id, as an index into `CLASSES`.

    Shapes:  returns (V,)
    """
    specials = {"end": _END, "unknown": _UNKNOWN}
    own = [_class_of(symbol, vocab.kind) for symbol in vocab.symbols]
    return np.array([*own, *(specials[name] for name in vocab.specials)], np.uint8)


def _class_of(symbol: str, kind: str) -> int:
    if kind == "bytes" and symbol > "\x7f":
        return _BYTES
    category = unicodedata.category(symbol)
    usual = _PUNCTUATION if category[0] in "PS" else _OTHER
    return _BY_CHARACTER.get(symbol, _BY_CATEGORY.get(category, usual))


def names_of(vocab: Vocab) -> list[str]:
    """Return a short printable name of each id: the character itself, if it can be seen."""
    return [*(_name_of(symbol, vocab.kind) for symbol in vocab.symbols), *(f"<{name}>" for name in vocab.specials)]


def _name_of(symbol: str, kind: str) -> str:
    if kind == "bytes" and symbol > "\x7f":
        return f"0x{ord(symbol):02x}"
    if symbol == " ":
        return "␣"
    return _CARRIER * (unicodedata.category(symbol)[0] == "M") + describe_symbol(symbol)["shown"]


@dataclass(frozen=True, eq=False)
class SymbolMap:
    """The symbols of a model in two dimensions.

    ids        (N,), the most frequent ones in the training text, by falling frequency; none that it lacks
    points     (N, 2), their first two principal components
    explained  (2,), the share of the variance that each of them explains
    rows       the array that has a row for each symbol
    """

    ids: Ids
    points: Array
    explained: Array
    rows: str


def symbol_map(params: Params, vocab: Vocab, most: int = MOST) -> SymbolMap:
    """Return the map of the symbols by the array that gives each a row.

    This is the embedding, or without one the weights of the outputs.
    Source:  Pearson 1901 (principal components).
    """
    rows, array = _rows(params)
    counts = np.array(vocab.counts or [0] * len(vocab.symbols))
    ids = np.argsort(-counts, kind="stable")[: min(most, int((counts > 0).sum()) or most)]
    chosen = array[ids].astype(np.float64)
    chosen -= chosen.mean(axis=0)
    u, singular, directions = np.linalg.svd(chosen, full_matrices=False)
    points = np.zeros((len(ids), 2))
    explained = np.zeros(2)
    n = min(2, len(singular))
    signs = np.sign(directions[np.arange(n), np.abs(directions[:n]).argmax(axis=1)])  # the same on every machine
    points[:, :n] = (u * singular)[:, :n] * signs
    explained[:n] = (singular**2 / max(float((singular**2).sum()), np.finfo(float).tiny))[:n]
    return SymbolMap(ids, points, explained, rows)


def _rows(params: Params) -> tuple[str, Array]:
    """Return the name of an array and the array, with a row for each symbol.

    Input weights without an embedding show little: in nets of all sizes that we trained, their first two components
    explain a twentieth of the variance, and those of the output weights a quarter.
    """
    if "embed.W_e" in params:
        return "embed.W_e", params["embed.W_e"]
    return "out.W_hy", params["out.W_hy"].T

"""What a corpus is made of, told before a model is trained on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from charrnn.data.corpus import Corpus, Found
from charrnn.data.text import END, Text
from charrnn.data.vocab import Vocab

RAREST = 10  # characters that are named
#: Characters of the training part, its last ones, and of the validation part, its first ones, that are compared.
COMPARED_TRAIN, COMPARED_VAL = 1 << 26, 1 << 23


@dataclass(frozen=True)
class Survey:
    """What there is in a corpus, all parts together.

    files      how many, and their bytes as they are stored; 0 bytes where standard input is one of them
    chars      without the marks between documents
    symbols    different characters, and how many of these are unknown, with their share of the training part
    returns    whether `\\r` is among them, as in lines that end at `\\r\\n`
    documents  None where the text is not parted into any
    rarest     the characters that stand least often in the training part, with how often they do
    repeated   the share of the validation part that stands in lines, or documents, that the training part has too;
               None where there is nothing to compare
    """

    files: int
    bytes: int
    chars: int
    symbols: int
    unknown: int
    unknown_share: float
    returns: bool
    documents: int | None
    rarest: list[tuple[str, int]]
    repeated: float | None


def survey(corpus: Corpus, vocab: Vocab) -> Survey:
    """Return what the corpus is made of.

    vocab: with the counts of its training part
    """
    texts = [text for text in (corpus.train, corpus.val, corpus.test) if len(text)]
    parted = [text.documents for text in texts]
    documents = sum(parted) if all(parted) else None
    seen = set[str]().union(*(text.symbols for text in texts)) - {END}
    counted = sorted((count, symbol) for symbol, count in zip(vocab.symbols, vocab.counts, strict=True) if count)
    found = corpus.found or Found(0, 0)
    return Survey(
        files=found.files,
        bytes=found.bytes,
        chars=sum(map(len, texts)) - (0 if documents is None else documents + len(texts)),
        symbols=len(seen),
        unknown=len(seen.difference(vocab.symbols)),
        unknown_share=vocab.count_unknown(corpus.train) / len(corpus.train),
        returns="\r" in seen,
        documents=documents,
        rarest=[(symbol, count) for count, symbol in counted[:RAREST]],
        repeated=repeated(corpus.train[-COMPARED_TRAIN:], corpus.val[:COMPARED_VAL]),
    )


def repeated(train: Text, val: Text) -> float | None:
    """Return the share of the validation text's characters in lines, or documents, that the training text has too.

    Lines are told apart by 64 bits each. Line ends count nowhere.
    """
    wanted = {hash(line) for line in _lines(val)}
    if not wanted:
        return None
    known = wanted.intersection(map(hash, _lines(train)))
    chars = both = 0
    for line in _lines(val):
        chars += len(line)
        both += len(line) if hash(line) in known else 0
    return both / chars


def _lines(text: Text) -> Iterator[str]:
    """Yield the lines of the text that are not empty, or its documents where it has any."""
    mark, waiting = END if END in text.symbols else "\n", ""
    for piece in text.pieces():
        *whole, rest = piece.split(mark)
        if whole:
            yield from filter(None, [waiting + whole[0], *whole[1:]])
            waiting = ""
        waiting += rest
    if waiting:
        yield waiting

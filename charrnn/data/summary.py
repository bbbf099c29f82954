"""Describe a corpus before a model is trained on it: its size, documents, rare characters and repeated lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from charrnn.data.corpus import Corpus, InputSize
from charrnn.data.lines import complete_lines
from charrnn.data.text import END, Text
from charrnn.data.vocab import Vocab

MOST_RARE = 10  # rare characters in a summary
#: Characters that are compared at most: the last ones of the training split, the first ones of the validation split.
COMPARED_TRAIN, COMPARED_VAL = 1 << 26, 1 << 23


@dataclass(frozen=True)
class Summary:
    """The size and the contents of a corpus, all splits together.

    files, bytes   the number of files and their bytes on disk; 0 bytes if one is standard input
    chars          characters, without the marks between documents
    symbols        different characters; `unknown` of them are unknown
    unknown_share  the share of unknown characters in the training split
    crlf           whether some lines end with `\\r\\n`
    cr             whether some lines end with a single `\\r`
    documents      None if the text is not split into documents
    rarest         the rarest characters of the training split, with their counts
    repeated       the share of the validation split in lines, or documents, that the training split has too;
                   None if there is nothing to compare
    """

    files: int
    bytes: int
    chars: int
    symbols: int
    unknown: int
    unknown_share: float
    crlf: bool
    cr: bool
    documents: int | None
    rarest: list[tuple[str, int]]
    repeated: float | None


def summarize(corpus: Corpus, vocab: Vocab) -> Summary:
    """Return the summary of a corpus.

    vocab: with the counts of its training split
    """
    splits = [text for text in (corpus.train, corpus.val, corpus.test) if len(text)]
    counts = [text.documents for text in splits]
    documents = sum(counts) if all(counts) else None
    pairs = [_after_returns(text) for text in splits]
    symbols = set[str]().union(*(text.symbols for text in splits)) - {END}
    by_count = sorted((count, symbol) for symbol, count in zip(vocab.symbols, vocab.counts, strict=True) if count)
    size = corpus.input_size or InputSize(0, 0)
    return Summary(
        files=size.files,
        bytes=size.bytes,
        chars=sum(map(len, splits)) - (0 if documents is None else documents + len(splits)),
        symbols=len(symbols),
        unknown=len(symbols.difference(vocab.symbols)),
        unknown_share=vocab.count_unknown(corpus.train) / len(corpus.train),
        crlf=any(pair.newline for pair in pairs),
        cr=any(pair.others for pair in pairs),
        documents=documents,
        rarest=[(symbol, count) for count, symbol in by_count[:MOST_RARE]],
        repeated=repeated_share(corpus.train[-COMPARED_TRAIN:], corpus.val[:COMPARED_VAL]),
    )


class _AfterReturns(NamedTuple):
    """Whether some `\\r` of a text are followed by `\\n`, and some by other characters."""

    newline: bool
    others: bool


def _after_returns(text: Text) -> _AfterReturns:
    at, newline = text.symbols.find("\r"), text.symbols.find("\n")
    newlines = others = False
    for ids in text.chunks(overlap=1) if at >= 0 else ():
        after = ids[1:][ids[:-1] == at]
        newlines = newlines or bool((after == newline).any())
        others = others or bool((after != newline).any())
    return _AfterReturns(newlines, others)


def repeated_share(train: Text, val: Text) -> float | None:
    """Return the share of the validation characters in lines, or documents, that the training text has too.

    Lines are compared by hashes of 64 bits. Line ends are not counted.
    """
    hashes = {hash(line) for line in _split_lines(val)}
    if not hashes:
        return None
    known = hashes.intersection(map(hash, _split_lines(train)))
    chars = repeated = 0
    for line in _split_lines(val):
        chars += len(line)
        repeated += len(line) if hash(line) in known else 0
    return repeated / chars


def _split_lines(text: Text) -> Iterator[str]:
    """Yield the lines of the text that are not empty, or its documents if it has any."""
    if END not in text.symbols:
        for lines in complete_lines(text.pieces()):
            yield from filter(None, (line.rstrip("\r\n") for line in lines))
        return
    waiting = list[str]()
    for piece in text.pieces():
        first, *more = piece.split(END)
        waiting.append(first)
        if more:
            *complete, rest = more
            yield from filter(None, ["".join(waiting), *complete])
            waiting = [rest]
    if last := "".join(waiting):
        yield last

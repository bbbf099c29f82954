"""Describe a corpus before a model is trained on it: its size, documents, rare characters and repeated lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from charrnn.data.corpus import Corpus, InputSize
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
    returns        whether there is a `\\r`, as in lines that end with `\\r\\n`
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
    returns: bool
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
        returns="\r" in symbols,
        documents=documents,
        rarest=[(symbol, count) for count, symbol in by_count[:MOST_RARE]],
        repeated=repeated_share(corpus.train[-COMPARED_TRAIN:], corpus.val[:COMPARED_VAL]),
    )


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
    mark, waiting = END if END in text.symbols else "\n", list[str]()
    for piece in text.pieces():
        first, *more = piece.split(mark)
        waiting.append(first)
        if more:
            *complete, rest = more
            yield from filter(None, ["".join(waiting), *complete])
            waiting = [rest]
    if last := "".join(waiting):
        yield last

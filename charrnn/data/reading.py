"""From files or standard input to a text: found, decoded, brought into form, parted into documents, and encoded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from charrnn.config import STDIN, TextConfig, usual
from charrnn.data import cache, decoding, escapes, normalize, records
from charrnn.data import documents as parting
from charrnn.data.files import describe, files_of, inputs_of, is_packed, size
from charrnn.data.text import CHUNK, END, Text, code_points, from_code_points, pieces_of
from charrnn.errors import CorpusError

#: Bytes from which on texts go through the cache: below, reading takes a fifth of a second and memory has room.
CACHED_FROM = 32 << 20
_USUAL_RATIO = 10  # of a text to what it is compressed to, at the most
#: What is called while a text is put into the cache, with the bytes that have been read and those there are.
Reading = Callable[[int, int], object]


def read_text(
    *paths: str, config: TextConfig | None = None, shuffle_seed: int | None = None, reading: Reading | None = None
) -> Text:
    """Return the text of files, folders, globs, or of standard input for "-", read as one in this order.

    Line ends stay as they are. Large files are held in the cache on disk, not in memory.
    config:   how it is decoded, brought into form and parted into documents; if None, it is UTF-8 as it stands
    shuffle_seed: puts its documents into an order that depends on this; None: they stay in the order of the files
    reading:  called with the bytes read and those there are, while a large text is encoded for the cache
    Raises:   CorpusError where one is missing, unreadable, empty, or not what the config says it is (file and byte or
              line are named); CharRNNError where the cache cannot be written.
    """
    config = config or TextConfig()
    files = files_of(paths)
    total = sum(map(size, files))
    unpacked = sum(size(file) * (_USUAL_RATIO if is_packed(file) else 1) for file in files)
    settings = {name: value for name, value in config.deciding("characters").items() if value != usual(name)}

    cached = STDIN not in files and unpacked >= CACHED_FROM

    def told(read: int) -> None:
        if reading and cached:
            reading(read, total)

    def held(pieces: Callable[[], Iterator[str]], settings: dict[str, object]) -> Text:
        if not cached:
            return Text.gather(pieces())
        return cache.text_of(files, pieces, json.dumps(settings) if settings else "")

    try:
        text = held(lambda: _pieces(paths, files, config, told), settings)
    except MemoryError:
        remedy = "write it to a file, which is not held in memory" if STDIN in files else "give a shorter one"
        raise CorpusError(f"not enough memory for the text of {named(paths)}: {remedy}") from None
    if len(text) < (2 if config.has_documents else 1):
        raise CorpusError(f"{named(paths)} is empty: give a text to read")
    if shuffle_seed is None:
        return text
    return held(lambda: _shuffled(text, shuffle_seed), settings | {"shuffled": shuffle_seed})


def text_of(text: str | Text, config: TextConfig) -> Text:
    """Return a text that was read, or a string as `read_text` would return it if a file held it.

    Raises:  CorpusError for half a surrogate pair where bytes are learned, since it has none.
    """
    if isinstance(text, Text):
        return text
    if config.bytes:
        try:
            text = text.encode("utf-8", "surrogateescape").decode("latin-1")
        except UnicodeEncodeError as error:
            raise CorpusError(f"half a surrogate pair at position {error.start} has no bytes: leave it out") from None
    pieces = pieces_of(text)
    if config.has_documents:
        pieces = parting.parted(pieces, _way(config))
    return Text.gather(_formed(pieces, config))


def _way(config: TextConfig) -> str:
    """Return how `parted` parts a text: the fields of records are documents as they are."""
    way = escapes.unescaped(config.split_documents or "files")
    return way.encode("utf-8", "surrogatepass").decode("latin-1") if config.bytes else way


def _formed(pieces: Iterator[str], config: TextConfig) -> Iterator[str]:
    if config.normalize != "none" or config.lowercase:
        pieces = normalize.formed(pieces, config.normalize, config.lowercase)
    return parting.marked(pieces) if config.has_documents else pieces


def named(paths: Sequence[str]) -> str:
    """Return how errors name the source of a corpus."""
    return describe(paths[0]) + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")


def _pieces(
    paths: Sequence[str], files: Sequence[str], config: TextConfig, progress: Callable[[int], object]
) -> Iterator[str]:
    """Yield the texts of the files one after the other; tell how many bytes have been read."""
    return _formed(_texts(paths, files, config, progress), config)


def _texts(
    paths: Sequence[str], files: Sequence[str], config: TextConfig, progress: Callable[[int], object]
) -> Iterator[str]:
    """Yield what is in the files, with marks between documents where it is parted into some."""
    before, named_files = 0, {describe(path) for path in paths}
    for path in files:
        for name, suffix, data in inputs_of(path, _further(progress, before)):
            pieces = decoding.as_bytes(data) if config.bytes else decoding.decoded(name, data, config.encoding)
            if name in named_files:  # what is found in folders may be empty
                pieces = _not_empty(name, pieces)
            if config.field is not None:
                pieces = records.gathered(records.records(name, suffix, pieces, config.field))
            elif config.split_documents is not None:
                pieces = parting.parted(pieces, _way(config))
            yield from pieces
        before += size(path)


def _not_empty(name: str, pieces: Iterator[str]) -> Iterator[str]:
    chars = 0
    for piece in pieces:
        chars += len(piece)
        yield piece
    if not chars:
        raise CorpusError(f"{name} is empty: give a text to read")


def _further(progress: Callable[[int], object], before: int) -> Callable[[int], object]:
    return lambda read: progress(before + read)


def _shuffled(text: Text, seed: int) -> Iterator[str]:
    """Yield the text with its documents in another order: many short ones at once, a long one in pieces."""
    marks, points = text.marks(), code_points(text.symbols)
    order = np.random.default_rng(seed).permutation(len(marks) - 1)
    lengths = np.diff(marks)
    ends = lengths[order].cumsum()
    begin = 0
    while begin < len(order):
        end = max(begin + 1, int(np.searchsorted(ends, (ends[begin - 1] if begin else 0) + CHUNK, side="right")))
        chosen = order[begin:end]
        sizes = lengths[chosen]
        if len(chosen) == 1:
            yield from text[marks[chosen[0]] : marks[chosen[0]] + sizes[0]].pieces()
        else:
            within = np.arange(sizes.sum()) - np.repeat(sizes.cumsum() - sizes, sizes)
            yield from_code_points(points[text.ids[np.repeat(marks[chosen], sizes) + within]])
        begin = end
    yield END

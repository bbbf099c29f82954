"""Read files or standard input into one text: find, decode, normalize and split them, then encode the characters."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from charrnn.config import TextConfig, default_of
from charrnn.data import cache
from charrnn.data.decoding import bytes_as_characters, decode_pieces
from charrnn.data.documents import drop_empty_documents, split_documents
from charrnn.data.files import describe_path, describe_paths, is_once, is_packed, list_files, open_inputs, size
from charrnn.data.normalize import normalize_pieces
from charrnn.data.records import join_pieces, read_records
from charrnn.data.text import CHUNK, END, Text, code_points, from_code_points, split_string
from charrnn.errors import MAY_PASS, CorpusError

#: Texts of this many bytes or more are cached; smaller ones fit into memory and are read in a fifth of a second.
CACHED_FROM = 32 << 20
_COMPRESSION = 10  # a text is rarely more than this many times the size of its compressed file
#: A function that gets the bytes read so far and the total, while a text is encoded for the cache.
ReadProgress = Callable[[int, int], object]


def read_text(
    *paths: str, config: TextConfig | None = None, shuffle_seed: int | None = None, reading: ReadProgress | None = None
) -> Text:
    """Read files, folders and globs ("-" is standard input) as one text, in this order.

    Line ends are kept. A large text is kept in the cache on disk, not in memory.
    config:       how the text is decoded, normalized and split into documents; if None, it is plain UTF-8
    shuffle_seed: if given, the documents are shuffled by this seed
    reading:      reports how much has been read
    Raises:   CorpusError if a file is missing, unreadable, empty, or not in the format that the config names;
              CharRNNError if the cache cannot be written.
    """
    config = config or TextConfig()
    files = list_files(paths)
    total = sum(map(size, files))
    unpacked = sum(size(file) * (_COMPRESSION if is_packed(file) else 1) for file in files)
    once = any(map(is_once, files))
    cached = not once and unpacked >= CACHED_FROM
    settings = {
        name: value for name, value in config.settings_that_decide("characters").items() if value != default_of(name)
    }
    if config.has_documents:  # named always: charrnn 0.2.0 cached texts by other rules without naming them
        settings["document_rules"] = config.document_rules

    def report(read: int) -> None:
        if reading and cached:
            reading(read, total)

    def encode(pieces: Callable[[], Iterator[str]], settings: dict[str, object]) -> Text:
        if not cached:
            return Text.gather(pieces())
        return cache.read_through(files, pieces, json.dumps(settings) if settings else "")

    try:
        text = encode(lambda: _read_pieces(paths, files, config, report), settings)
    except MemoryError:
        remedy = "write it to a file, which is not held in memory" if once else "give a shorter one"
        raise CorpusError(f"not enough memory for the text of {describe_paths(paths)}: {remedy}", MAY_PASS) from None
    if len(text) < (2 if config.has_documents else 1):
        raise CorpusError(f"{describe_paths(paths)} is empty: give a text to read")
    if shuffle_seed is None:
        return text
    return encode(lambda: _shuffle(text, shuffle_seed), settings | {"shuffled": shuffle_seed})


def text_of(text: str | Text, config: TextConfig, shuffle_seed: int | None = None) -> Text:
    """Return the text that `read_text` would return for a file with this string; return a `Text` unchanged.

    Raises:  CorpusError if it is neither, or if bytes are learned and the string has half a surrogate pair, which has
             no bytes.
    """
    if not isinstance(text, str):
        return Text.of(text)
    if config.bytes:
        try:
            text = text.encode("utf-8", "surrogateescape").decode("latin-1")
        except UnicodeEncodeError as error:
            raise CorpusError(f"half a surrogate pair at position {error.start} has no bytes: leave it out") from None
    pieces = split_string(text)
    if config.has_documents:
        pieces = split_documents(pieces, config)
    read = Text.gather(_finish(pieces, config))
    return read if shuffle_seed is None else Text.gather(_shuffle(read, shuffle_seed))


def _read_pieces(
    paths: Sequence[str], files: Sequence[str], config: TextConfig, report: Callable[[int], object]
) -> Iterator[str]:
    """Yield the text of all files.

    report: called with the bytes read so far
    """

    def report_from(before: int) -> Callable[[int], object]:
        return lambda read: report(before + read)

    def texts() -> Iterator[str]:
        before, required = 0, set(map(describe_path, paths))  # files found in a folder may be empty
        for path in files:
            for name, suffix, data in open_inputs(path, report_from(before)):
                pieces = bytes_as_characters(data) if config.bytes else decode_pieces(name, data, config.encoding)
                if name in required:
                    pieces = _refuse_empty(name, pieces)
                elif describe_path(path) not in required:
                    pieces = _mention_pattern(pieces)
                yield from _split(name, suffix, pieces, config)
            before += size(path)

    return _finish(texts(), config)


def _split(name: str, suffix: str, pieces: Iterator[str], config: TextConfig) -> Iterator[str]:
    """Return the text of one file, with marks around its documents if the settings split it."""
    if config.field is not None:
        return join_pieces(read_records(name, suffix, pieces, config))
    return split_documents(pieces, config) if config.has_documents else pieces


def _finish(pieces: Iterator[str], config: TextConfig) -> Iterator[str]:
    """Normalize the text and drop empty documents."""
    if config.normalize != "none" or config.lowercase:
        pieces = normalize_pieces(pieces, config.normalize, config.lowercase)
    return drop_empty_documents(pieces, config) if config.has_documents else pieces


def _refuse_empty(name: str, pieces: Iterator[str]) -> Iterator[str]:
    chars = 0
    for piece in pieces:
        chars += len(piece)
        yield piece
    if not chars:
        raise CorpusError(f"{name} is empty: give a text to read")


def _mention_pattern(pieces: Iterator[str]) -> Iterator[str]:
    """Add to an error about a file in a folder how to leave that file out."""
    try:
        yield from pieces
    except CorpusError as error:
        leave_out = "or leave it out: a pattern such as '**/*.txt' names text files alone"
        raise CorpusError(f"{error}; {leave_out}", error.exit_code) from None


def _shuffle(text: Text, seed: int) -> Iterator[str]:
    """Yield the documents of a text in random order: many short ones at once, a long one in pieces."""
    marks, points = text.marks(), code_points(text.symbols)
    order = np.random.default_rng(seed).permutation(len(marks) - 1)
    lengths = np.diff(marks)
    ends = lengths[order].cumsum()
    begin = 0
    while begin < len(order):
        end = max(begin + 1, int(np.searchsorted(ends, (ends[begin - 1] if begin else 0) + CHUNK, side="right")))
        batch = order[begin:end]
        sizes = lengths[batch]
        if len(batch) == 1:
            yield from text[marks[batch[0]] : marks[batch[0]] + sizes[0]].pieces()
        else:
            within = np.arange(sizes.sum()) - np.repeat(sizes.cumsum() - sizes, sizes)
            yield from_code_points(points[text.ids[np.repeat(marks[batch], sizes) + within]])
        begin = end
    yield END

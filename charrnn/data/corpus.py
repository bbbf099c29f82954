"""The corpus: text read from files or standard input, and parted into training, validation and test."""

from __future__ import annotations

import glob
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.config import STDIN, TextConfig, flag_of, usual
from charrnn.data import cache, decoding, escapes, normalize, records
from charrnn.data import documents as parting
from charrnn.data.files import describe, files_of, inputs_of, is_packed, size, stem
from charrnn.data.text import CHUNK, END, Text, code_points, from_code_points, pieces_of
from charrnn.errors import ConfigError, CorpusError, OtherTextError

#: Bytes from which on texts go through the cache: below, reading takes a fifth of a second and memory has room.
CACHED_FROM = 32 << 20
_USUAL_RATIO = 10  # of a text to what it is compressed to, at the most
#: What is called while a text is put into the cache, with the bytes that have been read and those there are.
Reading = Callable[[int, int], object]


@dataclass(frozen=True)
class Source:
    """Where a text came from, and its SHA-256; `path` is None for a text that was passed in, `also` those after it."""

    path: str | None
    sha256: str
    also: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """Return all paths, in their order."""
        return () if self.path is None else (self.path, *self.also)


@dataclass(frozen=True)
class Found:
    """What a corpus was read from: how many files, and their bytes as they are stored; 0 where these are not known."""

    files: int
    bytes: int

    @classmethod
    def at(cls, paths: Sequence[str]) -> Found:
        """Return what the paths name; of standard input nobody knows the bytes."""
        files = files_of(paths)
        return cls(len(files), 0 if STDIN in files else sum(map(size, files)))


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text in three parts, with the sources by which it can be found and recognised again.

    val         what models are chosen on; may be empty
    test        what nothing is chosen on; may be empty
    val_source  the file of the validation text, or None where it is a part of the corpus itself
    found       all files, that of the validation text too
    settings    by which it was read and split: fields of `TextConfig` by name, and the `seed` of a shuffle
    string      a string that `read_as` can read in another way; None for a text that is read for good
    """

    train: Text
    val: Text
    test: Text
    source: Source
    val_source: Source | None = None
    found: Found | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    string: str | None = field(default=None, repr=False)

    @property
    def wants_validation(self) -> bool:
        """Return whether the settings ask for a validation split, or a file of its own is one."""
        return bool(self.settings.get("val_fraction", 1)) and self.settings.get("val_documents") != 0

    @property
    def name(self) -> str:
        """Return the name of the corpus: that of its first file, without folder and suffix."""
        return self.name_of(self.source.path)

    @staticmethod
    def name_of(path: str | None) -> str:
        """Return the name of a corpus at this path: for a pattern, of the folder that it begins in."""
        if path is None or path == STDIN:
            return "text" if path is None else "stdin"
        whole = Path(os.path.abspath(path))
        plain = Path(*takewhile(lambda part: not glob.has_magic(part), whole.parts)) if not whole.exists() else whole
        return (plain.name if plain.is_dir() else stem(str(plain))) or "text"

    @classmethod
    def from_text(cls, text: str | Text, val_fraction: float = 0.1, test_fraction: float = 0.0) -> Corpus:
        """Return the corpus of a text in memory, split at these fractions.

        A string is taken unchanged until `read_as` reads it by other settings; a `Text` is taken as it is for good.
        """
        config, read = TextConfig(val_fraction=val_fraction, test_fraction=test_fraction), Text.of(text)
        source = Source(None, read.sha256)
        if isinstance(text, Text):
            return cls(*parts(read, config), source, settings=config.deciding("split"))
        fractions = {"val_fraction": val_fraction, "test_fraction": test_fraction}
        return cls(*parts(read, config), source, settings=fractions, string=text)

    def read_as(self, config: TextConfig, seed: int | None) -> Corpus:
        """Return the corpus that a file with this string would give under these settings; any other corpus unchanged.

        config: how it is read, shuffled and split, but for the fractions, which `from_text` chose
        seed:   of the shuffle
        Raises:  CorpusError where the string has no document to train on, or no bytes.
        """
        if self.string is None:
            return self
        config, seed = replace(config, **self.settings), seed or 0
        text = text_of(self.string, config)
        if config.has_documents and not text.documents:
            raise CorpusError("the text is empty: give a text to read")
        if config.shuffle_documents:
            text = Text.gather(_shuffled(text, seed))
        return Corpus(*parts(text, config), Source(None, text.sha256), settings=_settings(config, seed))

    @classmethod
    def read(
        cls,
        paths: str | Sequence[str],
        config: TextConfig | None = None,
        val_path: str | None = None,
        *,
        seed: int | None = None,
        learned: tuple[Source, Source | None] | None = None,
        reading: Reading | None = None,
    ) -> Corpus:
        """Return the corpus in files ("-": standard input), with the validation part from its end or another file.

        config:  how it is read, shuffled and split
        seed:    of the shuffle
        learned: what corpus and validation text have to be, where a model learned from them
        reading: as for `read_text`
        Raises:  CorpusError where a text cannot be read or has less than two characters, or all are the same;
                 OtherTextError where one is another.
        """
        config, seed = config or TextConfig(), seed or 0
        paths = (paths,) if isinstance(paths, str) else tuple(paths)
        shuffle_seed = seed if config.shuffle_documents else None
        text = read_text(*paths, config=config, shuffle_seed=shuffle_seed, reading=reading)
        name, source = named(paths), Source(paths[0], text.sha256, paths[1:])
        settings = _settings(config, seed)
        if learned:
            _recognise(source, learned[0])
        if len(text) < 2:
            raise CorpusError(f"{name} has one character: there is nothing to predict; give a longer text")
        if len(text.symbols) < 2:
            raise CorpusError(f"{name} repeats the one character {text.symbols!r}: there is nothing to learn")
        if val_path is None:
            return cls(*parts(text, config), source, found=Found.at(paths), settings=settings)
        val = read_text(val_path, config=config, reading=reading)
        val_source = Source(val_path, val.sha256)
        if learned:
            _recognise(val_source, learned[1])
        train, _, test = parts(text, replace(config, val_fraction=0.0, val_documents=None))
        for name in ("val_fraction", "val_documents"):  # which then part nothing
            del settings[name]
        return cls(train, val, test, source, val_source, Found.at([*paths, val_path]), settings)

    def agreed(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Return the settings of a run with those by which this text was read and parted.

        A checkpoint keeps them: with others, a run that goes on would train on what it validated before.
        Raises:  ConfigError where one contradicts.
        """
        for name, value in self.settings.items():
            if settings.get(name) is not None and settings[name] != value:
                raise ConfigError(
                    f"{flag_of(name)} {settings[name]} contradicts the corpus at hand, which was read with {value}: "
                    "leave it out, or read the corpus with it"
                )
        return settings | self.settings


def _settings(config: TextConfig, seed: int) -> dict[str, Any]:
    """Return the settings by which a text was read and split."""
    settings = config.deciding("characters") | config.deciding("split")
    return settings | {"seed": seed} if config.shuffle_documents else settings


def _recognise(source: Source, learned: Source | None) -> None:
    """Refuse a text that is not what was learned."""
    if learned is None or source.sha256 != learned.sha256:
        raise OtherTextError(
            f"{named(source.paths)} is not the text that the model was trained on (its SHA-256 differs): restore it; "
            "another text is scored by `charrnn eval TEXT`, and trained on with --init-from"
        )


def parts(text: Text, config: TextConfig) -> tuple[Text, Text, Text]:
    """Return the text in its three parts: between documents where it has any, with the marks around each.

    Raises:  CorpusError where no document is left to train on.
    """
    documents = text.documents
    if not documents:
        return split(text, config.val_fraction, config.test_fraction)
    val_share, test_share = Fraction(str(config.val_fraction)), Fraction(str(config.test_fraction))
    if config.test_documents is None:
        test_at = max(1, math.floor(documents * (1 - test_share)))
    else:
        test_at, test_share = documents - config.test_documents, Fraction(config.test_documents, documents)
    if config.val_documents is None:
        val_at = min(test_at, max(1, math.floor(documents * (1 - val_share - test_share))))
    else:
        val_at = test_at - config.val_documents
    if val_at < 1:
        raise CorpusError(
            f"of {documents:,} documents none are left to train on: lower --val-documents or --test-documents"
        )

    first = text.mark(val_at)
    second = text.mark(test_at) if test_at < documents else len(text) - 1
    val = text[first : second + 1] if val_at < test_at else text[:0]
    return text[: first + 1], val, text[second:] if test_at < documents else text[:0]


def split(text: Text, val_fraction: float, test_fraction: float = 0.0) -> tuple[Text, Text, Text]:
    """Return the first floor((1 - val_fraction - test_fraction) n) characters, what is validated, and the end.

    The end begins at floor((1 - test_fraction) n).
    """
    val, test = Fraction(str(val_fraction)), Fraction(str(test_fraction))
    val_at, test_at = (math.floor(len(text) * (1 - held_back)) for held_back in (val + test, test))
    return text[:val_at], text[val_at:test_at], text[test_at:]


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
    before = 0
    for path in files:
        for name, suffix, data in inputs_of(path, _further(progress, before)):
            pieces = decoding.as_bytes(data) if config.bytes else decoding.decoded(name, data, config.encoding)
            if name in map(describe, paths):  # what is found in folders may be empty
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

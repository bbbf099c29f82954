"""The corpus: a text, parted into training, validation and test, with the sources by which it is found again."""

from __future__ import annotations

import glob
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import takewhile
from pathlib import Path
from typing import Any

from charrnn.config import STDIN, TextConfig, flag_of
from charrnn.data.files import files_of, size, stem
from charrnn.data.reading import Reading, _shuffled, named, read_text, text_of
from charrnn.data.text import Text
from charrnn.errors import ConfigError, CorpusError, OtherTextError


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

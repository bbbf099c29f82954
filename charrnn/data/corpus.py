"""A corpus: a text split into training, validation and test, with the paths and hashes that identify it later."""

from __future__ import annotations

import codecs
import glob
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import takewhile
from pathlib import Path
from typing import Any

from charrnn.config import DOCUMENT_WAYS, TextConfig, flag_of
from charrnn.data.escapes import unescaped
from charrnn.data.files import describe_paths, find_files, is_once, lasting_path, size, stem
from charrnn.data.reading import ReadProgress, read_text, text_of
from charrnn.data.source import Source
from charrnn.data.text import Text
from charrnn.errors import ConfigError, CorpusError, OtherTextError

_CONTROLS = re.compile("[\x80-\x9f]")


@dataclass(frozen=True)
class InputSize:
    """The number of files that a corpus was read from and their size on disk in bytes; 0 if unknown."""

    files: int
    bytes: int

    @classmethod
    def of(cls, files: Sequence[str]) -> InputSize:
        """Return the size of these files; bytes are unknown if one can be read only once."""
        return cls(len(files), 0 if any(map(is_once, files)) else sum(map(size, files)))


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text in three splits, and where it came from.

    val         chooses the best model; may be empty
    test        is for the final evaluation only; may be empty
    val_source  the source of the validation split, if it has its own file
    input_size  the size of all files, including a validation file
    settings    how the text was read and split: fields of `TextConfig` by name, and the `seed` of a shuffle
    notes       sentences for the user about how it was read
    string      the string given to `from_text`, if `read_as` can still apply other settings to it
    """

    train: Text
    val: Text
    test: Text
    source: Source
    val_source: Source | None = None
    input_size: InputSize | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    string: str | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        path = "text in memory" if self.source.path is None else repr(self.source.path)
        sizes = f"{len(self.train):,} to train on, {len(self.val):,} to validate, {len(self.test):,} to test"
        return f"Corpus({path}: characters: {sizes})"

    @property
    def wants_validation(self) -> bool:
        """Return whether there should be a validation split, even if the text turned out too short for one."""
        return bool(self.settings.get("val_fraction", 1)) and self.settings.get("val_documents") != 0

    @property
    def name(self) -> str:
        """Return the name of the first file, without folder and suffix."""
        return self.name_of(self.source.path)

    @staticmethod
    def name_of(path: str | None) -> str:
        """Return the name of a corpus at this path; a glob is named after the folder that it searches."""
        if path is None or is_once(path):
            return "text" if path is None else "stdin"
        place = Path(os.path.abspath(path))
        if not place.exists():
            place = Path(*takewhile(lambda part: not glob.has_magic(part), place.parts))
        return (place.name if place.is_dir() else stem(str(place))) or "text"

    @classmethod
    def from_text(cls, text: str | Text, val_fraction: float = 0.1, test_fraction: float = 0.0) -> Corpus:
        """Make a corpus of a text in memory, with these shares for validation and test.

        A string is taken unchanged until `read_as` applies other settings; they do not apply to a `Text`.
        """
        config, read = TextConfig(val_fraction=val_fraction, test_fraction=test_fraction), Text.of(text)
        source = Source(None, read.sha256)
        if isinstance(text, Text):
            return cls(*split_text(read, config), source, settings=config.settings_that_decide("split"))
        fractions = {"val_fraction": val_fraction, "test_fraction": test_fraction}
        return cls(*split_text(read, config), source, settings=fractions, string=text)

    def read_as(self, config: TextConfig, seed: int | None) -> Corpus:
        """Read the string of `from_text` like a file with that text; return any other corpus unchanged.

        config: how it is read, shuffled and split; the fractions stay those of `from_text`
        seed:   the seed of the shuffle
        Raises:  CorpusError if the string has no documents, or half a surrogate pair where bytes are learned.
        """
        if self.string is None:
            return self
        config, seed = replace(config, **self.settings), seed or 0
        text = text_of(self.string, config, seed if config.shuffle_documents else None)
        if config.has_documents and not text.documents:
            raise CorpusError("the text is empty: give a text to read")
        return Corpus(*split_text(text, config), Source(None, text.sha256), settings=_settings_of(config, seed))

    @classmethod
    def read(
        cls,
        paths: str | Sequence[str],
        config: TextConfig | None = None,
        val_path: str | None = None,
        *,
        seed: int | None = None,
        learned: tuple[Source, Source | None] | None = None,
        reading: ReadProgress | None = None,
    ) -> Corpus:
        """Read a corpus from files ("-" is standard input); validation comes from its end or from another file.

        config:  how it is read, shuffled and split
        seed:    the seed of the shuffle
        learned: the sources of a model; the texts must be the ones that it was trained on
        reading: reports how much has been read, as in `read_text`
        Raises:  CorpusError if a text cannot be read, or has fewer than two different characters;
                 OtherTextError if a text is not the one that was learned.
        """
        config, seed = config or TextConfig(), seed or 0
        paths = (paths,) if isinstance(paths, str) else tuple(paths)
        found = find_files(paths if val_path is None else (*paths, val_path))
        input_size, notes = InputSize.of(found.files), found.notes
        path, *also = map(lasting_path, paths)
        shuffle_seed = seed if config.shuffle_documents else None
        text = read_text(*paths, config=config, shuffle_seed=shuffle_seed, reading=reading)
        source, settings = Source(path, text.sha256, tuple(also)), _settings_of(config, seed)
        if learned:
            _require_same_text(source, learned[0])
        _refuse_dull(text, describe_paths(paths))
        if config.separator is not None and text.documents <= 1:
            notes.append(_describe_missing_separator(config.separator, paths))
        if codecs.lookup(config.encoding).name == "iso8859-1" and (controls := _CONTROLS.search(text.symbols)):
            notes.append(_describe_control(controls[0], config.encoding))
        if val_path is None:
            return cls(*split_text(text, config), source, input_size=input_size, settings=settings, notes=notes)
        val = read_text(val_path, config=config, reading=reading)
        val_source = Source(lasting_path(val_path), val.sha256)
        if learned:
            _require_same_text(val_source, learned[1])
        train, _, test = split_text(text, replace(config, val_fraction=0.0, val_documents=None))
        for name in ("val_fraction", "val_documents"):  # the validation file takes their place
            del settings[name]
        return cls(train, val, test, source, val_source, input_size, settings, notes)

    def merge_settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Add the settings by which this text was read and split to the settings of a run.

        A checkpoint saves them: a resumed run that split the text otherwise would train on its validation split.
        Raises:  ConfigError if a setting contradicts them.
        """
        for name, value in self.settings.items():
            if settings.get(name) is not None and settings[name] != value:
                raise ConfigError(
                    f"{flag_of(name)} {settings[name]} contradicts the corpus at hand, which was read with {value}: "
                    "leave it out, or read the corpus with it"
                )
        return settings | self.settings


def _settings_of(config: TextConfig, seed: int) -> dict[str, Any]:
    """Return the settings by which a text is read and split."""
    settings = config.settings_that_decide("characters") | config.settings_that_decide("split")
    return settings | {"seed": seed} if config.shuffle_documents else settings


def _describe_missing_separator(separator: str, paths: Sequence[str]) -> str:
    """Return the note on a text that is a single document although a separator was given."""
    has_escapes = unescaped(separator) != separator
    hint = r"; \n, \t and \uXXXX in a separator are escapes, and \\ is a backslash" if has_escapes else ""
    if separator in DOCUMENT_WAYS:
        hint = f"; did you mean --split-documents {separator}?"
    return f"--separator {separator} splits {describe_paths(paths)} nowhere: it is one document{hint}"


def _describe_control(char: str, encoding: str) -> str:
    """Return the note on a character that only text in another encoding has."""
    return (
        f"--encoding {encoding} reads byte 0x{ord(char):x} as a control character; in cp1252 it is "
        f"{char.encode('latin-1').decode('cp1252', 'replace')}: to learn that, train with --encoding cp1252"
    )


def _refuse_dull(text: Text, name: str) -> None:
    if len(text) < 2:
        raise CorpusError(f"{name} has one character: there is nothing to predict; give a longer text")
    if len(text.symbols) < 2:
        raise CorpusError(f"{name} repeats the one character {text.symbols!r}: there is nothing to learn")


def _require_same_text(source: Source, learned: Source | None) -> None:
    """Refuse a text that is not the one that a model was trained on."""
    if learned is None or source.sha256 != learned.sha256:
        raise OtherTextError(
            f"{describe_paths(source.paths)} is not the text that the model was trained on (its SHA-256 differs): "
            "restore it; another text is scored by `charrnn eval TEXT`, and trained on with --init-from"
        )


def split_text(text: Text, config: TextConfig) -> tuple[Text, Text, Text]:
    """Split a text into training, validation and test: between documents, or by characters if it has none.

    Each split has marks around all its documents.
    Raises:  CorpusError if no document is left to train on.
    """
    documents = text.documents
    if not documents:
        return split_characters(text, config.val_fraction, config.test_fraction)
    val_at, test_at = _split_points(documents, config)
    if val_at < 1:
        raise CorpusError(
            f"of {documents:,} documents none are left to train on: lower --val-documents or --test-documents"
        )
    first = text.mark(val_at)
    second = text.mark(test_at) if test_at < documents else len(text) - 1
    val = text[first : second + 1] if val_at < test_at else text[:0]
    return text[: first + 1], val, text[second:] if test_at < documents else text[:0]


def _split_points(documents: int, config: TextConfig) -> tuple[int, int]:
    """Return the numbers of the first validation document and of the first test document."""
    val_share, test_share = Fraction(str(config.val_fraction)), Fraction(str(config.test_fraction))
    if config.test_documents is None:
        test_at = max(1, math.floor(documents * (1 - test_share)))
    else:
        test_at, test_share = documents - config.test_documents, Fraction(config.test_documents, documents)
    if config.val_documents is None:
        return min(test_at, max(1, math.floor(documents * (1 - val_share - test_share)))), test_at
    return test_at - config.val_documents, test_at


def split_characters(text: Text, val_fraction: float, test_fraction: float = 0.0) -> tuple[Text, Text, Text]:
    """Split a text of n characters: training has floor((1 - val_fraction - test_fraction) n) of them.

    The test split begins at floor((1 - test_fraction) n). The fractions are exact decimals.
    """
    val, test = Fraction(str(val_fraction)), Fraction(str(test_fraction))
    val_at, test_at = (math.floor(len(text) * (1 - share)) for share in (val + test, test))
    return text[:val_at], text[val_at:test_at], text[test_at:]

"""Labelled texts: read from lines, folders or records, and split into training, validation and test.

Where the labels are:
- two fields of .csv, .tsv or JSON Lines hold a text and its label
- in a folder with subfolders, each file below a subfolder is one text, and the subfolder's name its label
- in any other folder, each line of a file is one text, and the file's name without its suffix the label
- in any other file, and on standard input, each line is a label, a tab and a text
"""

from __future__ import annotations

import hashlib
import math
import os
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from charrnn.config import TextConfig
from charrnn.data.decoding import bytes_as_characters, decode_pieces
from charrnn.data.files import Input, describe_paths, find_files, list_files, open_inputs, stem
from charrnn.data.lines import complete_lines
from charrnn.data.normalize import normalize_text
from charrnn.data.records import Labelled, read_labelled
from charrnn.errors import ConfigError, CorpusError

_MOST_NAMED = 5  # labels in a note


class Example(NamedTuple):
    """A text and its label."""

    text: str
    label: str


class Examples(NamedTuple):
    """Labelled texts in the order of their files, repeated ones included, and notes for the user on reading them."""

    examples: list[Example]
    notes: list[str]


def read_examples(
    paths: Sequence[str], config: TextConfig, *, text_field: str | None = None, label_field: str | None = None
) -> Examples:
    """Read the labelled texts of files, folders and globs ("-" is standard input).

    Texts that are empty or white space are left out. Of bytes, those that are not UTF-8 become lone surrogates, which a
    vocabulary of bytes turns into these bytes again.
    config:                  how texts are decoded and normalized; labels are only decoded
    text_field, label_field: the fields of records that hold the text and its label; None for lines and folders
    Raises:  CorpusError, with file and line, if a label is missing or a file cannot be read; if there is no text;
             ConfigError if one field is given without the other.
    """
    fields = _both_fields(text_field, label_field)
    notes, examples, checked, empty = find_files(paths).notes, list[Example](), set[str](), 0
    changes = config.normalize != "none" or config.lowercase
    for name, found in chain.from_iterable(_read_path(path, config, fields, notes) for path in paths):
        for line, text, label in found:
            if label not in checked:
                checked.add(_check_label(label, name, line))
            if config.bytes:
                text = text.encode("latin-1").decode("utf-8", "surrogateescape")
            if changes:
                text = normalize_text(text, config.normalize, config.lowercase)
            if text and not text.isspace():
                examples.append(Example(text, sys.intern(label)))
            else:
                empty += 1
    if not examples:
        raise CorpusError(f"{describe_paths(paths)} has no text: give texts and their labels")
    if empty:
        notes.append("left out 1 empty text" if empty == 1 else f"left out {empty:,} empty texts")
    return Examples(examples, notes)


def _both_fields(text_field: str | None, label_field: str | None) -> tuple[str, str] | None:
    """Return the fields of records; None if neither is given."""
    if text_field is None and label_field is None:
        return None
    if text_field is None:
        raise ConfigError("--label-field needs --text-field: name the field that holds the text")
    if label_field is None:
        raise ConfigError("--text-field needs --label-field: name the field that holds the label")
    if text_field == label_field:
        raise ConfigError(f"--text-field and --label-field are both {text_field!r}: name two fields")
    return text_field, label_field


def _read_path(
    path: str, config: TextConfig, fields: tuple[str, str] | None, notes: list[str]
) -> Iterator[tuple[str, Iterable[Labelled]]]:
    """Yield the name and the labelled texts of each file at a path; read one to its end before you take the next."""
    files = list_files([path])
    if fields is None and os.path.isdir(path):
        yield from _read_folder(path, files, config, notes)
        return
    for source in _open(files):
        pieces = _decode(source, config)
        if fields is None:
            found = _read_lines(source.name, pieces)
        else:
            found = read_labelled(source.name, source.suffix, pieces, fields, config)
        yield source.name, map(_with_text_label, found) if config.bytes else found


def _read_folder(
    folder: str, files: Sequence[str], config: TextConfig, notes: list[str]
) -> Iterator[tuple[str, Iterable[Labelled]]]:
    """Yield the name and the labelled texts of each file in a folder."""
    within = {file: Path(file).relative_to(folder).parts for file in files}
    below = [file for file in files if len(within[file]) > 1]
    if below and (others := len(files) - len(below)):
        what = "1 file" if others == 1 else f"{others:,} files"
        notes.append(f"left out {what} directly in {folder}, since its subfolders are the labels")
    for file in below or files:
        label = within[file][0] if below else stem(file)
        for source in _open([file]):
            pieces = _decode(source, config)
            if below:
                yield source.name, [Labelled(1, "".join(pieces).rstrip("\r\n"), label)]
            else:
                numbered = enumerate(_lines(pieces), 1)
                yield source.name, (Labelled(number, line, label) for number, line in numbered if line)


def _read_lines(name: str, pieces: Iterable[str]) -> Iterator[Labelled]:
    """Yield the text and the label of each line that is not blank."""
    for number, line in enumerate(_lines(pieces), 1):
        label, tab, text = line.partition("\t")
        if tab:
            yield Labelled(number, text, label)
        elif line and not line.isspace():
            remedy = "write a label, a tab and a text, or name a folder with a file or a subfolder for each label"
            raise CorpusError(f"{name}, line {number:,} has no tab: {remedy}")


def _open(files: Iterable[str]) -> Iterator[Input]:
    return (source for file in files for source in open_inputs(file, lambda read: None))


def _decode(source: Input, config: TextConfig) -> Iterator[str]:
    if config.bytes:
        return bytes_as_characters(source.data)
    return decode_pieces(source.name, source.data, config.encoding)


def _lines(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a text without their ends."""
    return (line.rstrip("\r\n") for lines in complete_lines(pieces) for line in lines)


def _with_text_label(found: Labelled) -> Labelled:
    """Return a text of bytes with its label as characters, if it is UTF-8."""
    try:
        return found._replace(label=found.label.encode("latin-1").decode())
    except UnicodeError:
        return found


def _check_label(label: str, name: str, line: int) -> str:
    """Return a label; refuse one that is empty or would break a line of output."""
    if not label or label.isspace():
        raise CorpusError(f"{name}, line {line:,} has an empty label: write one, or leave the text out")
    if any(char in label for char in "\t\r\n"):
        raise CorpusError(f"{name}, line {line:,}: the label {label!r} has a tab or a line end: remove it")
    try:
        label.encode()
    except UnicodeEncodeError:  # the name of a file or folder
        raise CorpusError(f"{name}: the label {label!r} is not UTF-8: rename the file or folder") from None
    return label


def labels(examples: Iterable[Example]) -> tuple[str, ...]:
    """Return the labels of these examples, each once and sorted."""
    return tuple(sorted({example.label for example in examples}))


def sha256(examples: Iterable[Example]) -> str:
    """Return the SHA-256 of texts and labels in this order."""
    digest = hashlib.sha256()
    for text, label in examples:
        digest.update(f"{len(text)} {len(label)} {text}{label}".encode(errors="surrogateescape"))
    return digest.hexdigest()


def check_classes(examples: Sequence[Example]) -> list[str]:
    """Refuse examples that all have the same label; return notes on labels that have a single text.

    Raises:  CorpusError
    """
    counts = Counter(label for _, label in set(examples))
    if len(counts) == 1:
        what = "the only text has" if len(examples) == 1 else f"all {len(examples):,} texts have"
        raise CorpusError(f"{what} the label {next(iter(counts))!r}: give texts of two labels or more")
    single = sorted(label for label, count in counts.items() if count == 1)
    if not single:
        return []
    if len(single) == 1:
        return [f"label {single[0]!r} has a single text, which is in the training split"]
    return [f"{len(single):,} labels have a single text each, which is in the training split: {named_labels(single)}"]


def describe_unseen(
    examples: Iterable[Example], learned: Collection[str], lacking: str = "the training split lacks"
) -> str | None:
    """Return the note on examples whose labels are not among those learned; None if there are none.

    lacking: what lacks them, with its verb
    """
    unseen = Counter(example.label for example in examples if example.label not in learned)
    if not unseen:
        return None
    if unseen.total() == 1:
        return f"1 text has a label that {lacking}, and counts as an error: {named_labels([*unseen])}"
    return f"{unseen.total():,} texts have labels that {lacking}, and count as errors: {named_labels(sorted(unseen))}"


def named_labels(names: Sequence[str]) -> str:
    """Return the first labels of a list, as a note names them."""
    return ", ".join(map(repr, names[:_MOST_NAMED])) + (", …" if len(names) > _MOST_NAMED else "")


def split(
    examples: Sequence[Example], val_fraction: float, test_fraction: float, seed: int
) -> tuple[list[Example], list[Example], list[Example]]:
    """Split examples into training, validation and test by a shuffle of their distinct texts.

    All examples with the same text are in the same split, so no text is both learned and scored. The shares are of
    distinct texts, as `data.corpus.split_text` counts documents. Each label has a text in the training split, which
    is larger if it has to be. The order of the files makes no difference to which texts are in a split.
    Returns: three lists, each in the shuffled order
    """
    texts, numbers = sorted({text for text, _ in examples}), {label: at for at, label in enumerate(labels(examples))}
    ranks = dict(zip(texts, np.random.default_rng(seed).permutation(len(texts)).tolist(), strict=True))
    rank = np.array([ranks[text] for text, _ in examples])
    number = np.array([numbers[label] for _, label in examples])
    order = np.argsort(rank, kind="stable")
    _, first = np.unique(number[order], return_index=True)
    first = np.unique(rank[order[first]])
    rank[np.isin(rank, first)] -= len(texts)  # the first text with each label goes before all others
    order = np.argsort(rank, kind="stable")
    _, starts = np.unique(rank[order], return_index=True)  # of each text
    starts, ordered = np.append(starts, len(examples)), [examples[at] for at in order.tolist()]
    val, test = Fraction(str(val_fraction)), Fraction(str(test_fraction))
    val_at, test_at = (starts[max(len(first), math.floor(len(texts) * (1 - share)))] for share in (val + test, test))
    return ordered[:val_at], ordered[val_at:test_at], ordered[test_at:]

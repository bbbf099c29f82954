"""Records as documents: a column of .csv or .tsv, or a field of lines of JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator

from charrnn.data.text import CHUNK, END
from charrnn.errors import CorpusError

_SHOWN = 8  # columns or fields that an error names


def gathered(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the same text in pieces of CHUNK characters or more, the last one aside."""
    waiting, chars = [], 0
    for piece in pieces:
        waiting.append(piece)
        chars += len(piece)
        if chars >= CHUNK:
            yield "".join(waiting)
            waiting, chars = [], 0
    yield "".join(waiting)


def records(name: str, suffix: str, pieces: Iterable[str], field: str) -> Iterator[str]:
    """Yield a field of each record with marks around it: of .csv and .tsv by column, of all else as lines of JSON.

    Raises:  CorpusError, naming the line, for what is no record, or lacks the field.
    """
    values = _cells if suffix in (".csv", ".tsv") else _members
    for number, value in values(name, suffix, _lines(pieces), field):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise CorpusError(f"{name}, line {number:,}: {field!r} has half a surrogate pair: mend it") from None
        if "\0" in value:
            raise CorpusError(f"{name}, line {number:,}: {field!r} has a NUL character, as no text does: leave it out")
        yield f"{END}{value}{END}"


def _lines(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the lines of the text, with their ends."""
    waiting: list[str] = []
    for piece in pieces:
        *whole, rest = piece.split("\n")
        for line in whole:
            yield "".join([*waiting, line, "\n"])
            waiting = []
        waiting.append(rest)
    if last := "".join(waiting):
        yield last


def _cells(name: str, suffix: str, lines: Iterator[str], field: str) -> Iterator[tuple[int, str]]:
    csv.field_size_limit(2**31 - 1)  # the most that all systems take
    reader, begun = csv.reader(lines, delimiter="\t" if suffix == ".tsv" else ",", strict=True), 1
    try:
        columns = next(reader, [])
        if field not in columns:
            raise CorpusError(f"{name} has no column {field!r}: it has {_some(columns)}")
        if columns.count(field) > 1:
            raise CorpusError(f"{name} has {columns.count(field)} columns {field!r}: rename all but one")
        place, begun = columns.index(field), reader.line_num + 1
        for row in reader:
            if row and len(row) <= place:
                raise CorpusError(f"{name}, line {reader.line_num:,}: {len(row)} columns, so {field!r} is missing")
            if row:
                yield reader.line_num, row[place]
            begun = reader.line_num + 1
    except csv.Error as error:
        raise CorpusError(f"{name}, in the record that begins in line {begun:,}: {error}: mend its quotes") from None


def _members(name: str, suffix: str, lines: Iterator[str], field: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        where = f"{name}, line {number:,}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = str(error).splitlines()[0]
            raise CorpusError(f"{where} is no JSON ({reason}): mend it, or name a .csv or .tsv file") from None
        if not isinstance(record, dict) or field not in record:
            has = _some(record) if isinstance(record, dict) else f"a {type(record).__name__}, no object"
            raise CorpusError(f"{where} has no field {field!r}: it has {has}")
        if not isinstance(record[field], str):
            raise CorpusError(f"{where}: {field!r} is {type(record[field]).__name__}, no string")
        yield number, record[field]


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(map(repr, names[:_SHOWN])) + (", …" if len(names) > _SHOWN else "") if names else "none"

"""Read documents from records: one column of .csv or .tsv, or one field of JSON Lines."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Iterable, Iterator

from charrnn.data.text import CHUNK, END
from charrnn.errors import CorpusError

_MOST_NAMES = 8  # columns or fields that an error lists
_MOST_CHARS = 2**31 - 1  # of a cell: the largest limit that all systems take


def read_records(name: str, suffix: str, pieces: Iterable[str], field: str) -> Iterator[str]:
    """Yield one field of each record, with marks around it.

    name:   the name of the file in errors
    suffix: .csv and .tsv have columns; any other file has a JSON object in each line
    Raises: CorpusError, with the line, if a record is damaged or lacks the field.
    """
    values = _read_columns if suffix in (".csv", ".tsv") else _read_json_lines
    for number, value in values(name, suffix, _split_lines(pieces), field):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise CorpusError(f"{name}, line {number:,}: {field!r} has half a surrogate pair: mend it") from None
        if "\0" in value:
            raise CorpusError(f"{name}, line {number:,}: {field!r} has a NUL character, as no text does: leave it out")
        yield f"{END}{value}{END}"


def join_pieces(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the same text in pieces of at least CHUNK characters, except the last: few large ones are quicker."""
    waiting, chars = [], 0
    for piece in pieces:
        waiting.append(piece)
        chars += len(piece)
        if chars >= CHUNK:
            yield "".join(waiting)
            waiting, chars = [], 0
    yield "".join(waiting)


def _split_lines(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the lines of the text, with their ends."""
    waiting: list[str] = []
    for piece in pieces:
        *complete, rest = piece.split("\n")
        for line in complete:
            yield "".join([*waiting, line, "\n"])
            waiting = []
        waiting.append(rest)
    if last := "".join(waiting):
        yield last


def _read_columns(name: str, suffix: str, lines: Iterator[str], field: str) -> Iterator[tuple[int, str]]:
    """Yield a cell of each row with the number of its line."""
    rows = _read_rows(name, lines, "\t" if suffix == ".tsv" else ",")
    _, columns = next(rows, (0, []))
    if field not in columns:
        raise CorpusError(f"{name} has no column {field!r}: it has {_list_names(columns)}")
    if columns.count(field) > 1:
        raise CorpusError(f"{name} has {columns.count(field)} columns {field!r}: rename all but one")
    column = columns.index(field)
    for number, row in rows:
        if row and len(row) <= column:
            raise CorpusError(f"{name}, line {number:,}: {len(row)} columns, so {field!r} is missing")
        if row:
            yield number, row[column]


def _read_rows(name: str, lines: Iterator[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each row of .csv or .tsv with the number of its last line."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    last = 0
    while True:
        try:
            with _any_cell_size:
                row = next(reader, None)
        except csv.Error as error:
            raise CorpusError(
                f"{name}, in the record that begins in line {last + 1:,}: {error}: mend its quotes"
            ) from None
        if row is None:
            return
        last = reader.line_num
        yield last, row


class _AnyCellSize:
    """Within the context, the csv module takes cells of any size.

    Its limit belongs to the whole process, which may be another program's: it is raised only while a row is read, and
    restored when no thread reads one.
    """

    def __init__(self) -> None:
        self._lock, self._readers, self._limit = threading.Lock(), 0, 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._readers:
                self._limit = csv.field_size_limit(_MOST_CHARS)
            self._readers += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._readers -= 1
            if not self._readers:
                csv.field_size_limit(self._limit)


_any_cell_size = _AnyCellSize()


def _read_json_lines(name: str, suffix: str, lines: Iterator[str], field: str) -> Iterator[tuple[int, str]]:
    """Yield a field of each object with the number of its line."""
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
            has = _list_names(record) if isinstance(record, dict) else f"a {type(record).__name__}, no object"
            raise CorpusError(f"{where} has no field {field!r}: it has {has}")
        if not isinstance(record[field], str):
            raise CorpusError(f"{where}: {field!r} is {type(record[field]).__name__}, no string")
        yield number, record[field]


def _list_names(names: Iterable[str]) -> str:
    """Return the first names, quoted, for an error."""
    names = list(names)
    return ", ".join(map(repr, names[:_MOST_NAMES])) + (", …" if len(names) > _MOST_NAMES else "") if names else "none"

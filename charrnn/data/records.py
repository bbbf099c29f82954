"""Read documents from records: one column of .csv or .tsv, or one field of JSON Lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from charrnn.data.text import CHUNK, END
from charrnn.errors import CorpusError

_MOST_NAMES = 8  # columns or fields that an error lists


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
    reader = CsvReader(name, lines, "\t" if suffix == ".tsv" else ",")
    rows = iter(reader)
    columns = next(rows, [])
    if field not in columns:
        raise CorpusError(f"{name} has no column {field!r}: it has {_list_names(columns)}")
    if columns.count(field) > 1:
        raise CorpusError(f"{name} has {columns.count(field)} columns {field!r}: rename all but one")
    column = columns.index(field)
    for row in rows:
        if row and len(row) <= column:
            raise CorpusError(f"{name}, line {reader.line_num:,}: {len(row)} columns, so {field!r} is missing")
        if row:
            yield reader.line_num, row[column]


class CsvReader:
    """Reads the rows of .csv or .tsv as `csv.reader` with `strict=True` does, but without its limit on cells.

    That limit applies to the whole process, which may be another program.

    line_num  the lines read so far
    """

    def __init__(self, name: str, lines: Iterator[str], delimiter: str) -> None:
        self.name, self.delimiter = name, delimiter
        self.line_num = 0
        self._lines = lines
        self._first_line = 0  # where the current row begins

    def __iter__(self) -> Iterator[list[str]]:
        while line := self._next_line():
            self._first_line = self.line_num
            if '"' in line:
                yield self._row(line)
            else:
                yield self._bare(line).split(self.delimiter) if line.strip("\r\n") else []

    def _next_line(self) -> str:
        line = next(self._lines, "")
        self.line_num += bool(line)
        return line

    def _row(self, line: str) -> list[str]:
        """Return the cells of a row with quotes; it begins with this line and may continue in the next ones."""
        cells, at = list[str](), 0
        while True:
            if line.startswith('"', at):
                cell, line, at = self._quoted(line, at + 1)
            else:
                end = line.find(self.delimiter, at)
                cell = self._bare(line[at:end] if end >= 0 else line[at:])
                at += len(cell)
            cells.append(cell)
            if not line.startswith(self.delimiter, at):
                break
            at += 1
        if line[at : at + 1] not in ("", "\r", "\n"):
            raise self._error(f"{self.delimiter!r} expected after '\"'")
        self._bare(line[at:])
        return cells

    def _quoted(self, line: str, at: int) -> tuple[str, str, int]:
        """Return the cell after this opening quote, the line in which it ends, and the position of its end there."""
        parts = list[str]()
        while True:
            end = line.find('"', at)
            if end < 0:
                parts.append(line[at:])
                line, at = self._next_line(), 0
                if not line:
                    raise self._error("unexpected end of data")
            elif line.startswith('"', end + 1):
                parts.append(line[at : end + 1])
                at = end + 2
            else:
                parts.append(line[at:end])
                return "".join(parts), line, end + 1

    def _bare(self, text: str) -> str:
        """Return text that has no quotes without the line end after it; refuse a line end inside it."""
        text = text.rstrip("\r\n")
        if "\r" in text:
            raise self._error("new-line character seen in unquoted field")
        return text

    def _error(self, reason: str) -> CorpusError:
        first = self._first_line
        return CorpusError(f"{self.name}, in the record that begins in line {first:,}: {reason}: mend its quotes")


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

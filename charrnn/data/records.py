"""Read documents from records: one column of .csv or .tsv, or one field of JSON Lines.

A cell of .csv may be in double quotes, and then have delimiters and line ends. In .tsv a quote is a character like any
other, and a cell has neither tabs nor line ends; texts learned by charrnn 0.2.0 or earlier keep its rule, by which both
were quoted (`TextConfig.document_rules` 1).
"""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Iterable, Iterator
from itertools import chain

from charrnn.config import TextConfig
from charrnn.data.lines import complete_lines
from charrnn.data.text import CHUNK, END
from charrnn.errors import CorpusError

_MOST_NAMES = 8  # columns or fields that an error lists
_MOST_CHARS = 2**31 - 1  # of a cell: the largest limit that all systems take


def read_records(name: str, suffix: str, pieces: Iterable[str], config: TextConfig) -> Iterator[str]:
    """Yield the field of each record that the settings name, with marks around it.

    name:   the name of the file in errors
    suffix: .csv and .tsv have columns; any other file has a JSON object in each line
    Raises: CorpusError, with the line, if a record is damaged or lacks the field.
    """
    field, lines = config.field or "", chain.from_iterable(complete_lines(pieces))
    if suffix in (".csv", ".tsv"):
        values = _read_columns(name, suffix, lines, field, quoted=suffix == ".csv" or config.document_rules == 1)
    else:
        values = _read_json_lines(name, suffix, lines, field)
    for number, value in values:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise CorpusError(f"{name}, line {number:,}: {field!r} has half a surrogate pair: correct it") from None
        if "\0" in value:
            raise CorpusError(f"{name}, line {number:,}: {field!r} has a NUL character: remove it")
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


def _read_columns(
    name: str, suffix: str, lines: Iterator[str], field: str, *, quoted: bool
) -> Iterator[tuple[int, str]]:
    """Yield a cell of each row with the number of its line."""
    rows = _read_rows(name, lines, "\t" if suffix == ".tsv" else ",", quoted=quoted)
    _, columns = next(rows, (0, []))
    if field not in columns:
        raise CorpusError(f"{name} has no column {field!r}: it has {_list_names(columns)}")
    if columns.count(field) > 1:
        raise CorpusError(f"{name} has {columns.count(field)} columns {field!r}: rename all but one")
    column = columns.index(field)
    for number, row in rows:
        if row and len(row) <= column:
            cells = "1 cell" if len(row) == 1 else f"{len(row)} cells"
            raise CorpusError(f"{name}, line {number:,}: the row has {cells}, so {field!r} is missing: add it")
        if row:
            yield number, row[column]


def _read_rows(
    name: str, lines: Iterator[str], delimiter: str, *, quoted: bool = True
) -> Iterator[tuple[int, list[str]]]:
    """Yield each row of .csv or .tsv with the number of its last line."""
    reader = csv.reader(
        lines, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE, strict=True
    )
    last = 0
    while True:
        try:
            with _any_cell_size:
                row = next(reader, None)
        except csv.Error as error:
            raise CorpusError(
                f"{name}, in the record that begins in line {last + 1:,}: {error}: correct its quotes"
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
    """Yield a field of each object with the number of its line; null is an empty text."""
    begun = False
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        where = f"{name}, line {number:,}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            if not begun and getattr(error, "pos", 0) >= len(line.rstrip()):  # the value continues in the next line
                raise _not_json_lines(name, line) from None
            reason = str(error).splitlines()[0]
            raise CorpusError(f"{where} is not JSON ({reason}): correct it, or name a .csv or .tsv file") from None
        if isinstance(record, list) and not begun:
            raise _not_json_lines(name, line)
        if not isinstance(record, dict) or field not in record:
            has = _list_names(record) if isinstance(record, dict) else f"{_JSON_TYPES[type(record)]}, not an object"
            raise CorpusError(f"{where} has no field {field!r}: it has {has}")
        value, begun = record[field], True
        if not isinstance(value, str | None):
            raise CorpusError(f"{where}: {field!r} is {_JSON_TYPES[type(value)]}, not a string: {_AS_STRINGS}")
        yield number, value or ""


_JSON_TYPES = {
    dict: "an object",
    list: "an array",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
    str: "a string",
}
_AS_STRINGS = "make all values of the field strings or null"


def _not_json_lines(name: str, beginning: str) -> CorpusError:
    """Return the error for a file that begins as an array, or as an object of several lines."""
    what, program = ("a JSON array", ".[]") if beginning.lstrip().startswith("[") else ("JSON of several lines", ".")
    return CorpusError(
        f"{name} is {what}, but each line must be one object: convert it with `jq -c '{program}' FILE > FILE.jsonl`"
    )


def _list_names(names: Iterable[str]) -> str:
    """Return the first names, quoted, for an error."""
    names = list(names)
    return ", ".join(map(repr, names[:_MOST_NAMES])) + (", …" if len(names) > _MOST_NAMES else "") if names else "none"

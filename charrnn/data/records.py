"""Read records, one column of .csv or .tsv or one field of JSON Lines, and add fields to them.

A cell of .csv may be in double quotes, and then have delimiters and line ends. In .tsv a quote is a character like any
other, and a cell has neither tabs nor line ends; texts learned by charrnn 0.2.0 or earlier keep its rule, by which both
were quoted (`TextConfig.document_rules` 1).
"""

from __future__ import annotations

import codecs
import csv
import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import StringIO
from itertools import chain
from typing import Any, NamedTuple

from charrnn.config import TextConfig
from charrnn.data.kinds import fill_in
from charrnn.data.lines import complete_lines
from charrnn.data.text import CHUNK, END
from charrnn.errors import CorpusError

_JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
_MOST_NAMES = 8  # columns or fields that an error lists
#: What to do about a file with a single column whose name has the delimiter of another format.
_OTHER_DELIMITERS = {
    ";": "export it with commas, not semicolons",
    "\t": "let its name end in .tsv, as its cells are separated by tabs",
    ",": "let its name end in .csv, as its cells are separated by commas",
}
_MOST_CHARS = 2**31 - 1  # of a cell: the largest limit that all systems take


def read_records(name: str, suffix: str, pieces: Iterable[str], config: TextConfig) -> Iterator[str]:
    """Yield the field of each record that the settings name, with marks around it.

    name:   the name of the file in errors
    suffix: .csv and .tsv have columns; any other file has a JSON object in each line
    Raises: CorpusError, with the line, if a record is damaged or lacks the field.
    """
    field = config.field or ""
    for number, (value,) in _read_fields(name, suffix, pieces, (field,), config):
        yield f"{END}{_legible(_text_of(value, name, number, field), name, number, field)}{END}"


class Labelled(NamedTuple):
    """A text and its label, and the line where the record ends."""

    line: int
    text: str
    label: str


def read_labelled(
    name: str, suffix: str, pieces: Iterable[str], fields: tuple[str, str], config: TextConfig
) -> Iterator[Labelled]:
    """Yield two fields of each record: its text and its label; a number or a boolean of JSON becomes its JSON text.

    name:   the name of the file in errors
    suffix: as for `read_records`
    fields: the names of the field with the text, and of the one with the label
    Raises: CorpusError, with the line, if a record is damaged, lacks a field, or has null for its label.
    """
    text_field, label_field = fields
    for number, (text, label) in _read_fields(name, suffix, pieces, fields, config):
        if isinstance(label, bool | int | float):
            label = json.dumps(label)
        if not isinstance(label, str):
            raise _wrong_type(name, number, label_field, label, "give each record a label, or leave it out")
        text = _legible(_text_of(text, name, number, text_field), name, number, text_field)
        yield Labelled(number, text, _legible(label, name, number, label_field))


def _text_of(value: object, name: str, number: int, field: str) -> str:
    """Return the text in a field; null is an empty one."""
    if not isinstance(value, str | None):
        raise _wrong_type(name, number, field, value, "make all values of the field strings or null")
    return value or ""


def _wrong_type(name: str, number: int, field: str, value: object, remedy: str) -> CorpusError:
    """Return the error for a value of JSON that is not a string."""
    return CorpusError(f"{name}, line {number:,}: {field!r} is {_JSON_TYPES[type(value)]}, not a string: {remedy}")


def _legible(value: str, name: str, number: int, field: str) -> str:
    """Return the value of a field; refuse characters that no text has."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise CorpusError(f"{name}, line {number:,}: {field!r} has half a surrogate pair: correct it") from None
    if "\0" in value:
        raise CorpusError(f"{name}, line {number:,}: {field!r} has a NUL character: remove it")
    return value


def _read_fields(
    name: str, suffix: str, pieces: Iterable[str], fields: Sequence[str], config: TextConfig
) -> Iterator[tuple[int, list[Any]]]:
    """Yield these fields of each record with the number of its line: strings, or values of JSON."""
    lines = chain.from_iterable(complete_lines(pieces))
    if suffix in (".csv", ".tsv"):
        return _read_columns(name, suffix, lines, fields, quoted=suffix == ".csv" or config.document_rules == 1)
    return _read_json_lines(name, suffix, lines, fields)


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
    name: str, suffix: str, lines: Iterator[str], fields: Sequence[str], *, quoted: bool
) -> Iterator[tuple[int, list[str]]]:
    """Yield these cells of each row with the number of its line."""
    rows = _read_rows(name, lines, "\t" if suffix == ".tsv" else ",", quoted=quoted)
    _, columns = next(rows, (0, []))
    places = [_find_column(name, columns, field) for field in fields]
    last = max(places)
    for number, row in rows:
        if row and len(row) <= last:
            cells = "1 cell" if len(row) == 1 else f"{len(row)} cells"
            raise CorpusError(f"{name}, line {number:,}: the row has {cells}, so {columns[last]!r} is missing: add it")
        if row:
            yield number, [row[place] for place in places]


def _find_column(name: str, columns: list[str], field: str) -> int:
    """Return the index of the column with this name; refuse a file that has none, or several."""
    if field not in columns:
        hints = [hint for mark, hint in _OTHER_DELIMITERS.items() if len(columns) == 1 and mark in columns[0]]
        raise CorpusError("; ".join([f"{name} has no column {field!r}: it has {_list_names(columns)}", *hints[:1]]))
    if columns.count(field) > 1:
        raise CorpusError(f"{name} has {columns.count(field)} columns {field!r}: rename all but one")
    return columns.index(field)


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


def _read_json_lines(
    name: str, suffix: str, lines: Iterator[str], fields: Sequence[str]
) -> Iterator[tuple[int, list[Any]]]:
    """Yield these fields of each object with the number of its line."""
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
            remedy = (
                "correct it" if suffix in _JSON_SUFFIXES else "leave out --field, or name a .csv, .tsv or .jsonl file"
            )
            raise CorpusError(f"{where} is not JSON ({reason}): {remedy}") from None
        if isinstance(record, list) and not begun:
            raise _not_json_lines(name, line)
        if not isinstance(record, dict) or (lacks := [field for field in fields if field not in record]):
            field = lacks[0] if isinstance(record, dict) else fields[0]
            has = _list_names(record) if isinstance(record, dict) else f"{_JSON_TYPES[type(record)]}, not an object"
            raise CorpusError(f"{where} has no field {field!r}: it has {has}")
        begun = True
        yield number, [record[field] for field in fields]


_JSON_TYPES = {
    dict: "an object",
    list: "an array",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
    str: "a string",
}


def _not_json_lines(name: str, beginning: str) -> CorpusError:
    """Return the error for a file that begins as an array, or as an object of several lines."""
    what, program = ("a JSON array", ".[]") if beginning.lstrip().startswith("[") else ("JSON of several lines", ".")
    command = fill_in(f"jq -c '{program}' FILE > FILE.jsonl", name)
    return CorpusError(f"{name} is {what}, but each line must be one object: convert it with `{command}`")


def _list_names(names: Iterable[str]) -> str:
    """Return the first names, quoted, for an error."""
    names = list(names)
    return ", ".join(map(repr, names[:_MOST_NAMES])) + (", …" if len(names) > _MOST_NAMES else "") if names else "none"


class Record(NamedTuple):
    """A record as it is in its file.

    value   the text of the field
    text    all of the record, with its line end
    format  how more fields are added to it
    lacks   cells that a row is short of
    """

    value: str
    text: str
    format: Format
    lacks: int = 0


class Format(NamedTuple):
    """The format of a file of records.

    delimiter  between cells; None: a JSON object in each line
    header     the row with the names of the columns, with its line end
    columns    those names; empty for JSON Lines
    """

    delimiter: str | None = None
    header: str = ""
    columns: tuple[str, ...] = ()

    def named(self, more: Sequence[str]) -> str:
        """Return the header with more columns."""
        if self.delimiter is None:
            return ""
        _refuse_twice(more, self.columns)
        return self._extended(self.header, more)

    def extended(self, record: Record, more: Mapping[str, Any]) -> str:
        """Return a record with more fields; its own are unchanged, to the last character."""
        if self.delimiter is not None:
            return self._extended(record.text, [*[""] * record.lacks, *more.values()])
        if any(f'"{name}"' in record.text for name in more):
            _refuse_twice(more, json.loads(record.text))
        before, _, end = record.text.rpartition("}")
        return f"{before.rstrip()}, {json.dumps(more, ensure_ascii=False)[1:]}{end}"

    def _extended(self, row: str, cells: Sequence[Any]) -> str:
        text, written = row.rstrip("\r\n"), StringIO()
        if self.delimiter == "\t":  # where a quote is a character like any other
            written.write("\t".join(map(str, cells)))
        else:
            csv.writer(written, lineterminator="").writerow(cells)
        return f"{text}{self.delimiter}{written.getvalue()}{row[len(text) :]}"


def _refuse_twice(more: Iterable[str], has: Iterable[str]) -> None:
    """Raise CorpusError if a record has a field already that is to be added."""
    if both := [name for name in more if name in has]:
        raise CorpusError(f"the records have a field {both[0]!r} already: rename it")


def open_records(
    name: str, suffix: str, data: Iterable[bytes], field: str, encoding: str
) -> tuple[Format, Iterator[Record]]:
    """Return the format of a file and its records; bytes that are not in the encoding become lone surrogates.

    name:   the name of the file in errors
    suffix: as for `read_records`
    Raises: CorpusError, with the line, if a record is damaged or lacks the field.
    """
    pieces = _without_mark(codecs.iterdecode(data, encoding, "surrogateescape"))
    lines = chain.from_iterable(complete_lines(pieces))
    if suffix not in (".csv", ".tsv"):
        return Format(), _json_records(name, suffix, lines, field)
    delimiter, taken = "\t" if suffix == ".tsv" else ",", _Taken(lines)
    rows = _read_rows(name, taken, delimiter, quoted=suffix == ".csv")
    _, columns = next(rows, (0, []))
    column = _find_column(name, columns, field)
    format = Format(delimiter, taken.give(), tuple(columns))

    def records() -> Iterator[Record]:
        for number, row in rows:
            text = taken.give()
            if len(row) > len(columns) or 0 < len(row) <= column:
                cells = f"the row has {len(row)} cells, but the header has {len(columns)}"
                raise CorpusError(f"{name}, line {number:,}: {cells}: correct it")
            if row:
                yield Record(row[column], text, format, len(columns) - len(row))

    return format, records()


def _json_records(name: str, suffix: str, lines: Iterator[str], field: str) -> Iterator[Record]:
    taken, format = _Taken(lines), Format()
    for number, (value,) in _read_json_lines(name, suffix, taken, (field,)):
        yield Record(_text_of(value, name, number, field), taken.give().lstrip(), format)


def _without_mark(pieces: Iterator[str]) -> Iterator[str]:
    """Yield the text without a byte order mark at its beginning."""
    first = next(filter(None, pieces), "")
    return chain([first.removeprefix("\ufeff")], pieces)


class _Taken:
    """Passes lines on, and remembers those that were taken since it was last asked; not blank ones before them."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines, self._taken, self._end = lines, list[str](), "\n"

    def __iter__(self) -> _Taken:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        if self._taken or line.strip("\r\n"):
            self._taken.append(line)
        return line

    def give(self) -> str:
        """Return the text of the lines taken since the last call; a last line without an end gets that of the rest."""
        text = "".join(self._taken)
        self._taken.clear()
        if not text.endswith(("\n", "\r")):
            return text + self._end
        self._end = "\r\n" if text.endswith("\r\n") else text[-1]
        return text

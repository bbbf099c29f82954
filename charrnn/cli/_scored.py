"""Lines and records with what a model makes of each, and what filters print for them. Imports no NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from charrnn.cli._lines import json_line

if TYPE_CHECKING:
    from charrnn.data.items import Item
    from charrnn.data.records import Format
    from charrnn.evaluation.scoring import Scored

#: Where a row of `score` has the value of each column.
_COLUMNS = {
    "line": "item.line",
    "model": "model",
    "margin": "margin",
    "bpc": "scored.bpc",
    "logprob": "scored.logprob",
    "chars": "scored.chars",
    "unknown": "scored.unknown",
    "text": "scored.text",
    "bits": "scored.bits",
}
#: How a number is printed that is not whole.
_FORMS = dict.fromkeys(("bpc", "logprob", "margin", "probability"), "%.6f")
_LISTS = {"bits", "contributions"}  # columns with a number for each character
_DIGITS = "0123456789"  # the columns of several predictions are numbered

R = TypeVar("R", bound="HasItem")


class HasItem(Protocol):
    """A row: an item with what a model makes of it."""

    @property
    def item(self) -> Item:
        """Return the line or the record."""
        ...


class Row(NamedTuple):
    """An item with its score.

    model, margin  the best of several models, and its margin over the second best; None if there is one model only
    """

    item: Item
    scored: Scored
    model: str | None = None
    margin: float | None = None


@dataclass(frozen=True)
class Printer(Generic[R]):
    """Turns rows into the bytes to print.

    columns    the names of the values to show
    values     returns those of a row, two or more
    unchanged  show lines and records as they are in the input
    as_json    show JSON objects
    encoding   of the input
    """

    columns: Sequence[str]
    values: Callable[[R], tuple[Any, ...]]
    unchanged: bool
    as_json: bool
    encoding: str

    def header(self, format: Format | None) -> bytes:
        """Return the first line: the names of the columns; none for JSON Lines."""
        if format is None:
            return "\t".join([*self.columns, "text\n"]).encode()
        names = format.header if self.unchanged else format.named(self.columns)
        return names.encode(self.encoding, "surrogateescape")

    def show(self, row: R) -> bytes:
        """Return a line or a record, unchanged or with its values."""
        line: Any = row.item.text
        if row.item.record is not None:
            return self._record(row).encode(self.encoding, "surrogateescape")
        if self.as_json:
            return json_line(dict(zip(self.columns, self.values(row), strict=True)))
        if self.unchanged:
            return bytes(line) + b"\n"
        return self._cells(self.values(row)).encode() + b"\t" + bytes(line) + b"\n"

    @cached_property
    def _form(self) -> str:
        """Return the format of a row's cells if none is None."""
        return "\t".join(_FORMS.get(name.rstrip(_DIGITS), "%s") for name in self.columns)

    def _cells(self, values: tuple[Any, ...]) -> str:
        """Return the values as cells, with tabs between them."""
        if not _LISTS.intersection(self.columns):
            try:  # half the time of the cells one by one
                return self._form % values
            except TypeError:  # a value is None
                pass
        return "\t".join(map(_cell, values))

    def _record(self, row: R) -> str:
        record = row.item.record
        assert record is not None
        if self.unchanged:
            return record.text
        values = self.values(row) if record.format.delimiter is None else map(_cell, self.values(row))
        return record.format.extended(record, dict(zip(self.columns, values, strict=True)))


def printer_of(
    *, encoding: str, numbered: bool, several: bool, per_char: bool, unchanged: bool, as_json: bool
) -> Printer[Row]:
    """Return the printer that shows these columns beside the scores.

    numbered  the number of each line
    several   the best model and its margin
    per_char  the bits of each character
    """
    columns = ["bpc", "logprob", "chars", "unknown", *["text"] * as_json, *["bits"] * per_char]
    columns = [*["line"] * numbered, *["model", "margin"] * several, *columns]
    return Printer(columns, attrgetter(*map(_COLUMNS.__getitem__, columns)), unchanged, as_json, encoding)


def _cell(value: Any) -> str:
    """Return a value as a cell of a table; an empty one for None."""
    if type(value) is float:
        return f"{value:.6f}"
    if isinstance(value, tuple):
        return ",".join(map(_cell, value))
    return "" if value is None else str(value)

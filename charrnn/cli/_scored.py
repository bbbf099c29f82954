"""Lines and records with their scores, and what `charrnn score` prints for them. Imports no NumPy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from charrnn.data.items import Item
    from charrnn.data.records import Format
    from charrnn.evaluation.scoring import Scored

#: Where a row has the value of each column.
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
_FORMS = dict.fromkeys(("bpc", "logprob", "margin"), "%.6f")


class Row(NamedTuple):
    """An item with its score.

    model, margin  the best of several models, and its margin over the second best; None if there is one model only
    """

    item: Item
    scored: Scored
    model: str | None = None
    margin: float | None = None


@dataclass(frozen=True)
class Printer:
    """Turns rows into the bytes to print.

    columns    the names of the scores to show, of `_COLUMNS`
    unchanged  show lines and records as they are in the input
    as_json    show JSON objects
    encoding   of the input
    """

    columns: Sequence[str]
    unchanged: bool
    as_json: bool
    encoding: str

    @classmethod
    def of(
        cls, *, encoding: str, numbered: bool, several: bool, per_char: bool, unchanged: bool, as_json: bool
    ) -> Printer:
        """Return the printer that shows these columns beside the scores.

        numbered  the number of each line
        several   the best model and its margin
        per_char  the bits of each character
        """
        columns = ["bpc", "logprob", "chars", "unknown", *["text"] * as_json, *["bits"] * per_char]
        return cls([*["line"] * numbered, *["model", "margin"] * several, *columns], unchanged, as_json, encoding)

    @cached_property
    def _values(self) -> Any:
        """Return the function that returns the values of a row's columns."""
        return attrgetter(*map(_COLUMNS.__getitem__, self.columns))

    def header(self, format: Format | None) -> bytes:
        """Return the first line: the names of the columns; none for JSON Lines."""
        if format is None:
            return "\t".join([*self.columns, "text\n"]).encode()
        names = format.header if self.unchanged else format.named(self.columns)
        return names.encode(self.encoding, "surrogateescape")

    def show(self, row: Row) -> bytes:
        """Return a line or a record, unchanged or with its scores."""
        line: Any = row.item.text
        if row.item.record is not None:
            return self._record(row).encode(self.encoding, "surrogateescape")
        if self.as_json:
            values = dict(zip(self.columns, self._values(row), strict=True))
            return json.dumps(values, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        if self.unchanged:
            return bytes(line) + b"\n"
        return self._cells(self._values(row)).encode() + b"\t" + bytes(line) + b"\n"

    @cached_property
    def _form(self) -> str:
        """Return the format of a row's cells if none is None."""
        return "\t".join(_FORMS.get(name, "%s") for name in self.columns)

    def _cells(self, values: tuple[Any, ...]) -> str:
        """Return the values as cells, with tabs between them."""
        if "bits" not in self.columns:
            try:  # half the time of the cells one by one
                return self._form % values
            except TypeError:  # a score is None
                pass
        return "\t".join(map(_cell, values))

    def _record(self, row: Row) -> str:
        record = row.item.record
        assert record is not None
        if self.unchanged:
            return record.text
        values = self._values(row) if record.format.delimiter is None else map(_cell, self._values(row))
        return record.format.extended(record, dict(zip(self.columns, values, strict=True)))


def _cell(value: Any) -> str:
    """Return a score as a cell of a table; an empty one for None."""
    if type(value) is float:
        return f"{value:.6f}"
    if isinstance(value, tuple):
        return ",".join(map(_cell, value))
    return "" if value is None else str(value)

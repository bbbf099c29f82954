"""The items of an input that are scored one by one: its lines, or a field of each of its records."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import NamedTuple

from charrnn.data.decoding import line_decoder, line_encoding
from charrnn.data.files import Input, describe_path, is_once, is_packed, list_files, open_inputs, size
from charrnn.data.kinds import texts_only
from charrnn.data.lines import follow_lines, read_lines
from charrnn.data.records import Format, Record, open_records
from charrnn.data.vocab import Vocab
from charrnn.errors import ConfigError, CorpusError


class Item(NamedTuple):
    """A line, or a record.

    line    its number in all of the input, from 1
    text    a line in bytes, without its end; of a record, the field
    record  None for a line
    """

    line: int
    text: str | bytes
    record: Record | None = None


def text_reader(encoding: str, vocab: Vocab) -> Callable[[str | bytes], str]:
    """Return a function that returns the text of an item as a model with this vocabulary reads it.

    encoding: of the model's corpus
    """
    decode = line_decoder(encoding, vocab.symbols if vocab.kind == "chars" else "\ufeff\r")
    return lambda text: decode(text) if isinstance(text, bytes) else text


@dataclass(frozen=True)
class Items:
    """The lines or records of files, or of one file that grows.

    paths     files, folders, globs and "-"
    field     of a record: a column of .csv or .tsv, or a field of JSON Lines; None for lines
    encoding  of the model's corpus
    follow    wait for more lines at the end of the file
    any_kind  read pictures, programs and the like too, as for a model of bytes
    """

    paths: Sequence[str]
    field: str | None
    encoding: str
    follow: bool = False
    any_kind: bool = False

    def open(self) -> tuple[Format | None, Iterator[list[Item]]]:
        """Return the format of records, and an iterator of items, as many at a time as have arrived.

        Raises:  CorpusError if a file cannot be read, or records are damaged or of different formats.
        """
        if self.field is None:
            return None, self._lines()
        opened = (
            (
                source.name,
                *open_records(source.name, source.suffix, source.data, self.field, line_encoding(self.encoding)),
            )
            for source in self._inputs()
        )
        first, format, records = next(opened)

        def following() -> Iterator[Record]:
            for name, other, more in opened:
                if (other.delimiter, other.columns) != (format.delimiter, format.columns):
                    raise CorpusError(f"{name} has other columns than {first}: score them one at a time")
                yield from more

        numbers = count(1)
        return format, ([Item(next(numbers), record.value, record)] for record in chain(records, following()))

    def count(self) -> int:
        """Return how many items there are; the files are read for it, and can then be read again.

        Raises:  ConfigError if one of them can be read only once.
        """
        for path in list_files(self.paths):
            if is_once(path):
                raise ConfigError(
                    f"--shard reads its input twice, so it takes files, not {describe_path(path)}: name a file"
                )
        return sum(map(len, self.open()[1]))

    @property
    def size(self) -> int | None:
        """Return the bytes of all files; None if unknown, since one is packed or no regular file."""
        files = list_files(self.paths)
        regular = not any(is_once(path) or is_packed(path) for path in files)
        return sum(map(size, files)) if regular else None

    def _lines(self) -> Iterator[list[Item]]:
        numbers = count(1)
        pieces = follow_lines(self.paths[0]) if self.follow else read_lines(self.paths, any_kind=self.any_kind)
        return ([Item(next(numbers), line) for line in lines] for lines in pieces)

    def _inputs(self) -> Iterator[Input]:
        if self.follow:
            data = (b"".join(line + b"\n" for line in lines) for lines in follow_lines(self.paths[0]))
            yield Input(self.paths[0], os.path.splitext(self.paths[0])[1].lower(), data)
            return
        for path in list_files(self.paths):
            for source in open_inputs(path, lambda read: None):
                yield source._replace(data=texts_only(source.name, source.data))

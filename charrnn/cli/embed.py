"""`charrnn embed`: a vector for each line of a text, or the lines of a file that are nearest to it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli._command import Conflict, SectionedCommand, complete_files, section
from charrnn.cli._lines import check_texts, growing_options, is_typed, json_line, open_items
from charrnn.cli._options import model_option, options_of, threads_option
from charrnn.cli._types import WholeNumber
from charrnn.config import STDIN
from charrnn.embedding.settings import EmbedConfig
from charrnn.errors import ConfigError, CorpusError

if TYPE_CHECKING:
    from charrnn.api import LanguageModel
    from charrnn.arrays import Array
    from charrnn.data.items import Item, Items
    from charrnn.data.records import Format
    from charrnn.embedding.nearest import Nearest

_TOP = 5  # nearest lines by default

_records, _output, _nearest = section("Input"), section("Output"), section("Nearest lines")


@click.command(
    cls=SectionedCommand,
    conflicts=(
        Conflict("--out writes vectors alone: leave out --json", ("out", "as_json")),
        Conflict("--out writes vectors, and --nearest prints lines: leave out one", ("out", "nearest")),
        Conflict(
            "--field adds the vectors to the records: leave out --json",
            ("field", "as_json", "!nearest"),
        ),
        *(
            Conflict(f"--out writes a file of all lines: leave out --{name.replace('_', '-')}", ("out", name))
            for name in ("follow", "line_buffered")
        ),
        Conflict("--top limits the lines of --nearest: give that too", ("top", "!nearest")),
    ),
)
@click.argument("texts", metavar="[FILE]...", nargs=-1, shell_complete=complete_files)
@model_option
@options_of(EmbedConfig, "layer", "pooling")
@threads_option("Vectors")
@_records("--field", metavar="NAME", help="Embed this .csv or .tsv column, or JSON Lines field.")
@_output("--json", "as_json", is_flag=True, help="Print each line as a JSON object, with number and vector.")
@_output("--out", metavar="FILE.npy", shell_complete=complete_files, help="Write a NumPy array (lines, numbers).")
@_nearest(
    "--nearest", metavar="FILE", shell_complete=complete_files, help="Print the most similar lines of FILE instead."
)
@_nearest("--top", type=WholeNumber(1), metavar="K", help=f"Lines of FILE for each line. [default: {_TOP}]")
@growing_options
def command(
    texts: tuple[str, ...],
    model_path: str | None,
    threads: int | None,
    field: str | None,
    as_json: bool,
    out: str | None,
    nearest: str | None,
    top: int | None,
    follow: bool,
    line_buffered: bool,
    layer: str,
    pool: str,
) -> None:
    """Print a vector for each line of FILE or standard input: the model's hidden states, pooled.

    Prints the numbers of the vector and the line, separated by tabs. With --nearest: the line's number, the similarity
    from -1 to 1, and the number and text of the similar line in FILE.

    \b
    Examples:
      charrnn embed names.txt > vectors.tsv
      charrnn embed --out vectors.npy app.log
      echo "Smithson" | charrnn embed --nearest names.txt
      charrnn embed --nearest seen.log --top 1 --json new.log
    """
    from charrnn.cli._console import open_model, refuse_models
    from charrnn.system.atomic import output_file

    file = None if out is None else output_file(out)
    if file is not None and file.suffix != ".npy":
        raise ConfigError(f"--out writes a NumPy array, so its name must end in .npy, got {out}")
    if nearest == STDIN and (not texts or STDIN in texts):
        raise ConfigError("standard input can be read only once: name a file, or another one for --nearest")
    check_texts(texts, follow=follow)
    if nearest is not None:
        refuse_models([nearest])
    embedder = _Embedder(open_model(model_path), EmbedConfig(layer, pool), threads, field)
    at_once = line_buffered or follow or is_typed(texts)
    if file is not None:
        embedder.write(file, texts)
    elif nearest is not None:
        _print_nearest(embedder, texts, nearest, top or _TOP, as_json, follow=follow, at_once=at_once)
    else:
        _print_vectors(embedder, texts, as_json, follow=follow, at_once=at_once)


class _Embedder:
    """A model, and how it reads the input: as `charrnn score` does."""

    def __init__(self, model: LanguageModel, config: EmbedConfig, threads: int | None, field: str | None) -> None:
        from charrnn.data.decoding import line_encoding
        from charrnn.data.items import text_reader

        saved = model.checkpoint
        self._model, self._config, self._threads, self._field = model, config, threads, field
        self._corpus_encoding, self._any_kind = saved.text_config.encoding, saved.vocab.kind == "bytes"
        self.encoding = line_encoding(self._corpus_encoding)
        self.size = config.size(saved.model_config)
        self.text = text_reader(self._corpus_encoding, saved.vocab)

    def items(self, paths: tuple[str, ...], *, follow: bool = False) -> Items:
        """Return the lines or records of files, or of standard input."""
        return open_items(paths, self._field, self._corpus_encoding, follow=follow, any_kind=self._any_kind)

    def blocks(
        self, pieces: Iterable[list[Item]], size: int | None, *, at_once: bool = False, shown: bool = False
    ) -> Iterator[tuple[list[Item], Array]]:
        """Yield the items in blocks, with their vectors, and show the progress.

        size:    bytes of the input; None if unknown
        at_once: embed lines as they arrive
        shown:   the results go to a terminal
        """
        from charrnn.cli._bars import ScoringBar
        from charrnn.embedding.vectors import in_blocks
        from charrnn.evaluation.several import read_by_all

        blocks = pieces if at_once else in_blocks(chain.from_iterable(pieces), _chars)
        bar = ScoringBar(size, models=1, quiet=at_once, shown=shown, doing="Embedding", done="Embedded")
        followed, read = read_by_all(bar.follow(blocks, lambda item: _chars(item) + 1), 2)
        vectors = self._model.embed_blocks(
            ([self.text(item.text) for item in block] for block in read),
            layer=self._config.layer,
            pooling=self._config.pooling,
            threads=1 if at_once else self._threads,
        )
        with bar, closing(vectors):
            for each in vectors:  # first, so that an error of reading comes after all that was read before it
                block = next(followed)
                if block:
                    bar(1, 1)
                yield [*block], each

    def printed(
        self, paths: tuple[str, ...], *, follow: bool, at_once: bool
    ) -> tuple[Format | None, Iterator[tuple[list[Item], Array]]]:
        """Return the format of records, and the items in blocks with their vectors."""
        items = self.items(paths, follow=follow)
        format, pieces = items.open()
        return format, self.blocks(pieces, items.size, at_once=at_once, shown=sys.stdout.isatty())

    def write(self, file: Any, paths: tuple[str, ...]) -> None:
        """Write the vectors of all lines to a .npy file; NumPy leaves room in its header for the number of lines."""
        import numpy as np

        from charrnn.system.atomic import replacing

        def header(lines: int) -> None:
            data = {"descr": "<f4", "fortran_order": False, "shape": (lines, self.size)}
            np.lib.format.write_array_header_1_0(stream, data)

        items, count = self.items(paths), 0
        with replacing(file, "name another file") as stream:
            header(0)
            for block, vectors in self.blocks(items.open()[1], items.size):
                stream.write(np.ascontiguousarray(vectors, "<f4").data)
                count += len(block)
            stream.seek(0)
            header(count)

    def nearest(self, path: str) -> tuple[list[tuple[int, str]], Nearest]:
        """Return the numbers and texts of the different lines of a file, and their vectors.

        Raises:  CorpusError if it has none.
        """
        from charrnn.embedding.nearest import Nearest, room_for

        items = self.items((path,))
        lines: dict[str, Item] = {}
        for piece in items.open()[1]:
            for item in piece:
                lines.setdefault(self.text(item.text), item)
        if not lines:
            raise CorpusError(f"{path} has no lines to compare with: name another file")
        vectors, at = room_for(len(lines), self.size), 0
        for block, each in self.blocks([[*lines.values()]], items.size):
            vectors[at : at + len(block)] = each
            at += len(block)
        return [(item.line, text) for text, item in lines.items()], Nearest(vectors)


def _print_vectors(embedder: _Embedder, paths: tuple[str, ...], as_json: bool, *, follow: bool, at_once: bool) -> None:
    """Print the vector of each line, or add it to each record."""
    format, blocks = embedder.printed(paths, follow=follow, at_once=at_once)
    out, names = sys.stdout.buffer, [f"v{number}" for number in range(embedder.size)]
    cells = "\t".join(["%.6f"] * embedder.size)
    exact = "\t".join(["%.9g"] * embedder.size)  # as many digits as float32 has

    def numbers(vector: list[float]) -> list[float]:
        return [*map(float, (exact % tuple(vector)).split("\t"))]

    def show(item: Item, vector: list[float]) -> bytes:
        if (record := item.record) is not None:
            more: dict[str, Any] = {"vector": numbers(vector)}
            if record.format.delimiter is not None:
                more = dict(zip(names, (cells % tuple(vector)).split("\t"), strict=True))
            return record.format.extended(record, more).encode(embedder.encoding, "surrogateescape")
        if as_json:
            return json_line({"line": item.line, "text": embedder.text(item.text), "vector": numbers(vector)})
        text: Any = item.text
        return (cells % tuple(vector)).encode() + b"\t" + bytes(text) + b"\n"

    if format is not None:
        out.write(format.named(names).encode(embedder.encoding, "surrogateescape"))
    _print(blocks, lambda block, vectors: map(show, block, vectors.tolist()), at_once)


def _print_nearest(
    embedder: _Embedder, paths: tuple[str, ...], path: str, top: int, as_json: bool, *, follow: bool, at_once: bool
) -> None:
    """Print the nearest lines of a file for each line."""
    lines, index = embedder.nearest(path)
    _, blocks = embedder.printed(paths, follow=follow, at_once=at_once)

    def show(item: Item, found: list[int], similarities: list[float]) -> bytes:
        near = [(round(value, 6), *lines[number]) for number, value in zip(found, similarities, strict=True)]
        if as_json:
            shown = [{"line": line, "text": text, "similarity": value} for value, line, text in near]
            return json_line({"line": item.line, "text": embedder.text(item.text), "nearest": shown})
        rows = (f"{item.line}\t{value:.6f}\t{line}\t{text}\n" for value, line, text in near)
        return "".join(rows).encode(embedder.encoding, "surrogateescape")

    def shown(block: list[Item], vectors: Array) -> Iterator[bytes]:
        indices, similarities = index.find(vectors, top)
        return map(show, block, indices.tolist(), similarities.tolist())

    _print(blocks, shown, at_once)


def _print(
    blocks: Iterable[tuple[list[Item], Array]],
    show: Callable[[list[Item], Array], Iterable[bytes]],
    at_once: bool,
) -> None:
    """Print the items of each block as `show` does; if at once, before the next block is taken."""
    for block, vectors in blocks:
        sys.stdout.buffer.writelines(show(block, vectors))
        if at_once:
            sys.stdout.buffer.flush()


def _chars(item: Item) -> int:
    return len(item.text)

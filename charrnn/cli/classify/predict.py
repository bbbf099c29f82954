"""`charrnn classify predict`: print the most likely label of each line, or of a field of each record."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from charrnn.cli._command import Conflict, SectionedCommand, complete_files, section
from charrnn.cli._lines import check_texts, growing_options, is_typed, open_items
from charrnn.cli._options import classifier_option, threads_option
from charrnn.cli._predictor import EITHER, Opened, RunLabel, by_option, open_predictor
from charrnn.cli._scored import Printer
from charrnn.cli._types import WholeNumber

if TYPE_CHECKING:
    from charrnn.arrays import Array
    from charrnn.data.items import Item

_output = section("Output")


@click.command(
    cls=SectionedCommand,
    conflicts=(
        EITHER,
        Conflict("--text-field adds the label to the records: leave out --json", ("text_field", "as_json")),
        Conflict("--explain prints lines: leave out --text-field", ("explain", "text_field")),
        Conflict("--explain is about the most likely label: leave out --top", ("explain", "top")),
    ),
)
@click.argument("texts", metavar="[FILE]...", nargs=-1, shell_complete=complete_files)
@classifier_option
@by_option
@threads_option("Model")
@section("Input")("--text-field", metavar="NAME", help="Read this .csv or .tsv column, or JSON Lines field.")
@growing_options
@_output("--top", type=WholeNumber(1), metavar="K", help="Print the K most likely labels. [default: 1]")
@_output(
    "--explain",
    is_flag=True,
    help="Show which characters moved the decision: in colours on a terminal, else as numbers; much slower.",
)
@_output("--json", "as_json", is_flag=True, help="Print each line as a JSON object.")
def command(
    texts: tuple[str, ...],
    model_path: str | None,
    by: tuple[RunLabel, ...],
    threads: int | None,
    text_field: str | None,
    follow: bool,
    line_buffered: bool,
    top: int | None,
    explain: bool,
    as_json: bool,
) -> None:
    """Print the most likely label of each line of FILE or standard input.

    Prints the label, its probability and the line, separated by tabs. A line without a character that the model knows,
    such as an empty one, has no label. With --text-field, label and probability are added to each record.

    \b
    Examples:
      charrnn classify predict lines.txt
      charrnn classify predict --top 3 --json < lines.txt
      charrnn classify predict --text-field comment reviews.csv > labelled.csv
      charrnn classify predict --explain < lines.txt
      charrnn classify predict --by english=en --by german=de lines.txt
    """
    from charrnn.cli._bars import ScoringBar
    from charrnn.evaluation.scoring import in_blocks
    from charrnn.evaluation.several import read_by_all

    at_once = line_buffered or follow or is_typed(texts)
    check_texts(texts, follow=follow)
    opened = open_predictor(model_path, by)
    encoding, any_kind = opened.checkpoint.text_config.encoding, opened.checkpoint.vocab.kind == "bytes"
    items = open_items(texts, text_field, encoding, follow=follow, any_kind=any_kind)
    format, pieces = items.open()
    if explain:
        from charrnn.cli._explained import print_explanations

        print_explanations(opened, pieces, threads=threads, as_json=as_json, at_once=at_once)
        return
    structured = as_json or (format is not None and format.delimiter is None)
    printer = _printer(opened, top, structured=structured, as_json=as_json)
    out = sys.stdout.buffer
    if format is not None:
        out.write(printer.header(format))
    blocks = pieces if at_once else in_blocks(chain.from_iterable(pieces), chars=_chars)
    progress = ScoringBar(items.size, models=len(by) or 1, quiet=at_once, shown=sys.stdout.isatty())
    cut = _Cut(opened)
    followed, read = read_by_all(progress.follow(cut.count(blocks), lambda item: _chars(item) + 1), 2)
    predicted = opened.predictor.predict_blocks(
        ([item.text for item in block] for block in read), progress=progress, threads=threads, ahead=not at_once
    )
    with progress, closing(predicted):
        for log_probs in predicted:
            rows = _rows(next(followed), log_probs, opened.predictor.labels, top or 1)
            out.write(b"".join(map(printer.show, rows)))
            if at_once:
                out.flush()
    cut.note()


def _chars(item: Item) -> int:
    return len(item.text)


class _Row(NamedTuple):
    """An item with its most likely labels and their probabilities, the best first; None if it has none."""

    item: Item
    best: Sequence[tuple[str, float]] | None


def _rows(block: Sequence[Item], log_probs: Array, labels: Sequence[str], top: int) -> Iterator[_Row]:
    """Yield the items with their most likely labels.

    Shapes:  log_probs (N, C), NaN for an item without a prediction
    """
    import numpy as np

    best = np.argsort(-log_probs, axis=1, kind="stable")[:, :top]
    probabilities = np.exp(np.take_along_axis(log_probs, best, axis=1)).tolist()
    for item, numbers, own in zip(block, best.tolist(), probabilities, strict=True):
        is_known = own[0] == own[0]
        yield _Row(item, [*zip(map(labels.__getitem__, numbers), own, strict=True)] if is_known else None)


def _printer(opened: Opened, top: int | None, *, structured: bool, as_json: bool) -> Printer[_Row]:
    """Return what prints rows: with numbered columns for several labels, or, if structured, with a list of them."""
    from charrnn.data.decoding import line_encoding
    from charrnn.data.items import text_reader

    encoding = opened.checkpoint.text_config.encoding
    read, count = text_reader(encoding, opened.checkpoint.vocab), min(top or 1, len(opened.predictor.labels))
    columns = ["label", "probability"]
    if not structured:
        columns += [f"{name}{number}" for number in range(2, count + 1) for name in columns]
        none = (None,) * len(columns)
        return Printer(
            columns, lambda row: tuple(chain(*row.best)) if row.best else none, False, False, line_encoding(encoding)
        )

    def values(row: _Row) -> tuple[Any, ...]:
        first = row.best[0] if row.best else (None, None)
        several = [{"label": label, "probability": probability} for label, probability in row.best or ()]
        return (*[row.item.line] * as_json, *first, *[several] * bool(top), *[read(row.item.text)] * as_json)

    names = [*["line"] * as_json, *columns, *["top"] * bool(top), *["text"] * as_json]
    return Printer(names, values, False, as_json, line_encoding(encoding))


class _Cut:
    """Counts the texts that are longer than a classifier reads."""

    def __init__(self, opened: Opened) -> None:
        from charrnn.data.items import text_reader

        self._most, self._count = opened.max_chars, 0
        self._read = text_reader(opened.checkpoint.text_config.encoding, opened.checkpoint.vocab)

    def count(self, blocks: Iterable[Sequence[Item]]) -> Iterator[Sequence[Item]]:
        """Yield the blocks."""
        for block in blocks:
            if (most := self._most) is not None:
                long = (item.text for item in block if len(item.text) > most)
                self._count += sum(len(self._read(text)) > most for text in long)
            yield block

    def note(self) -> None:
        """Print how many texts were cut, if any were."""
        from charrnn.cli._console import note

        if self._count:
            texts = "1 text is" if self._count == 1 else f"{self._count:,} texts are"
            note(f"Note: {texts} longer than the {self._most:,} characters that the classifier reads")

"""`charrnn score`: score each line of a text, or a field of each record."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from charrnn.cli._command import Conflict, SectionedCommand, complete_files, section
from charrnn.cli._lines import check_texts, growing_options, is_typed, open_items
from charrnn.cli._options import memory_options, models_option, ngram_options, options_of, threads_option
from charrnn.cli._scored import Row, printer_of
from charrnn.cli._types import Number, fail
from charrnn.errors import ConfigError
from charrnn.evaluation.settings import Quantile, ScoreConfig, Shard

if TYPE_CHECKING:
    from charrnn.api import LanguageModel
    from charrnn.data.items import Item
    from charrnn.evaluation.packing import Line
    from charrnn.evaluation.scoring import Scored


class _LimitType(Number):
    """Bits per character, or a percentage of the lines."""

    name = "number or percentage"
    wanted = "a number or a percentage such as 99%"
    form = "a percentage"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a number, or a quantile for a text that ends with a percent sign."""
        if not (isinstance(value, str) and value.endswith("%")):
            return super().convert(value, param, ctx)
        try:
            return Quantile.parse(value)
        except ValueError as error:
            fail(param, ctx, str(error))


class _ShardType(click.types.StringParamType):
    name = "shard"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the shard."""
        try:
            return value if isinstance(value, Shard) else Shard.parse(value)
        except ValueError as error:
            fail(param, ctx, str(error))


_scoring, _records, _output = section("Scoring"), section("Input"), section("Output")
_selected = section("Selected lines")
_SELECTING = ("above", "below", "top")
_ENDLESS = {"follow": "--follow", "line_buffered": "--line-buffered"}


def _conflicts() -> Iterator[Conflict]:
    """Yield the options that conflict."""
    yield Conflict(
        "--with-score needs --above, --below or --top; otherwise scores are always printed: leave it out",
        ("with_score", *(f"!{name}" for name in _SELECTING)),
    )
    yield Conflict("--json always prints the scores: leave out --with-score", ("with_score", "as_json"))
    yield Conflict("--json has no header: leave out --header", ("header", "as_json"))
    yield Conflict("--field keeps the header of its file: leave out --header", ("header", "field"))
    yield Conflict("--field adds the scores to the records: leave out --json", ("field", "as_json"))
    for name in _SELECTING:
        yield Conflict(
            f"--{name} prints lines unchanged: give --with-score or --json too, or leave out --per-char",
            ("per_char", name, "!as_json", "!with_score"),
        )
        yield Conflict(
            f"--{name} prints lines unchanged: give --with-score too, or leave out --header",
            ("header", name, "!with_score"),
        )
    for name in ("top", "header"):
        yield Conflict(f"--{name} cannot be joined across shards: leave out --{name} or --shard", ("shard", name))
    for name in ("top", "shard"):
        for early, flag in _ENDLESS.items():
            yield Conflict(
                f"--{name} needs all lines, so it cannot be combined with {flag}: leave out one", (early, name)
            )


#: The options that people use most, for the first screen of the help.
_BASICS = ("models", "top", "above", "below", "with_score", "field", "follow", "best", "header", "as_json")


@click.command(
    cls=SectionedCommand,
    basics=_BASICS,
    conflicts=(*_conflicts(),),
)
@click.argument("texts", metavar="[FILE]...", nargs=-1, shell_complete=complete_files)
@models_option("Several with --best.")
@_scoring("--context", is_flag=True, help="Score the text after the first tab, given the text before it.")
@_scoring("--best", is_flag=True, help="Name the best of several models, and its margin; give each with -m.")
@_scoring("--shard", type=_ShardType(), metavar="I/N", help="Score the I-th of N equal shares of the lines.")
@memory_options
@ngram_options
@threads_option("Scoring")
@_records("--field", metavar="NAME", help="Score this .csv or .tsv column, or JSON Lines field.")
@_output(
    "--json",
    "as_json",
    is_flag=True,
    help="Print each line as a JSON object, with number and score.",
)
@options_of(ScoreConfig, "per_char")
@_output("--header", is_flag=True, help="Print a header line with column names.")
@_selected("--above", type=_LimitType(0), metavar="X", help="Print lines of more than X bpc; 99%: the highest 1%.")
@_selected("--below", type=_LimitType(0), metavar="X", help="Print lines of less than X bpc; 5%: the lowest 5%.")
@options_of(ScoreConfig, "top")
@_selected("--with-score", is_flag=True, help="Add numbers and scores to the selected lines.")
@growing_options
def command(
    texts: tuple[str, ...],
    models: tuple[str, ...],
    context: bool,
    best: bool,
    shard: Shard | None,
    memory: int | None,
    memory_from: str | None,
    with_ngram: bool,
    adaptive: bool,
    threads: int | None,
    field: str | None,
    as_json: bool,
    header: bool,
    with_score: bool,
    follow: bool,
    line_buffered: bool,
    **settings: Any,
) -> None:
    """Score each line of FILE or standard input by its likelihood under a model.

    Prints bits per character (bpc), log-probability in nats, scored characters, unknown characters, and the line,
    separated by tabs. The higher the bpc, the more surprising the line. The first two columns are empty if nothing was
    scored.

    \b
    Examples:
      charrnn score names.txt | sort -n
      charrnn score --top 20 --with-score app.log
      charrnn score --above 99% app.log
      charrnn score --below 3 < words.txt > likely.txt
      charrnn score --follow --above 4 /var/log/syslog
      charrnn score --field message --top 5 log.jsonl
      charrnn score --best -m english -m german lines.txt
      printf 'the cat\\t sat\\nthe cat\\t zat\\n' | charrnn score --context
    """
    from charrnn.cli._bars import ScoringBar
    from charrnn.cli._console import note, open_model
    from charrnn.data.decoding import line_encoding
    from charrnn.evaluation.scoring import in_blocks
    from charrnn.evaluation.selection import select

    config = ScoreConfig(**settings)
    at_once = line_buffered or follow or is_typed(texts)
    check_texts(texts, follow=follow)
    if config.has_quantile and (follow or line_buffered or shard):
        raise ConfigError(
            "a percentage needs the scores of all lines: leave out --follow, --line-buffered and --shard, or give "
            "--above and --below as numbers"
        )
    if best != (len(models) > 1):
        raise ConfigError("--best compares several models: give it with -m A -m B")
    opened = partial(open_model, memory=memory, memory_from=memory_from, with_ngram=with_ngram, adaptive=adaptive)
    scorers = [_scorer(name, opened(name), context, config.per_char) for name in models or (None,)]
    if context and any(scorer.model.checkpoint.vocab.reverse for scorer in scorers):
        raise ConfigError(
            "--context gives the text before, and a model trained with --reverse reads that last: leave it out"
        )
    if not context and any(scorer.model.checkpoint.tab is not None for scorer in scorers):
        note("Note: the model learned only what follows a tab; --context scores that alone")
    encoding = scorers[0].model.checkpoint.text_config.encoding
    any_kind = scorers[0].model.checkpoint.vocab.kind == "bytes"
    items = open_items(texts, field, encoding, follow=follow, any_kind=any_kind)
    begin, end = shard.bounds(items.count()) if shard else (0, sys.maxsize)
    collects = config.top is not None or config.has_quantile
    printer = printer_of(
        encoding=line_encoding(encoding),
        numbered=config.selects or as_json,
        several=best,
        per_char=config.per_char,
        unchanged=config.selects and not (with_score or as_json),
        as_json=as_json,
    )
    total = items.size and items.size / (shard.total if shard else 1)
    progress = ScoringBar(
        total,
        models=len(scorers),
        quiet=at_once,
        shown=sys.stdout.isatty() and not collects,
    )
    format, pieces = items.open()
    out, limits = sys.stdout.buffer, None if collects or not config.selects else config.limits()
    if header or (format is not None and (shard is None or shard.number == 1)):
        out.write(printer.header(format))
    blocks = pieces if at_once else in_blocks(chain.from_iterable(pieces), chars=_chars)

    def size(item: Item) -> float:
        """Return an item's bytes for the bar: those of a shard are unknown, so each of its lines counts the same."""
        if not begin < item.line <= end:
            return 0
        return total / (end - begin) if shard and total else _chars(item) + 1

    followed = progress.follow(_within(blocks, begin, end), size)
    with progress, closing(_scored(scorers, followed, progress, threads, ahead=not at_once)) as rows:
        if collects:
            scored = progress.end_with(chain.from_iterable(rows))
            out.writelines(select(((row.scored.bpc, printer.show(row)) for row in scored), config))
            return
        for block in rows:
            kept = (row for row in block if begin < row.item.line <= end) if shard else block
            chosen = (row for row in kept if limits.include(row.scored.bpc)) if limits else kept
            out.write(b"".join(map(printer.show, chosen)))
            if at_once:
                out.flush()


class _Scorer(NamedTuple):
    """A model by its name, and how it scores: it reads an item as `read` returns it."""

    name: str | None
    model: LanguageModel
    read: Callable[[Item], Line]
    per_char: bool


def _chars(item: Item) -> int:
    return len(item.text)


def _within(blocks: Iterable[list[Item]], begin: int, end: int) -> Iterator[list[Item]]:
    """Yield the blocks with an item of a shard: whole ones, so that its scores are those of the whole, bit for bit."""
    for block in blocks:
        if block and block[0].line > end:
            return
        if block and block[-1].line > begin:
            yield block


def _scored(
    scorers: Sequence[_Scorer],
    blocks: Iterable[Sequence[Item]],
    progress: Callable[[int, int], object] | None = None,
    threads: int | None = None,
    *,
    ahead: bool = False,
) -> Generator[list[Row], None, None]:
    """Yield the items of each block with their scores; of several models, with those of the best.

    ahead: True: take blocks while those before them are scored
    """
    from charrnn.evaluation.several import best_of, score_by_each

    def score_with(scorer: _Scorer, blocks: Iterator[Sequence[Item]]) -> Generator[list[Scored], None, None]:
        read = ([*map(scorer.read, block)] for block in blocks)
        return scorer.model.score_blocks(
            read, per_char=scorer.per_char, progress=progress, threads=threads, ahead=ahead
        )

    def best_row(item: Item, *scored: Scored) -> Row:
        best, margin = best_of(scored)
        return Row(item, scored[best], None if margin is None else scorers[best].name, margin)

    row = Row if len(scorers) == 1 else best_row
    with closing(score_by_each([partial(score_with, scorer) for scorer in scorers], blocks)) as scores:
        for items, scored in scores:
            yield [*map(row, items, *scored)]


def _scorer(name: str | None, model: LanguageModel, context: bool, per_char: bool) -> _Scorer:
    """Return how a model scores items; with a context, what follows the first tab."""
    from charrnn.data.items import text_reader

    text_of = text_reader(model.checkpoint.text_config.encoding, model.checkpoint.vocab)

    def read(item: Item) -> str:
        return text_of(item.text)

    def with_context(item: Item) -> Line:
        before, _, after = read(item).partition("\t")
        return before, after

    return _Scorer(name, model, with_context if context else read, per_char)

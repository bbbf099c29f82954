"""`charrnn repair`: undo typing errors in each line of a text."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli._command import Conflict, SectionedCommand, complete_files, section
from charrnn.cli._lines import check_texts, growing_options, is_typed, json_line, open_items
from charrnn.cli._options import model_option, options_of, threads_option
from charrnn.cli._pair import backward_option, open_pair
from charrnn.errors import CorpusError
from charrnn.restoration.noise import RepairConfig

if TYPE_CHECKING:
    from charrnn.data.decoding import LineCodec
    from charrnn.restoration.comparison import Repairs
    from charrnn.restoration.repair import Repaired

_PART = 64  # lines that one thread repairs side by side
_CHARS = 1 << 14  # of them, at most, unless a line is longer

_output = section("Output")


@click.command(
    cls=SectionedCommand,
    conflicts=(
        Conflict("--json has the edits of each line: leave out --mark", ("mark", "as_json")),
        Conflict("--eval prints figures, not lines: leave out --mark", ("truth", "mark")),
        Conflict("--eval prints its figures at the end: leave out --line-buffered", ("truth", "line_buffered")),
        Conflict("--eval prints its figures at the end: leave out --follow", ("truth", "follow")),
    ),
)
@click.argument("texts", metavar="[FILE]...", nargs=-1, shell_complete=complete_files)
@model_option
@backward_option(required=True)
@options_of(RepairConfig, "rate", "max_edits", "only_words")
@threads_option("Repair")
@_output("--json", "as_json", is_flag=True, help="Print each line as a JSON object, with its edits.")
@_output("--mark", is_flag=True, help="Mark edits in the line: [-what was there-]{+what is written+}.")
@_output(
    "--eval",
    "truth",
    metavar="FILE",
    shell_complete=complete_files,
    help="Compare the repaired lines with those of FILE, and print how many words are right.",
)
@growing_options
def command(
    texts: tuple[str, ...],
    model_path: str | None,
    backward: str,
    threads: int | None,
    as_json: bool,
    mark: bool,
    truth: str | None,
    follow: bool,
    line_buffered: bool,
    **settings: Any,
) -> None:
    """Undo typing errors in each line of FILE or standard input.

    An edit substitutes, inserts or deletes a character, or transposes two. It is made if both models together find the
    line so much more likely that a typing error explains it better. All other lines are printed unchanged.

    \b
    Examples:
      charrnn repair -m forward --backward backward letters.txt > repaired.txt
      charrnn repair -m forward --backward backward --mark letters.txt
      charrnn repair -m forward --backward backward --rate 0.001 letters.txt
      charrnn repair -m forward --backward backward typed.txt --eval meant.txt
    """
    from charrnn.cli._bars import ScoringBar
    from charrnn.evaluation.scoring import in_blocks
    from charrnn.parallel.plan import threads_to_use
    from charrnn.parallel.threads import Threads
    from charrnn.restoration.repair import Repairer

    at_once = line_buffered or follow or is_typed(texts)
    check_texts(texts if truth is None else (*texts, truth), follow=follow)
    pair, codec = open_pair(model_path, backward)
    repairer = Repairer(pair, RepairConfig(**settings))
    items = open_items(texts, None, codec.corpus_encoding, follow=follow, any_kind=False)
    progress = ScoringBar(
        items.size,
        models=1,
        quiet=at_once,
        shown=sys.stdout.isatty() and truth is None,
        doing="Repairing",
        done="Repaired",
    )
    lines = ([bytes(item.text) for item in piece if isinstance(item.text, bytes)] for piece in items.open()[1])
    blocks = lines if at_once else in_blocks(chain.from_iterable(lines), _CHARS, chars=len)
    parts = progress.follow(_parts(blocks), lambda line: len(line) + 1)

    def repaired(part: Sequence[bytes]) -> list[tuple[bytes, Repaired]]:
        return [*zip(part, repairer.repair([codec.decode(line) for line in part]), strict=True)]

    def followed(done: Iterable[list[tuple[bytes, Repaired]]]) -> Iterator[list[tuple[bytes, Repaired]]]:
        for part in done:
            progress(1, 1)
            yield part

    with progress, Threads(threads_to_use(threads)) as pool:
        done = followed(pool.map(repaired, parts))
        if truth is not None:
            counts = _compared(done, truth, codec)
        else:
            _print_lines(done, codec, _as_json if as_json else _as_marked if mark else _as_text, at_once)
    if truth is not None:
        _print_figures(counts, as_json)


def _print_lines(
    done: Iterable[list[tuple[bytes, Repaired]]],
    codec: LineCodec,
    show: Callable[[LineCodec, int, bytes, Repaired], bytes],
    at_once: bool,
) -> None:
    """Print each line as `show` does; if at once, before the next one is taken."""
    number, out = 0, sys.stdout.buffer
    for part in done:
        for line, one in part:
            number += 1
            out.write(show(codec, number, line, one))
        if at_once:
            out.flush()


def _as_text(codec: LineCodec, number: int, line: bytes, one: Repaired) -> bytes:
    return (codec.encode(one.text, line) if one.edits else line) + b"\n"


def _as_marked(codec: LineCodec, number: int, line: bytes, one: Repaired) -> bytes:
    from charrnn.restoration.comparison import marked

    return (codec.encode(marked(one.line, one.text), line) if one.edits else line) + b"\n"


def _as_json(codec: LineCodec, number: int, line: bytes, one: Repaired) -> bytes:
    return json_line({"line": number, **one.to_dict()})


def _parts(blocks: Iterable[list[bytes]]) -> Iterator[list[bytes]]:
    """Yield lines in lists that do not depend on the number of threads."""
    for block in blocks:
        for at in range(0, len(block), _PART):
            yield block[at : at + _PART]


def _compared(done: Iterable[list[tuple[bytes, Repaired]]], truth: str, codec: LineCodec) -> Repairs:
    """Return the counts of words; each line is compared with that of the same number in the file of right lines.

    Raises:  CorpusError if one has more lines than the other.
    """
    from charrnn.data.lines import read_lines
    from charrnn.restoration.comparison import Repairs

    meant, counts = chain.from_iterable(read_lines([truth])), Repairs()
    both = zip_longest(chain.from_iterable(done), meant)
    for number, (given, right) in enumerate(both, 1):
        if given is None or right is None:
            longer, shorter = (truth, "the input") if given is None else ("the input", truth)
            raise CorpusError(
                f"{shorter} has {number - 1:,} lines, and {longer} has more: give --eval the right text of each line"
            )
        counts = counts.plus(codec.decode(right), given[1].line, given[1].text)
    return counts


def _print_figures(counts: Repairs, as_json: bool) -> None:
    from charrnn.cli._console import print_json, print_table
    from charrnn.evaluation.statistics import wilson

    if as_json:
        print_json(counts.to_dict())
        return
    names = {
        "recall": "wrong words mended",
        "precision": "new words that are right",
        "changed": "right words changed",
    }
    rows = []
    for name, (count, of) in counts.shares().items():
        low, high = wilson(count, of)
        shares = (f"{100 * count / of:.2f} %", f"{100 * low:.2f} to {100 * high:.2f} %") if of else ("", "")
        rows.append((names[name], f"{count:,}", f"{of:,}", *shares))
    print_table(("", "words", "of", "share", "95 % interval"), rows, right=(1, 2, 3, 4))

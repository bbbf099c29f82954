"""`charrnn repair`: undo typing errors in each line of a text."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from charrnn.cli._command import Conflict, SectionedCommand, complete_files, complete_runs, section
from charrnn.cli._options import model_option, options_of, threads_option
from charrnn.config import STDIN
from charrnn.errors import CorpusError
from charrnn.restoration.noise import RepairConfig

if TYPE_CHECKING:
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
    ),
)
@click.argument("texts", metavar="[FILE]...", nargs=-1, shell_complete=complete_files)
@model_option
@section("Model")(
    "--backward",
    metavar="MODEL",
    envvar="CHARRNN_BACKWARD",
    show_envvar=True,
    required=True,
    shell_complete=complete_runs,
    help="A model of the same text that was trained with --reverse.",
)
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
@_output("--line-buffered", is_flag=True, help="Repair lines as they arrive, as from a terminal.")
def command(
    texts: tuple[str, ...],
    model_path: str | None,
    backward: str,
    threads: int | None,
    as_json: bool,
    mark: bool,
    truth: str | None,
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
    from charrnn.cli._console import open_model, refuse_models
    from charrnn.data.decoding import line_encoding
    from charrnn.data.items import Items
    from charrnn.evaluation.scoring import in_blocks
    from charrnn.parallel.plan import threads_to_use
    from charrnn.parallel.threads import Threads
    from charrnn.restoration.pair import Pair
    from charrnn.restoration.repair import Repairer

    refuse_models(texts if truth is None else (*texts, truth))
    forward = open_model(model_path).checkpoint
    repairer = Repairer(Pair.of(forward, open_model(backward).checkpoint), RepairConfig(**settings))
    text = _Text(line_encoding(forward.text_config.encoding), forward.vocab.symbols)
    _, pieces = Items(texts or (STDIN,), None, forward.text_config.encoding).open()
    at_once = line_buffered or ((not texts or STDIN in texts) and sys.stdin is not None and sys.stdin.isatty())
    lines = ([bytes(item.text) for item in piece if isinstance(item.text, bytes)] for piece in pieces)
    blocks = lines if at_once else in_blocks(chain.from_iterable(lines), _CHARS, chars=len)

    def repaired(part: list[bytes]) -> list[tuple[bytes, Repaired]]:
        return [*zip(part, repairer.repair([text.split(line)[1] for line in part]), strict=True)]

    with Threads(threads_to_use(threads)) as pool:
        done = pool.map(repaired, _parts(blocks))
        if truth is not None:
            _print_figures(_compared(done, truth, text), as_json)
            return
        show, number, out = _as_json if as_json else _as_marked if mark else _as_text, 0, sys.stdout.buffer
        for part in done:
            for line, one in part:
                number += 1
                out.write(show(text, number, line, one))
            if at_once:
                out.flush()


class _Text(NamedTuple):
    """How lines are decoded and encoded: by an encoding, for a model that knows some characters."""

    encoding: str
    known: str

    @property
    def errors(self) -> str:
        """Return how invalid bytes are read, and written again."""
        return "surrogateescape" if self.encoding == "utf-8" else "replace"

    def split(self, line: bytes) -> tuple[str, str, str]:
        """Return a line, and what it may have before and after it: a byte order mark, and `\\r`."""
        from charrnn.data.decoding import strip_line

        whole = line.decode(self.encoding, self.errors)
        text = strip_line(whole, self.known)
        before, _, after = whole.partition(text) if text else ("", "", whole)
        return before, text, after

    def encode(self, text: str) -> bytes:
        """Return a text in the encoding of the input."""
        return text.encode(self.encoding, self.errors)


def _as_text(text: _Text, number: int, line: bytes, one: Repaired) -> bytes:
    return _with_ends(text, line, one.text) if one.edits else line + b"\n"


def _as_marked(text: _Text, number: int, line: bytes, one: Repaired) -> bytes:
    from charrnn.restoration.comparison import marked

    return _with_ends(text, line, marked(one.line, one.text)) if one.edits else line + b"\n"


def _as_json(text: _Text, number: int, line: bytes, one: Repaired) -> bytes:
    record = json.dumps({"line": number, **one.to_dict()}, ensure_ascii=False)
    return record.encode("utf-8", "backslashreplace") + b"\n"


def _with_ends(text: _Text, line: bytes, repaired: str) -> bytes:
    before, _, after = text.split(line)
    return text.encode(before + repaired + after) + b"\n"


def _parts(blocks: Iterable[list[bytes]]) -> Iterator[list[bytes]]:
    """Yield lines in lists that do not depend on the number of threads."""
    for block in blocks:
        for at in range(0, len(block), _PART):
            yield block[at : at + _PART]


def _compared(done: Iterable[list[tuple[bytes, Repaired]]], truth: str, text: _Text) -> Repairs:
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
        counts = counts.plus(text.split(right)[1], given[1].line, given[1].text)
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

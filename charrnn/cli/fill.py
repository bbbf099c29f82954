"""`charrnn fill`: put the most probable characters into the gaps of a text."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli._command import SectionedCommand, section
from charrnn.cli._errors import print_error
from charrnn.cli._escapes import explaining_escapes, text_with_escapes
from charrnn.cli._lines import json_line
from charrnn.cli._options import model_option, options_of, threads_option, unknown_option
from charrnn.cli._pair import backward_option, open_pair
from charrnn.config import STDIN
from charrnn.errors import RECURS, ConfigError, CorpusError, VocabError
from charrnn.restoration.gaps import FillConfig

if TYPE_CHECKING:
    from charrnn.data.decoding import LineCodec
    from charrnn.restoration.filling import Fills

_output = section("Output")


@click.command(cls=SectionedCommand)
@click.argument("texts", metavar="[TEXT]...", nargs=-1, type=text_with_escapes)
@model_option
@backward_option(required=False)
@options_of(FillConfig, "mark", "max_gap", "top")
@_output("--json", "as_json", is_flag=True, help="Print a JSON object for each text.")
@unknown_option("error")
@threads_option("Gaps")
def command(
    texts: tuple[str, ...],
    model_path: str | None,
    backward: str | None,
    top: int | None,
    as_json: bool,
    unknown: str,
    threads: int | None,
    **settings: Any,
) -> None:
    """Fill the gaps of each TEXT with the most probable characters, given the text on both sides.

    Each _ is one unknown character, and _* any number of them. Without TEXT, or with "-", the lines of standard input
    are filled, and lines without gaps stay as they are. In TEXT, \\n is a line end, \\t a tab, \\uXXXX a character by
    its number, and \\\\ a backslash.

    Prints each text with its most probable fill. With --top K, prints the number of the text, the probability among
    the fills that were found, and the filled text, separated by tabs.

    \b
    Examples:
      charrnn fill -m forward --backward backward 'the q___k fox'
      charrnn fill -m forward --backward backward --top 5 'my fri_*, good sir'
      charrnn fill -m forward --backward backward < damaged.txt > filled.txt
    """
    from charrnn.cli._console import note
    from charrnn.data.lines import read_lines
    from charrnn.parallel.plan import threads_to_use
    from charrnn.parallel.threads import Threads
    from charrnn.restoration.filling import Fills, check, fill

    if STDIN in texts and len(texts) > 1:
        raise ConfigError('"-" stands for standard input: give it alone, or leave it out')
    config = FillConfig(**settings, top=top or 1)
    pair, codec = open_pair(model_path, backward)
    check(pair, config)
    show, out = _as_json if as_json else _as_columns if top else _as_text, sys.stdout.buffer
    if texts and STDIN not in texts:
        if not any(config.mark in text for text in texts):
            file = next(filter(os.path.isfile, texts), None)
            how = (
                f"mark it with {config.mark}" if file is None else f"to fill the lines of a file: charrnn fill < {file}"
            )
            note(f"Note: no text has a gap: {how}")
        with explaining_escapes(pair.forward.vocab):
            for number, text in enumerate(texts, 1):
                out.write(show(number, fill(pair, text, config, unknown), text.encode("utf-8", "surrogateescape")))
        return

    def filled(line: bytes) -> Fills | CorpusError | VocabError:
        try:
            return fill(pair, codec.decode(line), config, unknown)
        except (CorpusError, VocabError) as error:  # only this line fails
            return error.with_traceback(None)

    number, refused = 0, 0
    with Threads(threads_to_use(threads)) as pool:
        for lines in read_lines([STDIN]):
            for line, done in zip(lines, pool.map(filled, lines), strict=True):
                number += 1
                if not isinstance(done, Fills):
                    print_error(f"line {number:,} of standard input: {done}")
                    done, refused = Fills(codec.decode(line), ()), refused + 1
                out.write(show(number, done, line, codec))
            out.flush()
    if not number:
        note("Standard input is empty: nothing to fill")
    if refused:
        click.get_current_context().exit(RECURS)


def _as_text(number: int, done: Fills, line: bytes, codec: LineCodec | None = None) -> bytes:
    """Return the text with its best fill; the line unchanged if it has no gap, or none that can be filled."""
    has_gaps = done.fills and done.fills[0].gaps
    return (_encoded(done.fills[0].text, line, codec) if has_gaps else line) + b"\n"


def _as_columns(number: int, done: Fills, line: bytes, codec: LineCodec | None = None) -> bytes:
    from charrnn.data.escapes import escaped

    return b"".join(
        f"{number}\t{one.probability:.4g}\t".encode() + _encoded(escaped(one.text), b"", codec) + b"\n"
        for one in done.fills
    )


def _encoded(text: str, line: bytes, codec: LineCodec | None) -> bytes:
    """Return the bytes of a text: in the encoding of the lines that are read, or of the command line."""
    return text.encode("utf-8", "surrogateescape") if codec is None else codec.encode(text, line)


def _as_json(number: int, done: Fills, line: bytes, codec: LineCodec | None = None) -> bytes:
    return json_line({"line": number, **done.to_dict()})

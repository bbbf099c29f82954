"""`charrnn complete`: show the most likely continuations of a text."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli._command import Conflict, SectionedCommand, section
from charrnn.cli._errors import print_error
from charrnn.cli._escapes import explaining_escapes, text_with_escapes
from charrnn.cli._options import memory_options, model_option, options_of, threads_option, unknown_option
from charrnn.config import STDIN
from charrnn.errors import RECURS, CorpusError, VocabError
from charrnn.generation.settings import COMPLETION_CONFLICTS, CompletionConfig

if TYPE_CHECKING:
    from charrnn.api import LanguageModel
    from charrnn.generation.completion import Completions

_LONGEST = 1 << 20  # bytes kept at the end of a line
_CONTINUING = bytes(range(0x80, 0xC0))  # bytes that never start a character in UTF-8


_shown = section("Output")


@click.command(
    cls=SectionedCommand,
    conflicts=(
        Conflict("--interactive shows completions while you type: leave out --json", ("interactive", "as_json")),
        *(Conflict(message, names) for names, message in COMPLETION_CONFLICTS),
    ),
)
@click.argument("text", type=text_with_escapes, required=False)
@model_option
@options_of(CompletionConfig, "to", "count", "max_length")
@unknown_option("error")
@memory_options
@threads_option("Completions")
@_shown(
    "--json",
    "as_json",
    is_flag=True,
    help="Print a JSON object for each text.",
)
@_shown(
    "--interactive",
    is_flag=True,
    help="Suggest completions while you type; lines go to standard output.",
)
def command(
    text: str | None,
    model_path: str | None,
    memory: int | None,
    memory_from: str | None,
    threads: int | None,
    as_json: bool,
    interactive: bool,
    **settings: Any,
) -> None:
    """Print the most likely completions of TEXT and their probabilities.

    Without TEXT, or with "-", each line of standard input is completed. In TEXT, \\n is a line end, \\t a tab, \\uXXXX
    a character by its number, and \\\\ a backslash.

    Prints the line number, the probability, the completed unit (word, line, char or document; "length" if it was cut
    off), and the completion, separated by tabs.

    \b
    Examples:
      charrnn complete "To be, or not to b"
      charrnn complete --to char -k 10 "To b"
      head -n 3 story.txt | charrnn complete --to line --json
    """
    from charrnn.cli._console import note, open_model
    from charrnn.generation.completion import Completions
    from charrnn.parallel.plan import threads_to_use
    from charrnn.parallel.threads import Threads

    model = open_model(model_path, memory, memory_from)

    def complete(beginning: str) -> Completions:
        return model.complete(beginning, **settings)

    if interactive:
        _suggest(model, complete, text or "")
        return
    shown = _as_json if as_json else _as_columns
    if text is not None and text != STDIN:
        with explaining_escapes(model.checkpoint.vocab):
            shown_text = shown(1, complete(text))
        click.echo(shown_text, nl=False)
        return

    def complete_line(line: str) -> Completions | VocabError:
        try:
            return complete(line)
        except VocabError as error:  # only this line fails
            return error.with_traceback(None)

    number, refused = 0, 0
    with Threads(threads_to_use(threads)) as pool:
        for lines in _lines(model.checkpoint.text_config.encoding):
            for line, done in zip(lines, pool.map(complete_line, lines), strict=True):
                number += 1
                if isinstance(done, VocabError):
                    print_error(f"line {number:,} of standard input: {done}")
                    done, refused = Completions(line, ()), refused + 1
                click.echo(shown(number, done), nl=False)
    if not number:
        note("Standard input is empty: nothing to complete")
    if refused:
        click.get_current_context().exit(RECURS)


def _as_columns(number: int, done: Completions) -> str:
    from charrnn.data.escapes import escaped

    rows = (f"{number}\t{one.probability:.4g}\t{one.ended}\t{escaped(one.text)}\n" for one in done.completions)
    return "".join(rows)


def _as_json(number: int, done: Completions) -> str:
    return json.dumps({"line": number, **done.to_dict()}, ensure_ascii=False) + "\n"


def _lines(encoding: str) -> Iterator[list[str]]:
    """Yield the lines of standard input, as many at a time as have arrived, decoded like the corpus, without ends."""
    from charrnn.data.decoding import line_decoder, line_encoding

    continuing = _CONTINUING if line_encoding(encoding) == "utf-8" else b""
    decode = line_decoder(encoding)
    return ([*map(decode, lines)] for lines in _bounded_lines(continuing))


def _bounded_lines(continuing: bytes) -> Iterator[list[bytes]]:
    """Yield the bytes of the lines of standard input; of a long line only its end, from the start of a character.

    continuing  bytes that never start a character
    """
    line = held = b""
    while piece := _piece():
        piece, held, lines = held + piece, b"", list[bytes]()
        if piece.endswith(b"\r"):  # which \n may follow
            piece, held = piece[:-1], b"\r"
        for part in piece.splitlines(keepends=True):  # at a single \r too
            ends = part.endswith((b"\n", b"\r"))
            line += part[:-1] if ends else part
            if len(line) > _LONGEST:
                line = line[-_LONGEST:].lstrip(continuing)
            if ends:
                lines.append(line)
                line = b""
        yield lines
    if line or held:
        yield [line]


def _piece() -> bytes:
    """Read what has arrived of standard input, at least a byte except at its end."""
    if sys.stdin is None:
        raise CorpusError("standard input is closed: give a text or pipe lines in")
    buffer: Any = sys.stdin.buffer
    try:
        piece: bytes = buffer.read1(_LONGEST)
    except OSError as error:
        raise CorpusError.of(error, "cannot read standard input", "give a text or pipe lines in") from None
    return piece


def _suggest(model: LanguageModel, complete: Callable[[str], Completions], begun: str) -> None:
    """Print the lines that the user enters with suggestions; earlier lines are context if the model knows line ends."""
    from charrnn.cli._interactive import typed_lines
    from charrnn.generation.completion import CONTEXT

    vocab, before = model.checkpoint.vocab, list[str]()
    complete("")  # to raise an error in the settings at once
    for line in typed_lines(lambda typed: complete("".join([*before, typed])), begun):
        click.echo(line)
        if "\n" in vocab.symbols:  # unknown characters are an error in their line, not later
            before[:] = [vocab.decode(vocab.encode("".join([*before, line, "\n"]), "skip")[-CONTEXT:])]

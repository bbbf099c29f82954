"""`charrnn score`: score each line of a text."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli._command import Conflict, SectionedCommand, complete_files, section
from charrnn.cli._options import model_option, options_of
from charrnn.config import STDIN
from charrnn.errors import ConfigError
from charrnn.evaluation.settings import ScoreConfig

if TYPE_CHECKING:
    from charrnn.api import LanguageModel
    from charrnn.evaluation.packing import Line
    from charrnn.evaluation.scoring import Scored


_output = section("Output")
_waiting = section("Lines that are still to come")


@click.command(
    cls=SectionedCommand,
    short_help="Tell how likely each line is.",
    conflicts=tuple(
        Conflict(
            "--above and --below let lines through as they are: --per-char goes with --json",
            ("per_char", name, "!as_json"),
        )
        for name in ("above", "below")
    ),
)
@click.argument("texts", metavar="[FILE]...", nargs=-1, shell_complete=complete_files)
@model_option
@section("How it is scored")(
    "--context",
    is_flag=True,
    help="Score only what follows the first tab, after what stands before it.",
)
@_output(
    "--json",
    "as_json",
    is_flag=True,
    help="A line of JSON for each line: bpc, logprob (nats), chars, unknown, text; null where nothing was scored.",
)
@options_of(ScoreConfig, "per_char", "above", "below")
@_waiting("--follow", is_flag=True, help="Go on as lines are added to FILE, which may be cut short or replaced.")
@_waiting("--line-buffered", is_flag=True, help="Score at once what has arrived; lines from a terminal always are.")
def command(
    texts: tuple[str, ...],
    model_path: str | None,
    as_json: bool,
    context: bool,
    follow: bool,
    line_buffered: bool,
    **settings: Any,
) -> None:
    """Score each line of FILE, or of standard input: how likely the model thinks it, by itself.

    A line out for each line in, in the same order: bits per character (bpc), log-probability in nats, characters that
    were scored, unknown characters, and the line, with tabs in between. Bpc and log-probability are empty where
    nothing was scored.

    \b
    Examples:
      charrnn score names.txt | sort -n | tail -n 20
      charrnn score --below 3 < words.txt > likely.txt
      charrnn score --follow --above 4 /var/log/syslog
      printf 'the cat\\t sat\\nthe cat\\t zat\\n' | charrnn score --context --json
    """
    from charrnn.cli._console import open_model
    from charrnn.data.lines import follow_lines, read_lines
    from charrnn.evaluation.scoring import in_blocks

    if follow and (len(texts) != 1 or texts == (STDIN,)):
        raise ConfigError("--follow watches one file: name it")
    config = ScoreConfig(**settings)
    model = open_model(model_path)
    decode = _decoder(model, context)
    pieces = follow_lines(texts[0]) if follow else read_lines(texts or (STDIN,))
    at_once = line_buffered or follow or _is_typed(texts)
    blocks = pieces if at_once else in_blocks(chain.from_iterable(pieces))
    shown = _json if as_json else _itself if config.selects else _figures
    for lines, scores in _scored(model, blocks, decode, config.per_char):
        pairs = zip(scores, lines, strict=True)
        chosen = (pair for pair in pairs if not config.selects or config.includes(pair[0].bpc))
        sys.stdout.buffer.write(b"".join(shown(*pair) + b"\n" for pair in chosen))
        if at_once:
            sys.stdout.buffer.flush()


def _scored(
    model: LanguageModel, blocks: Iterable[list[bytes]], decode: Callable[[bytes], Line], per_char: bool
) -> Iterator[tuple[list[bytes], list[Scored]]]:
    """Yield each block of lines with their scores."""
    waiting: list[list[bytes]] = []

    def texts() -> Iterator[list[Line]]:
        for block in blocks:
            waiting.append(block)
            yield [*map(decode, block)]

    for scores in model.score_blocks(texts(), per_char=per_char):
        yield waiting.pop(), scores


def _is_typed(texts: tuple[str, ...]) -> bool:
    """Return whether the lines are typed at a terminal."""
    return (not texts or STDIN in texts) and sys.stdin is not None and sys.stdin.isatty()


def _decoder(model: LanguageModel, context: bool) -> Callable[[bytes], Line]:
    """Return the function that decodes a line; with a context, into the text before the first tab and the rest."""
    from charrnn.data.decoding import line_decoder

    vocab = model.checkpoint.vocab
    decode = line_decoder(model.checkpoint.text_config.encoding, vocab.symbols if vocab.kind == "chars" else "\ufeff\r")

    def with_context(line: bytes) -> Line:
        before, _, after = decode(line).partition("\t")
        return before, after

    return with_context if context else decode


def _itself(scored: Scored, line: bytes) -> bytes:
    """Return the line unchanged."""
    return line


def _figures(scored: Scored, line: bytes) -> bytes:
    """Return the scores and the line, separated by tabs."""
    figures = ["", ""] if scored.logprob is None else [f"{scored.bpc:.6f}", f"{scored.logprob:.6f}"]
    figures += [str(scored.chars), str(scored.unknown)]
    if scored.bits is not None:
        figures.append(",".join("" if bit is None else f"{bit:.6f}" for bit in scored.bits))
    return "\t".join(figures).encode() + b"\t" + line


def _json(scored: Scored, line: bytes) -> bytes:
    """Return the scores and the text as JSON; a lone surrogate, from invalid bytes, becomes an escape."""
    data = {name: getattr(scored, name) for name in ("bpc", "logprob", "chars", "unknown", "text")}
    if scored.bits is not None:
        data["bits"] = scored.bits
    return json.dumps(data, ensure_ascii=False).encode("utf-8", "backslashreplace")

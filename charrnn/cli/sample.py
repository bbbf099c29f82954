"""`charrnn sample`: generate text."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import partial
from itertools import chain, combinations
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli._command import Conflict, SectionedCommand, complete_files, section
from charrnn.cli._options import models_option, options_of, unknown_option
from charrnn.cli._types import WholeNumber, text_with_escapes
from charrnn.config import STDIN, TextConfig, flag_of, seeded
from charrnn.errors import ConfigError
from charrnn.generation.settings import SAMPLE_CONFLICTS, BeamConfig, DrawConfig, SampleConfig

if TYPE_CHECKING:
    from charrnn.api import LanguageModel
    from charrnn.generation.sample import Sample

#: Options that contradict --beam, which draws nothing.
_DRAWING = (
    *("temperature", "top_k", "top_p", "min_p", "repeat_penalty", "repeat_window", "seed"),
    *("count", "documents", "best_of", "novel"),
)


_begin, _end, _draw = section("What it begins with"), section("Where it ends"), section("How it is drawn")
_several, _output = section("Several texts"), section("Output")


@click.command(
    short_help="Let a model write.",
    cls=SectionedCommand,
    conflicts=(
        Conflict(
            "--documents and --count both say how many texts: give one of them", ("documents", "count"), "count=1"
        ),
        Conflict("--json gives each text a line of its own: leave out --separator", ("as_json", "separator")),
        *(Conflict(f"--beam draws nothing: leave out {flag_of(name)}", ("beam", name)) for name in _DRAWING),
        Conflict("--length-norm is for --beam: give both or neither", ("length_norm", "!beam")),
        Conflict("--repeat-window is for --repeat-penalty: give both or neither", ("repeat_window", "!repeat_penalty")),
        *(
            Conflict("--prime, --prime-file and --prime-lines exclude each other: give one of them", pair)
            for pair in combinations(("prime", "prime_file", "prime_lines"), 2)
        ),
        *(Conflict(message, names) for names, message in SAMPLE_CONFLICTS),
    ),
)
@models_option("Several, each with its share (-m A:0.7 -m B:0.3), write together by the mean of their probabilities.")
@options_of(SampleConfig, "length", "lines")
@_end(
    "--documents",
    type=WholeNumber(1),
    metavar="N",
    help="Write N texts, each up to the end mark that the model learned.",
)
@options_of(SampleConfig, "stop")
@_begin(
    "--prime",
    type=text_with_escapes,
    metavar="TEXT",
    help='What the text begins with; "-" reads it from standard input. In TEXT and STRING, \\n is a line end, \\t a '
    "tab, and \\uXXXX a character by its number.",
)
@_begin("--prime-file", metavar="F", shell_complete=complete_files, help="Read the prime from a file.")
@_begin(
    "--prime-lines",
    metavar="F",
    shell_complete=complete_files,
    help='One text for each line of a file, which it begins with; "-": of standard input.',
)
@_begin("--no-echo", is_flag=True, help="Leave the prime out of what is shown.")
@options_of(SampleConfig, "temperature", "top_k", "top_p", "min_p", "repeat_penalty", "repeat_window")
@_draw(
    "--seed",
    type=WholeNumber(0),
    metavar="N",
    help="Seed of the draws, told if not given; the same seed writes the same text.",
)
@options_of(SampleConfig, "charset", "regex")
@options_of(DrawConfig, "count")
@_several(
    "--separator",
    type=text_with_escapes,
    metavar="STRING",
    help="What stands between texts. [default: a line end, where the text before has none]",
)
@_output(
    "--json",
    "as_json",
    is_flag=True,
    help="A line of JSON for each text: text (without the prime), logprob (nats), bpc, seed, index, ended, prime, "
    "draws.",
)
@options_of(DrawConfig, "best_of")
@options_of(BeamConfig, "width", "length_norm")
@options_of(DrawConfig, "novel")
@unknown_option("error")
def command(
    models: tuple[str, ...],
    length: int | None,
    documents: int | None,
    prime: str | None,
    prime_file: str | None,
    prime_lines: str | None,
    no_echo: bool,
    count: int,
    separator: str | None,
    as_json: bool,
    best_of: int,
    beam: int | None,
    length_norm: float | None,
    novel: int | None,
    seed: int | None,
    **options: Any,
) -> None:
    """Write text with a trained model, to standard output, as it is made.

    Without a prime, the first character is one that begins lines in the training text.

    \b
    Examples:
      charrnn sample
      charrnn sample -m checkpoints/names -n 100 --temp 0.7
      charrnn sample --prime "Once upon a time" --seed 7
      charrnn sample --count 20 --regex "[A-Z][a-z]{2,9}"
      head -c 200 story.txt | charrnn sample --prime - -n 1000
    """
    from charrnn.api import mixed
    from charrnn.cli._console import note
    from charrnn.generation.writer import DrawCounts

    writing = _writing(models)
    primes = _primes(prime, prime_file, prime_lines, writing[0][0].checkpoint.text_config)
    writer = mixed(writing)
    if documents is not None and writer.vocab.end is None:
        raise ConfigError("--documents: the model did not learn where documents end: give -n or --lines")
    if length is None:
        length = -1 if documents or options["lines"] else SampleConfig.length
    options |= {"length": None if length == -1 else length, "lines": options["lines"] or 0}
    count = documents or count
    counts, drawn_seed = DrawCounts(), seeded({"seed": seed})["seed"]
    if len(primes) == count == best_of == 1 and not (beam or novel or as_json):
        pieces = writer.stream(prime=primes[0], seed=drawn_seed, **options)
        shown = pieces if no_echo else chain([writer.vocab.finished(primes[0])], pieces)
    else:
        if beam:
            norm = BeamConfig.length_norm if length_norm is None else length_norm
            samples = writer.beam_search(beam, primes=primes, length_norm=norm, **options)
        else:
            samples = writer.samples(
                count, primes=primes, seed=drawn_seed, best_of=best_of, novel=novel or 0, counts=counts, **options
            )
        shown = (_lines if as_json else partial(_joined, separator=separator))(samples, echo=not no_echo)
    if seed is None and options["temperature"] and not (beam or as_json):
        note(f"Seed: {drawn_seed}")
    try:
        _show(shown)
    finally:
        if novel and counts.drawn:
            share = f"{counts.redrawn} of {counts.drawn} ({counts.redrawn / counts.drawn:.1%})"
            note(f"Drawn again: {share}, with {novel} characters of the corpus")


def _primes(prime: str | None, file: str | None, lines: str | None, learned: TextConfig) -> list[str]:
    """Return the primes, or one empty prime if none was given. Files are decoded like the corpus."""
    from charrnn.data.decoding import strip_line

    if lines is not None:
        return [*map(strip_line, _read(lines, learned).removesuffix("\n").split("\n"))]
    if file is not None or prime == STDIN:
        return [_read(file or STDIN, learned)]
    return [prime or ""]


def _read(path: str, learned: TextConfig) -> str:
    """Return the text of a file. For a model of bytes, invalid UTF-8 becomes lone surrogates, as in arguments."""
    from charrnn.data.reading import read_text

    text = str(read_text(path, config=TextConfig(bytes=learned.bytes, encoding=learned.encoding)))
    return text.encode("latin-1").decode("utf-8", "surrogateescape") if learned.bytes else text


def _writing(names: tuple[str, ...]) -> list[tuple[LanguageModel, float]]:
    """Return the models to mix, each with its share."""
    from charrnn.cli._console import open_model

    if len(names) < 2:
        return [(open_model(names[0] if names else None), 1.0)]
    shares = []
    for name in names:
        path, _, share = name.rpartition(":")
        try:
            shares.append((path, float(share)))
        except ValueError:
            raise ConfigError(f"-m {name}: of several models each needs its share, as in -m A:0.7 -m B:0.3") from None
    return [(open_model(path), share) for path, share in shares]


def _joined(samples: Iterable[Sample], *, echo: bool, separator: str | None) -> Iterator[str]:
    """Yield the texts with separators between them."""
    before = None
    for sample in samples:
        if before is not None:
            yield ("" if before.endswith("\n") else "\n") if separator is None else separator
        before = sample.prime + sample.text if echo else sample.text
        yield before


def _lines(samples: Iterable[Sample], *, echo: bool) -> Iterator[str]:
    """Yield a line of JSON for each text."""
    for sample in samples:
        data = asdict(sample)
        if not echo:
            del data["prime"]
        line = json.dumps(data, ensure_ascii=False) + "\n"
        yield line.encode("utf-8", "backslashreplace").decode()  # a lone surrogate becomes a JSON escape


def _as_bytes(text: str) -> bytes:
    """Return the text in UTF-8; lone surrogates that represent bytes of a prime become these bytes again."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a lone surrogate that represents no byte
        return text.encode("utf-8", "surrogatepass")


def _show(pieces: Iterable[str]) -> None:
    """Write each piece to standard output at once, as bytes, so that all systems get the same line ends and encoding.

    On a terminal, a line end is added if needed, so that later messages start on a new line.
    """
    out, last = sys.stdout.buffer, "\n"
    try:
        for piece in pieces:
            out.write(_as_bytes(piece))
            out.flush()
            last = piece or last
    finally:
        if sys.stdout.isatty() and not last.endswith("\n"):
            out.write(b"\n")
            out.flush()

"""`charrnn sample`: generate text with a model."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from itertools import chain, combinations
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli._command import Conflict, SectionedCommand, complete_files, section
from charrnn.cli._escapes import explaining_escapes, text_with_escapes
from charrnn.cli._options import (
    either,
    memory_options,
    models_option,
    ngram_options,
    options_of,
    run_argument,
    threads_option,
    unknown_option,
)
from charrnn.cli._types import WholeNumber
from charrnn.config import STDIN, TextConfig, flag_of, seeded
from charrnn.errors import CheckpointError, ConfigError
from charrnn.generation.settings import SAMPLE_CONFLICTS, BeamConfig, DrawConfig, SampleConfig

if TYPE_CHECKING:
    from charrnn.api import LanguageModel
    from charrnn.generation.sample import Sample

#: Options that contradict --beam, which draws nothing.
_DRAWING = (
    *("temperature", "top_k", "top_p", "min_p", "repeat_penalty", "repeat_window", "seed"),
    *("documents", "best_of", "novel"),
)


_begin, _end, _draw = section("Prime"), section("Length"), section("Sampling")
_several, _output = section("Several samples"), section("Output")


#: The options that people use most, for the first screen of the help.
_BASICS = ("models", "length", "lines", "prime", "temperature", "top_p", "count", "regex", "stop", "seed", "as_json")


@click.command(
    cls=SectionedCommand,
    basics=_BASICS,
    conflicts=(
        either("run", "models"),
        Conflict(
            "--documents and --count both set the number of samples: give one of them",
            ("documents", "count"),
            "count=1",
        ),
        Conflict("--json prints each sample on its own line: leave out --separator", ("as_json", "separator")),
        *(Conflict(f"--beam does not sample: leave out {flag_of(name)}", ("beam", name)) for name in _DRAWING),
        Conflict("--length-norm needs --beam: give both or neither", ("length_norm", "!beam")),
        Conflict("--repeat-window needs --repeat-penalty: give both or neither", ("repeat_window", "!repeat_penalty")),
        *(
            Conflict("--prime, --prime-file and --prime-lines cannot be combined: give one of them", pair)
            for pair in combinations(("prime", "prime_file", "prime_lines"), 2)
        ),
        *(Conflict(message, names) for names, message in SAMPLE_CONFLICTS),
    ),
)
@run_argument()
@models_option("Several are mixed by weight: -m A:0.7 -m B:0.3.")
@options_of(SampleConfig, "length", "lines")
@_end(
    "--documents",
    type=WholeNumber(1),
    metavar="N",
    help="Generate N whole documents; -n is then unlimited.",
)
@options_of(SampleConfig, "stop")
@_begin(
    "--prime",
    type=text_with_escapes,
    metavar="TEXT",
    help='Text to continue; "-" reads standard input.',
)
@_begin("--prime-file", metavar="F", shell_complete=complete_files, help="Read the text to continue from a file.")
@_begin(
    "--prime-lines",
    metavar="F",
    shell_complete=complete_files,
    help='Continue each line of a file; "-" reads standard input.',
)
@_begin("--no-echo", is_flag=True, help="Print only the generated text, without the prime.")
@options_of(SampleConfig, "temperature", "top_k", "top_p", "min_p", "repeat_penalty", "repeat_window")
@_draw(
    "--seed",
    type=WholeNumber(0),
    metavar="N",
    help="Random seed; the same seed gives the same text. [default: random]",
)
@_draw(
    "--clamp",
    multiple=True,
    metavar="UNIT=X",
    help="Hold a unit at a value, such as layer0.c[123]=2. May be repeated.",
)
@options_of(SampleConfig, "charset", "regex")
@options_of(DrawConfig, "count")
@_several(
    "--separator",
    type=text_with_escapes,
    metavar="STRING",
    help="Text between samples. [default: as in the corpus]",
)
@_output(
    "--json",
    "as_json",
    is_flag=True,
    help="Print a JSON object for each sample.",
)
@options_of(DrawConfig, "best_of")
@options_of(BeamConfig, "width", "length_norm")
@options_of(DrawConfig, "novel")
@memory_options
@ngram_options
@threads_option("Several samples")
@unknown_option("error")
def command(
    run: str | None,
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
    memory: int | None,
    memory_from: str | None,
    with_ngram: bool,
    adaptive: bool,
    threads: int | None,
    seed: int | None,
    clamp: tuple[str, ...],
    **options: Any,
) -> None:
    """Generate text with a model: that of RUN, of -m, or of the newest run.

    A single sample is printed while it is generated. Without a prime, it starts like a line of the training text. A
    model trained with --reverse writes what leads to the prime; it is printed when it is finished. In TEXT and STRING,
    \\n is a line end, \\t a tab, \\uXXXX a character by its number, and \\\\ a backslash.

    \b
    Examples:
      charrnn sample
      charrnn sample names -n 100 --temp 0.7
      charrnn sample --prime "Once upon a time" --seed 7
      charrnn sample --count 20 --regex "[A-Z][a-z]{2,9}"
      head -c 200 story.txt | charrnn sample --prime - -n 1000
    """
    from charrnn.api import mixed
    from charrnn.cli._console import note, open_model
    from charrnn.generation.clamps import parse
    from charrnn.generation.writer import DrawCounts

    opened = partial(open_model, memory=memory, memory_from=memory_from, with_ngram=with_ngram, adaptive=adaptive)
    writing = _writing(models, opened) if run is None else [(_open_run(run, opened), 1.0)]
    learned = writing[0][0].checkpoint.text_config
    if learned.context and prime is prime_file is prime_lines is None:
        raise ConfigError("the model writes what follows a tab: give the text before it with --prime or --prime-lines")
    primes = _primes(prime, prime_file, prime_lines, learned)
    if (first := next(primes, None)) is None:
        note("No line to continue: nothing was generated")
        return
    primes = chain([first], primes)
    writer = mixed(writing).clamped(parse(clamp))
    if documents is not None and writer.vocab.end is None:
        raise ConfigError(
            "--documents: the model did not learn document ends: give -n or --lines, or train with --split-documents"
        )
    if length is None:
        length = -1 if documents or options["lines"] else SampleConfig.length
    options |= {"length": None if length == -1 else length, "lines": options["lines"] or 0}
    count = documents or count
    counts, drawn_seed = DrawCounts(), seeded({"seed": seed})["seed"]
    several = prime_lines is not None or count > 1
    echo = not (no_echo or (learned.context and not as_json))
    ends_line = (several or learned.has_documents) and separator is None and not as_json
    with explaining_escapes(writer.vocab), ExitStack() as stack:  # however this ends, the threads do
        if not several and best_of == 1 and not (beam or novel or as_json):
            shown = (writer.text if echo else writer.stream)(prime=first, seed=drawn_seed, **options)
        else:
            if beam:
                norm = (0.0 if learned.context else BeamConfig.length_norm) if length_norm is None else length_norm
                samples = writer.beam_search(
                    beam, count=count, primes=primes, length_norm=norm, threads=threads, **options
                )
            else:
                samples = writer.samples(
                    count,
                    primes=primes,
                    seed=drawn_seed,
                    best_of=best_of,
                    novel=novel or 0,
                    counts=counts,
                    threads=threads,
                    **options,
                )
            several_lines = writer.may_write_lines(**options) or (echo and "\n" in first)
            stack.enter_context(closing(samples))
            between = _separator(learned, several_lines) if separator is None else separator
            joined = partial(_joined, separator=between, ends_line=ends_line, backwards=writer.vocab.reverse)
            shown = (_lines if as_json else joined)(samples, echo=echo)
        if seed is None and options["temperature"] and not (beam or as_json):
            note(f"Seed: {drawn_seed}")
        try:
            _show(shown, end_line=ends_line)
        finally:
            if novel and counts.drawn:
                share = f"{counts.redrawn} of {counts.drawn} ({counts.redrawn / counts.drawn:.1%})"
                note(f"Redrawn: {share} copied {novel} characters of the corpus")


def _primes(prime: str | None, file: str | None, lines: str | None, learned: TextConfig) -> Iterator[str]:
    """Yield the primes, or one empty prime if none was given. Files are decoded like the corpus, and may be empty.

    Lines are yielded as they are read. If the model learned what follows a tab, a prime without one gets a tab.
    """
    if lines is not None:
        from charrnn.data.decoding import strip_line
        from charrnn.data.lines import complete_lines

        read = chain.from_iterable(map(complete_lines, _decoded(lines, learned)))
        primes = (strip_line(line.removesuffix("\n")) for line in chain.from_iterable(read))
    elif file is not None or prime == STDIN:
        primes = ("".join(chain.from_iterable(_decoded(name, learned))) for name in [file or STDIN])
    else:
        primes = (text for text in [prime or ""])
    return (text if "\t" in text else f"{text}\t" for text in primes) if learned.context else primes


def _decoded(path: str, learned: TextConfig) -> Iterator[Iterator[str]]:
    """Yield the pieces of each text at a path. For a model of bytes, invalid UTF-8 becomes lone surrogates."""
    import codecs

    from charrnn.data.decoding import decode_pieces
    from charrnn.data.files import list_files, open_inputs

    for source in (source for file in list_files([path]) for source in open_inputs(file, lambda _: None)):
        if learned.bytes:
            yield codecs.iterdecode(source.data, "utf-8", "surrogateescape")
        else:
            yield decode_pieces(source.name, source.data, learned.encoding)


def _open_run(name: str, opened: Callable[[str | None], LanguageModel]) -> LanguageModel:
    """Load the model that is named without `-m`; there, one may also type a text to continue."""
    try:
        return opened(name)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; to continue a text, give it with --prime", error.exit_code) from error


def _writing(
    names: tuple[str, ...], opened: Callable[[str | None], LanguageModel]
) -> list[tuple[LanguageModel, float]]:
    """Return the models to mix, each with its share."""
    if len(names) < 2:
        return [(opened(names[0] if names else None), 1.0)]
    shares = []
    for name in names:
        path, _, share = name.rpartition(":")
        try:
            shares.append((path, float(share)))
        except ValueError:
            raise ConfigError(f"-m {name}: every model in a mixture needs a weight: -m A:0.7 -m B:0.3") from None
    return [(opened(path), share) for path, share in shares]


def _separator(learned: TextConfig, several_lines: bool) -> Callable[[str], str]:
    """Return the function that maps a sample to the separator behind it: that between documents of the corpus.

    So the output, read with the settings of the corpus, has the same documents. Without documents, a blank line comes
    between samples of several lines, and a line end between others.
    """
    from charrnn.data.escapes import unescaped

    if learned.separator is not None:
        separator = unescaped(learned.separator)
        if learned.document_rules == 1:  # blank lines around a separator belong to the documents
            return lambda before: separator
        return lambda before: (
            f"{_missing_ends(before, 1)}{separator.removeprefix(chr(10))}{_missing_ends(separator, 1)}"
        )
    ends = 2 if several_lines and learned.split_documents != "lines" else 1
    return lambda before: _missing_ends(before, ends)


def _missing_ends(text: str, count: int) -> str:
    """Return the line ends to add so that a text ends with this many."""
    return "\n" * (count - len(text) + len(text.rstrip("\n")))


def _joined(
    samples: Iterable[Sample], *, echo: bool, separator: str | Callable[[str], str], ends_line: bool, backwards: bool
) -> Iterator[str]:
    """Yield the samples with separators between them.

    ends_line: the last sample gets a line end, too. Then each gets its own at once, before the next sample is drawn
    backwards: what was written comes before its prime
    """
    between = ""
    for sample in samples:
        yield between
        prime = sample.prime * echo
        text = sample.text + prime if backwards else prime + sample.text
        between = separator if isinstance(separator, str) else separator(text)
        end = "\n" if ends_line and between.startswith("\n") else ""
        yield text + end
        between = between.removeprefix(end)


def _lines(samples: Iterable[Sample], *, echo: bool) -> Iterator[str]:
    """Yield a line of JSON for each sample."""
    import json
    from dataclasses import asdict

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


def _show(pieces: Iterable[str], *, end_line: bool) -> None:
    """Write each piece to standard output at once, as bytes, so that all systems get the same line ends and encoding.

    If the last line has no end, one is added on a terminal, so that later messages start on a new line; elsewhere, if
    `end_line`.
    """
    out, last = sys.stdout.buffer, "\n"
    try:
        for piece in pieces:
            out.write(_as_bytes(piece))
            out.flush()
            last = piece or last
    finally:
        if (end_line or sys.stdout.isatty()) and not last.endswith("\n"):
            out.write(b"\n")
            out.flush()

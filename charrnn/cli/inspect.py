"""`charrnn inspect`: show how a model reads a text, and what its units do meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from charrnn.cli._command import Conflict, SectionedCommand, complete_files, section
from charrnn.cli._options import json_option, memory_options, model_option, ngram_options, unknown_option
from charrnn.cli._reports import Reports
from charrnn.cli._types import WholeNumber
from charrnn.errors import CorpusError
from charrnn.system.atomic import replacing

if TYPE_CHECKING:
    from charrnn.api import LanguageModel
    from charrnn.arrays import Array
    from charrnn.data.text import Text
    from charrnn.insight.finding import Found
    from charrnn.insight.reach import Reach
    from charrnn.insight.reading import Reading

_TERMINAL_CHARS, _PAGE_CHARS = 2_000, 5_000  # of the validation split
_TOP = 5  # predictions for each character on a page and in JSON
_SURPRISES = 20  # rows of the table of `--top`
_CONTEXT = 24  # characters before each of them
_FIND_CHARS = 50_000  # of each split that --find reads, at most; fewer of a large model:
_FIND_BYTES = 2**28  # of its activations
_FIND_ROWS = 8  # batch rows in which it reads them
_UNITS = 5  # rows of the table of `--find` for each property
_EVERY = "all"

_page, _units, _text = section("Page"), section("Units"), section("Text")
_REPORTS = ("find", "reach", "saturation")


@click.command(
    cls=SectionedCommand,
    conflicts=(
        Conflict("--connect is shown on a page: give --html FILE too", ("connect", "!html")),
        Conflict("--html writes a page: leave out --json", ("html", "as_json")),
        Conflict("--units limits what --find lists: give --find too", ("units", "!find")),
        *(
            Conflict(f"--{name} prints a report of its own: leave out --top, or give --html", ("top", name, "!html"))
            for name in _REPORTS
        ),
    ),
)
@click.argument("texts", metavar="[TEXT]...", nargs=-1, shell_complete=complete_files)
@model_option
@_text(
    "--chars",
    type=WholeNumber(1),
    metavar="N",
    help="Read only the first N characters. [default: all of TEXT, or 2,000 of the validation split; with --html, "
    "5,000]",
)
@unknown_option("skip")
@section("Output")(
    "--top", type=WholeNumber(1), metavar="K", help="Also list the greatest surprises, with the K best guesses."
)
@json_option
@_page(
    "--html",
    metavar="FILE",
    shell_complete=complete_files,
    help="Write a page to explore: surprise, guesses, looks, and the activation of each unit.",
)
@_page("--connect", is_flag=True, help="On the page: which characters moved a prediction; slower.")
@_units(
    "--find",
    metavar="PROPERTY",
    multiple=True,
    help="Rank units by how well they follow a property, such as quotes, or a regular expression; all: every property "
    "that has a name.",
)
@_units("--units", type=WholeNumber(1), metavar="N", help="Units that --find lists for each property. [default: 5]")
@_units("--saturation", is_flag=True, help="Show how often each gate is almost open or closed.")
@_units("--reach", is_flag=True, help="Show how far back the loss feels a character.")
@memory_options
@ngram_options
def command(
    texts: tuple[str, ...],
    model_path: str | None,
    chars: int | None,
    unknown: str,
    top: int | None,
    as_json: bool,
    html: str | None,
    connect: bool,
    find: tuple[str, ...],
    units: int | None,
    saturation: bool,
    reach: bool,
    memory: int | None,
    memory_from: str | None,
    with_ngram: bool,
    adaptive: bool,
) -> None:
    """Show how a model reads TEXT: each character is coloured by its surprise in bits.

    TEXT is a file, folder or pattern, or "-" for standard input. Several are read as one text. Without TEXT, the
    beginning of the validation split of the model's corpus is read. --find, --saturation and --reach print reports
    instead; with --html, the page shows them.

    \b
    Examples:
      charrnn inspect
      charrnn inspect chapter.txt --top 3
      charrnn inspect --html page.html --find all
      charrnn inspect --find quotes --find '[0-9]+'
      charrnn inspect --reach
    """
    from charrnn.cli._console import note, open_model, print_json, refuse_models

    refuse_models(texts)
    model = open_model(model_path, memory, memory_from, with_ngram=with_ngram, adaptive=adaptive)
    given = _read(texts, model) if texts else None
    text = model.validation_text() if given is None else given
    if given is None or chars:
        text = text[: chars or (_PAGE_CHARS if html else _TERMINAL_CHARS)]
    found, notes = None, list[str]()
    if find:
        found, where = _find(model, None if given is None else text, find, units or _UNITS, unknown)
        notes.append(where)
        note(f"Note: {where}")
    reports = Reports(
        found,
        _saturation(model, text, unknown) if saturation else None,
        _reach(model, text, unknown) if reach else None,
    )
    if html:
        made = _page_of(model, text, unknown, reports, connect=connect, top=top or _TOP, notes=notes)
        with replacing(Path(html), "choose another file") as file:
            file.write(made.encode())
        note(f"Page: {html}")
    elif as_json and reports.any:
        print_json(reports.to_dict())
    elif as_json:
        print_json(model.inspect(text, top=top or _TOP, unknown=unknown).to_dict())
    elif reports.any:
        reports.print()
    else:
        _print_reading(model, model.inspect(text, top=top or 0, unknown=unknown))


def _read(texts: tuple[str, ...], model: LanguageModel) -> Text:
    from charrnn.cli._console import note
    from charrnn.data.files import find_files
    from charrnn.data.reading import read_text

    for sentence in find_files(texts).notes:
        note(f"Note: {sentence}")
    return read_text(*texts, config=model.checkpoint.text_config)


def _find(
    model: LanguageModel, text: Text | None, names: tuple[str, ...], most: int, unknown: str
) -> tuple[list[Found], str]:
    """Return the units that follow these properties best, and on which texts they were chosen and measured."""
    from charrnn.insight.finding import find, varying
    from charrnn.insight.properties import PROPERTIES, property_of

    chosen_on, measured_on, sentence = _parts(model, text)
    val, test = (_part(model, each, unknown) for each in (chosen_on, measured_on))
    asked = [property_of(name) for name in names if name != _EVERY]
    if _EVERY in names:
        asked += [each for each in varying(PROPERTIES.values(), val[0], test[0]) if each not in asked]
    sizes = f"{len(val[0]):,} characters of {sentence.format(f'{len(test[0]):,}')}"
    return find(val, test, asked, most=most), f"Units were chosen on the first {sizes}."


def _parts(model: LanguageModel, text: Text | None) -> tuple[Text, Text, str]:
    """Return the text on which units are chosen, the one on which they are measured, and both in words."""
    try:
        val = model.validation_text()
    except CorpusError:
        if text is None:
            raise
        half = len(text) // 2
        return text[:half], text[half:], "the first half of the text, and measured on the first {} of the second half"
    if text is not None:
        return val, text, "the validation split, and measured on the first {} of the text"
    try:
        return val, model.test_text(), "the validation split, and measured on the first {} of the test split"
    except CorpusError:
        half = len(val) // 2
        in_words = "the first half of the validation split, and measured on the first {} of the second half"
        return val[:half], val[half:], in_words


def _part(model: LanguageModel, text: Text, unknown: str) -> tuple[str, dict[str, Array]]:
    """Return the beginning of a text, and all activations of the model there."""
    from charrnn.insight.activations import kinds
    from charrnn.insight.reading import ids_of, shown

    saved = model.checkpoint
    names = kinds(saved.model_config)
    text = text[: max(1, min(_FIND_CHARS, _FIND_BYTES // (8 * len(names) * saved.model_config.hidden_size)))]
    found = model.activations(text, names, unknown=unknown, rows=_FIND_ROWS)
    return shown(saved.vocab, ids_of(saved.vocab, text, unknown)), found


def _saturation(model: LanguageModel, text: Text, unknown: str) -> dict[str, Array]:
    from charrnn.insight.activations import kinds
    from charrnn.insight.saturation import saturation

    config = model.checkpoint.model_config
    return saturation(config, model.activations(text, kinds(config), unknown=unknown))


def _reach(model: LanguageModel, text: Text, unknown: str) -> Reach:
    from charrnn.insight.reach import reach
    from charrnn.insight.reading import ids_of

    saved = model.checkpoint
    ids = ids_of(saved.vocab, text, unknown)
    return reach(model.weights, saved.model_config, ids, end=saved.vocab.end)


def _connections(model: LanguageModel, text: Text, unknown: str) -> Array:
    """Return how far each character before one moved its prediction, as `insight.connections` does."""
    import numpy as np

    from charrnn.insight.connections import connections
    from charrnn.insight.reading import ids_of

    saved, end = model.checkpoint, model.checkpoint.vocab.end
    found = connections(model.weights, saved.model_config, ids_of(saved.vocab, text, unknown), end=end)
    return np.tril(found[int(end is not None) :], -1)  # an end mark before the first character is not on the page


def _page_of(
    model: LanguageModel,
    text: Text,
    unknown: str,
    reports: Reports,
    *,
    connect: bool,
    top: int,
    notes: Sequence[str],
) -> str:
    """Return a page with all activations of the model on a text, and what else was asked for."""
    from charrnn.insight.activations import kinds
    from charrnn.insight.inspection import page

    return page(
        model_name=str(model.path),
        reading=model.inspect(text, top=top, unknown=unknown),
        activations=model.activations(text, kinds(model.checkpoint.model_config), unknown=unknown),
        found=reports.found or (),
        connections=_connections(model, text, unknown) if connect else None,
        reach=reports.reach,
        saturation=reports.saturation,
        notes=notes,
    )


def _print_reading(model: LanguageModel, reading: Reading) -> None:
    """Print a text in colours, or with digits under it, and the greatest surprises if predictions are there."""
    from charrnn.cli._console import columns, note
    from charrnn.cli._surprise import cells, coloured, legend, with_digits

    shown = cells(reading, is_bytes=model.checkpoint.vocab.kind == "bytes")
    color = click.get_current_context().color
    if sys.stdout.isatty() if color is None else color:
        painted = coloured(shown)
        click.echo(painted, nl=not painted.endswith("\n"))
        note(legend())
    else:
        click.echo(with_digits(shown, columns()))
        note("Digits: the bits of the character above, rounded down; a dot is less than 1, and 9 is 9 or more.")
    if reading.bits_per_char is not None:
        memory = ", with the model's memory" if "memory" in reading.looks else ""
        note(f"Mean: {reading.bits_per_char:.4f} bits per character over {reading.predicted:,} characters{memory}")
    if reading.top_ids.shape[1]:
        click.echo()
        _print_surprises(reading)


def _print_surprises(reading: Reading) -> None:
    """Print a row for each of the greatest surprises, in the order of the text."""
    from charrnn.cli._console import print_table
    from charrnn.data.vocab import describe_symbol

    def name(symbol: str) -> str:
        return describe_symbol(symbol)["shown"] if len(symbol) == 1 else symbol

    bits = reading.bits.tolist()
    greatest = sorted((t for t, own in enumerate(bits) if own == own), key=lambda t: -bits[t])[:_SURPRISES]
    rows = []
    for t in sorted(greatest):
        before = reading.text[:t]
        line = before.rpartition("\n")[2]
        guesses = "  ".join(f"{name(symbol)} {share:.0%}" for symbol, share in reading.expected(t))
        place = f"{before.count(chr(10)) + 1}:{len(line) + 1}"
        rows.append((place, line[-_CONTEXT:], name(reading.symbols[reading.ids[t]]), f"{bits[t]:.1f}", guesses))
    print_table(("Line:column", "Text", "Surprise", "Bits", "Expected instead"), rows, right=(0, 1, 3))

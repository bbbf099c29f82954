"""`charrnn inspect`: show how a model reads a text, and what its units do meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from charrnn.cli._command import Conflict, SectionedCommand, complete_files, section
from charrnn.cli._explained import explain_lines
from charrnn.cli._options import json_option, memory_options, model_option, ngram_options, unknown_option
from charrnn.cli._predictor import is_classifier
from charrnn.cli._reports import Reports
from charrnn.cli._subject import Subject
from charrnn.cli._surprise import print_reading
from charrnn.cli._types import WholeNumber
from charrnn.errors import ConfigError
from charrnn.system.atomic import output_file, replacing

if TYPE_CHECKING:
    from charrnn.api import LanguageModel
    from charrnn.data.text import Text

_TERMINAL_CHARS, _PAGE_CHARS = 2_000, 5_000  # of the validation split
_TOP = 5  # predictions for each character on a page and in JSON
_UNITS = 5  # rows of the table of `--find` for each property

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

    With a classifier as MODEL, each line is coloured by how much its characters moved the decision, as by
    `charrnn classify predict --explain`.

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
    from charrnn.cli._console import PassingLine, check_pages, note, open_model, print_json, refuse_models
    from charrnn.system.blas import thread_limit

    refuse_models(texts)
    if is_classifier(model_path):
        if html or find or saturation or reach or top or chars or memory_from or memory or with_ngram:
            raise ConfigError("a classifier predicts no characters: give TEXT, and leave out all options but --json")
        explain_lines(model_path, texts, as_json=as_json)
        return
    file = output_file(html) if html is not None else None
    if file is not None:
        check_pages()
    model = open_model(model_path, memory, memory_from, with_ngram=with_ngram, adaptive=adaptive)
    text = _read(texts, model) if texts else model.validation_text()
    beginning = text[:chars] if texts else text[: chars or (_PAGE_CHARS if file else _TERMINAL_CHARS)]
    subject = Subject(model, beginning, unknown)
    if left_out := subject.left_out:
        note(f"Unknown characters: {left_out:,}, left out of the text")
    with PassingLine("Reading the text", shown=True) as line, thread_limit(1):  # windows are small: more are slower
        line.show()
        found = subject.find(find, units or _UNITS, None if texts else text) if find else None
        reports = Reports(
            None if found is None else found.units,
            subject.saturation() if saturation else None,
            subject.reach() if reach else None,
        )
        notes = [] if found is None else [f"Units were {found.where}."]
        if (reach or connect) and (model.cache or with_ngram):
            notes.append("Reach and connections leave out the model's memory.")
        top = top or (_TOP if as_json or file else 0)
        page = None if file is None else subject.page(top, reports, notes, connect=connect)
        reading = None if page or reports.any else subject.reading(top)
    for sentence in notes:
        note(f"Note: {sentence}")
    if page is not None and file is not None:
        with replacing(file, "name another file") as target:
            target.write(page.encode("utf-8", "replace"))  # a folder's name may be no Unicode
        note(f"Page: {html}")
    elif as_json:
        print_json(reports.to_dict() if reading is None else reading.to_dict())
    elif reading is None:
        reports.print()
    else:
        print_reading(reading, is_bytes=model.checkpoint.vocab.kind == "bytes")


def _read(texts: tuple[str, ...], model: LanguageModel) -> Text:
    from charrnn.cli._console import note
    from charrnn.data.files import find_files
    from charrnn.data.reading import read_text

    for sentence in find_files(texts).notes:
        note(f"Note: {sentence}")
    return read_text(*texts, config=model.checkpoint.text_config)

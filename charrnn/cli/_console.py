"""The output of commands on a terminal: tables by rich, bars by tqdm. Results go to stdout, the rest to stderr.

Rich always renders colours, and Click removes them if the terminal or the user wants none. Rich and tqdm are imported
inside the functions that use them, since importing both takes half as long as importing NumPy.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charrnn.api import LanguageModel, load
from charrnn.errors import ConfigError, CorpusError
from charrnn.training.folder import is_model

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_ENDLESS = 100_000  # columns if there is no terminal, so that each row is one line for the next program
_FACT = len("Model")  # columns of the names of facts about a run
_GAP = "  "  # between the columns of a table
_SHORT = 20  # characters of a value that leaves room for another one beside it
_NARROWEST = 40  # minimum columns of a table, so that each cell has some room


def note(text: str) -> None:
    """Print a message to stderr; it may be lost, since stderr may be closed."""
    with suppress(OSError):
        click.echo(text, err=True)


def print_or_raise(text: str, *, nl: bool = True) -> None:
    """Print a message of a training run to stderr; if stderr is closed, the run has to save and stop.

    Raises:  BrokenPipeError if the message cannot be written, whatever the reason.
    """
    click.echo(text, err=True, nl=nl)


def open_model(
    path: str | None,
    memory: int | None = None,
    memory_from: str | None = None,
    *,
    with_ngram: bool = False,
    adaptive: bool = False,
) -> LanguageModel:
    """Load the model of a command; name its file on stderr if the user did not.

    The others are as the options say.
    """
    model = load(path, memory=memory, with_ngram=with_ngram, adaptive=adaptive)
    if memory_from is not None:
        if model.cache is None and not adaptive:
            raise ConfigError("--memory-from fills a memory, and this model has none: give --memory too")
        from charrnn.data.reading import read_text

        model = replace(model, memory_from=read_text(memory_from, config=model.checkpoint.text_config))
    if model.path is not None:
        note_model(model.path, path)
    return model


def note_model(file: Path, path: str | None) -> None:
    """Name the file of a model on stderr if the user did not."""
    if str(file) != path:
        chosen = file.name in ("best.npz", Path(path or "").name)
        note(f"Model: {file}{'' if chosen else ' (there is no best.npz)'}")


def refuse_models(texts: Iterable[str]) -> None:
    """Raise CorpusError if a model is named where a text is expected."""
    for text in texts:
        if is_model(text):
            raise CorpusError(f"{text} is a model, not a text: give the model as -m {text}, and a text")


def check_pages() -> None:
    """Raise MissingExtraError if a package that pages need is not installed: at once, not after the work."""
    from charrnn.insight.figures import figure
    from charrnn.pages import render

    render("base.html")
    figure()


def print_json(data: Any) -> None:
    """Print a JSON value; NaN and infinity become null."""

    def clean(value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if isinstance(value, dict):
            return {key: clean(item) for key, item in value.items()}
        return [clean(item) for item in value] if isinstance(value, (list, tuple)) else value

    click.echo(json.dumps(clean(data), indent=2, ensure_ascii=False))


def print_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Iterable[int] = (),
    drop: Iterable[int] = (),
) -> None:
    """Print a table on stdout.

    right  columns that are right-aligned
    drop   columns to leave out, the first one first, until the table fits the terminal
    """
    from rich.table import Table
    from rich.text import Text

    shown, numbers = list(range(len(headings))), set(right)
    for index in drop:
        if not table_fits([headings[each] for each in shown], [[row[each] for each in shown] for row in rows]):
            shown.remove(index)
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=any(headings))
    for index in shown:
        table.add_column(headings[index], justify="right" if index in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(row[index])) for index in shown))
    lines = rendered(console(width=columns()), table).splitlines()
    click.echo("\n".join(map(str.rstrip, lines)))


def table_fits(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> bool:
    """Return whether no cell of a table has to be folded to fit the terminal."""
    from rich.cells import cell_len

    widths = [max(cell_len(printable(cell)) for cell in column) for column in zip(headings, *rows, strict=True)]
    return sum(widths) + len(_GAP) * (len(widths) - 1) <= columns()


def print_csv(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print CSV on stdout, with a header line; None becomes an empty cell."""
    import csv
    import io

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([headings, *rows])
    click.echo(text.getvalue(), nl=False)


def columns() -> int:
    """Return the columns that a table may take on stdout; endless if it is no terminal."""
    return max(_NARROWEST, shutil.get_terminal_size().columns) if sys.stdout.isatty() else _ENDLESS


def printable(text: str) -> str:
    """Return the text with control and invisible characters escaped."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def console(**options: Any) -> Console:
    """Return a console that always renders colours: Click decides whether they are shown."""
    from rich.console import Console

    return Console(highlight=False, force_terminal=True, color_system="standard", no_color=False, height=24, **options)


def rendered(console: Console, what: RenderableType) -> str:
    """Return the rendered text for Click to print: rich itself would exit if the pipe is closed."""
    with console.capture() as captured:
        console.print(what)
    return captured.get()


def redraws() -> bool:
    """Return whether stderr is a terminal that can redraw a line."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def print_facts(facts: dict[str, str], *, err: bool = False) -> None:
    """Print a line for each name and value; on stderr if `err`."""
    width = max(map(len, facts))
    for name, value in facts.items():
        (note if err else click.echo)(f"{click.style(f'{name:<{width}}', bold=True)}  {value}")


def print_sections(sections: dict[str, dict[str, str]]) -> None:
    """Print names and values on stdout in sections with a heading; those of a section are side by side if short."""
    for number, (title, facts) in enumerate(sections.items()):
        click.echo("\n" * bool(number) + click.style(title, bold=True))
        rows = [[f"  {name}", value] for name, value in facts.items()]
        if all(len(value) <= _SHORT for value in facts.values()):
            half = -(-len(rows) // 2)
            rows = [left + right for left, right in zip_longest(rows[:half], rows[half:], fillvalue=["", ""])]
        print_table([""] * len(rows[0]), rows)


class PassingLine:
    """A line on a terminal about work in progress; it is erased at the end of the context.

    shown: False: never show it
    """

    def __init__(self, text: str, *, shown: bool) -> None:
        self.text, self.shown = text, shown and redraws()
        self.visible = False

    def __enter__(self) -> PassingLine:
        return self

    def __exit__(self, *_: object) -> None:
        self.erase()

    def show(self) -> None:
        """Show the line."""
        if self.shown and not self.visible:
            print_or_raise(self.text, nl=False)
            self.visible = True

    def erase(self) -> None:
        """Erase the line if it is visible."""
        if self.visible:
            print_or_raise("\r" + " " * len(self.text) + "\r", nl=False)
            self.visible = False


def print_fact(name: str, value: str) -> None:
    """Print a fact about a training run to stderr, aligned with the others.

    Raises:  BrokenPipeError as for `print_or_raise`.
    """
    print_or_raise(f"{click.style(f'{name:<{_FACT}}', bold=True)}  {value}")


def print_sentence(text: str) -> None:
    """Print a sentence about a training run to stderr: one line, or as many as a terminal needs for whole words.

    Raises:  BrokenPipeError as for `print_or_raise`.
    """
    print_or_raise(wrapped(text))


def wrapped(text: str) -> str:
    from textwrap import fill

    width = screen_columns()
    if len(text) <= width:
        return text
    return fill(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def duration(seconds: float) -> str:
    """Return a time in seconds, minutes or hours, to about two digits."""
    if seconds < 99.5:
        return f"{max(1.0, seconds):.0f} second{'s' * (seconds >= 1.5)}"
    return f"{seconds / 60:.0f} minutes" if seconds < 99.5 * 60 else f"{seconds / 3600:.1f} hours"


def screen_columns() -> int:
    """Return the width of stderr's terminal; endless if it is none."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or _ENDLESS
    except (OSError, ValueError):
        return _ENDLESS

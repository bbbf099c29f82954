"""The output of commands on a terminal: tables by rich, bars by tqdm. Results go to stdout, the rest to stderr.

Rich always renders colours, and Click removes them if the terminal or the user wants none. Rich and tqdm are imported
inside the functions that use them, since importing both takes half as long as importing NumPy.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from charrnn.api import LanguageModel, load
from charrnn.data.cache import obstacle
from charrnn.errors import CorpusError
from charrnn.nn.functional import bits
from charrnn.training.advice import advise
from charrnn.training.folder import is_model
from charrnn.training.loop import MOST_TRIES, Evaluating, Recovered, Report, Stepped
from charrnn.training.run import Event, LengthChanged, Run

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text
    from tqdm import tqdm

_SMOOTHING = 0.98  # weight of the old value, at each step, in the loss that the bar shows
_BAR_DELAY = 1  # seconds of scoring before a bar appears
_NOTE_EVERY = 60.0  # seconds between two lines about scoring, where no bar can be drawn
_ENDLESS = 100_000  # columns if there is no terminal, so that each row is one line for the next program
_FACT = len("Model")  # columns of the names of facts about a run
_WITH_SPEED, _WITH_NORM = 100, 120  # columns from which on the bar has room for these figures
_GAP = "  "  # between the columns of a table
_SHORT = 20  # characters of a value that leaves room for another one beside it
_NARROWEST = 40  # minimum columns of a table, so that each cell has some room

T = TypeVar("T")


def note(text: str) -> None:
    """Print a message to stderr; it may be lost, since stderr may be closed."""
    with suppress(OSError):
        click.echo(text, err=True)


def print_or_raise(text: str, *, nl: bool = True) -> None:
    """Print a message of a training run to stderr; if stderr is closed, the run has to save and stop.

    Raises:  BrokenPipeError if the message cannot be written, whatever the reason.
    """
    click.echo(text, err=True, nl=nl)


def open_model(path: str | None) -> LanguageModel:
    """Load the model of a command; name its file on stderr if the user did not."""
    model = load(path)
    if model.path is not None and str(model.path) != path:
        chosen = model.path.name in ("best.npz", Path(path or "").name)
        why = "" if chosen else " (there is no best.npz)"
        note(f"Model: {model.path}{why}")
    return model


def refuse_models(texts: Iterable[str]) -> None:
    """Raise CorpusError if a model is named where a text is expected."""
    for text in texts:
        if is_model(text):
            raise CorpusError(f"{text} is a model, not a text: give the model as -m {text}, and a text")


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
        table.add_row(*(Text(_printable(row[index])) for index in shown))
    lines = _rendered(_console(width=_columns()), table).splitlines()
    click.echo("\n".join(map(str.rstrip, lines)))


def table_fits(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> bool:
    """Return whether no cell of a table has to be folded to fit the terminal."""
    from rich.cells import cell_len

    widths = [max(cell_len(_printable(cell)) for cell in column) for column in zip(headings, *rows, strict=True)]
    return sum(widths) + len(_GAP) * (len(widths) - 1) <= _columns()


def print_csv(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print CSV on stdout, with a header line; None becomes an empty cell."""
    import csv
    import io

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([headings, *rows])
    click.echo(text.getvalue(), nl=False)


def _columns() -> int:
    """Return the columns that a table may take."""
    return max(_NARROWEST, shutil.get_terminal_size().columns) if sys.stdout.isatty() else _ENDLESS


def _printable(text: str) -> str:
    """Return the text with control and invisible characters escaped."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _console(**options: Any) -> Console:
    """Return a console that always renders colours: Click decides whether they are shown."""
    from rich.console import Console

    return Console(highlight=False, force_terminal=True, color_system="standard", no_color=False, height=24, **options)


def _rendered(console: Console, what: RenderableType) -> str:
    """Return the rendered text for Click to print: rich itself would exit if the pipe is closed."""
    with console.capture() as captured:
        console.print(what)
    return captured.get()


def _bars() -> bool:
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


def _bar(**options: Any) -> tqdm[NoReturn]:
    """Return a progress bar that is erased at its end."""
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # no thread that redraws idle bars: where no thread can start, tqdm prints a warning
    return tqdm(dynamic_ncols=True, leave=False, **options)


class ReadingBar:
    """Progress while large texts are put into the cache: a bar on a terminal, else a line for each text."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.bar: tqdm[NoReturn] | None = None
        self.read = 0

    def __enter__(self) -> ReadingBar:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def __call__(self, read: int, total: int) -> None:
        """Show how many bytes of the total have been read."""
        if self.bar is None or read < self.read:  # another text begins
            self.__exit__()
            bars = _bars()
            reason = obstacle()
            if reason and not self.quiet:
                note(f"Note: the text is encoded in memory, not in the cache: {reason}")
            elif not (bars or self.quiet):
                note(f"Encoding {total / 1e6:,.0f} MB of text for the cache; `charrnn cache` shows where")
            self.bar = _bar(
                total=total,
                disable=self.quiet or not bars,
                desc="Encoding the text" if reason else "Encoding the text, once",
                unit="B",
                unit_scale=True,
            )
        self.bar.update(read - self.bar.n)
        self.read = read


class PassingLine:
    """A line on a terminal about work in progress; it is erased at the end of the context.

    shown: False: never show it
    """

    def __init__(self, text: str, *, shown: bool) -> None:
        self.text, self.shown = text, shown and _bars()
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
    print_or_raise(_wrapped(text))


def _wrapped(text: str) -> str:
    from textwrap import fill

    columns = _screen_columns()
    if len(text) <= columns:
        return text
    return fill(text, columns, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def duration(seconds: float) -> str:
    """Return a time in seconds, minutes or hours, to about two digits."""
    if seconds < 99.5:
        return f"{max(1.0, seconds):.0f} second{'s' * (seconds >= 1.5)}"
    return f"{seconds / 60:.0f} minutes" if seconds < 99.5 * 60 else f"{seconds / 3600:.1f} hours"


def _screen_columns() -> int:
    """Return the width of stderr's terminal; endless if it is none."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or _ENDLESS
    except (OSError, ValueError):
        return _ENDLESS


class ScoringBar:
    """Progress while lines are scored: a bar on a terminal, else a line each minute.

    total  bytes of the input; None if unknown
    models how many models score each byte
    quiet  show nothing
    shown  results go to the terminal while lines are scored, so a bar would be in their way
    """

    def __init__(self, total: float | None, *, models: int, quiet: bool, shown: bool) -> None:
        self._total, self._models, self._done, self._size = total, models, 0.0, 0
        self._noted = time.monotonic() if not (quiet or sys.stderr.isatty()) else None
        self._bar: tqdm[NoReturn] | None = None
        if _bars() and not (quiet or shown):
            self._bar = _bar(total=total, desc="Scoring", unit="B", unit_scale=True, delay=_BAR_DELAY)

    def __enter__(self) -> ScoringBar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def follow(self, blocks: Iterable[Sequence[T]], size: Callable[[T], int]) -> Iterator[Sequence[T]]:
        """Yield the blocks, and close the bar after the last, before results are printed.

        size: returns the bytes of an item
        """
        for block in blocks:
            self._size = sum(map(size, block))
            yield block
        self.__exit__()

    def __call__(self, done: int, of: int) -> None:
        """Show how many predictions of the current block are done."""
        at = self._done + self._size * done / of / self._models
        if done == of:
            self._done = at
        if self._bar is not None:
            self._bar.update(at - self._bar.n)
        if self._noted is not None and time.monotonic() - self._noted >= _NOTE_EVERY:
            self._noted = time.monotonic()
            total = self._total
            note(f"Scored {at / 1e6:,.1f} MB" if total is None else f"Scored {at / total:.0%} of {total / 1e6:,.1f} MB")


class MovingAverage:
    """The moving average of the losses of the steps, divided by the weight that they have so far."""

    def __init__(self) -> None:
        self.total = self.weight = 0.0

    def __call__(self, loss: float) -> float:
        """Return the average with this loss included."""
        self.total = _SMOOTHING * self.total + (1 - _SMOOTHING) * loss
        self.weight = _SMOOTHING * self.weight + (1 - _SMOOTHING)
        return self.total / self.weight


class TrainScreen:
    """The screen of a training run: a bar on a terminal, a line for each evaluation, and samples."""

    def __init__(self, run: Run, *, quiet: bool, verbose: bool, sample_every: int) -> None:
        self.run, self.quiet, self.verbose, self.sample_every = run, quiet, verbose, sample_every
        self.console = _console(soft_wrap=True)
        self.smoothed = MovingAverage()
        self.val_loss: float | None = None
        self.bar = _bar(
            total=run.state.course.total,
            initial=run.state.step,
            disable=quiet or not _bars(),
            unit="step",
            mininterval=0.2,
            bar_format="{percentage:3.0f}% {bar} {n_fmt}/{total_fmt} steps, {remaining} left{postfix}",
        )
        self.told: set[str] = set()
        self.chars_done = self.steps_done = 0

    def __enter__(self) -> TrainScreen:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def show(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, Stepped):
            self._step(event)
        elif isinstance(event, Evaluating):
            self.bar.set_postfix_str(f"evaluating {event.chars:,}/{event.of:,}")
        elif isinstance(event, LengthChanged):
            self.bar.total = event.total
            if self.verbose:
                self._print(f"[bold]step {event.step:,}[/]  length now {event.total:,} steps, to fit the time budget")
        elif isinstance(event, Recovered):
            self._recover(event)
        elif isinstance(event, Report) and event.val_loss is not None:
            self.val_loss = event.val_loss
            self._line(event, f"  val {event.val_loss:.4f} ({bits(event.val_loss):.3f} bpc)")
        elif isinstance(event, Report) and event.saturation is not None:
            self._line(event, "")

    def _step(self, event: Stepped) -> None:
        loss = self.smoothed(event.loss)
        self.chars_done += event.chars
        self.steps_done += 1
        rate = self.bar.format_dict["rate"] or self.steps_done / max(1e-9, self.bar.format_dict["elapsed"])
        chars = rate * self.chars_done / self.steps_done
        figures = [f"loss {loss:.3f}"]
        figures += [] if self.val_loss is None else [f"val {self.val_loss:.3f}"]
        columns = _screen_columns()
        figures += [f"{chars:,.0f} chars/s"] if columns >= _WITH_SPEED else []
        figures += [f"norm {event.grad_norm:.2f}"] if columns >= _WITH_NORM else []
        self.bar.set_postfix_str(", ".join(figures), refresh=False)
        self.bar.update()
        if self.sample_every and event.step % self.sample_every == 0:
            self._sample(event.step)

    def note_save(self, signum: int) -> None:
        """Show that a signal has made the run save and continue."""
        self._print(f"[bold]step {self.run.state.step:,}[/]  saved on {signal.Signals(signum).name}")

    def _recover(self, event: Recovered) -> None:
        self._print(
            f"[bold]step {event.step:,}[/]  [yellow]{event.cause}[/]; back to step {event.back_to:,}, "
            f"learning rate {event.learning_rate:.3g} (try {event.tries} of {MOST_TRIES})"
        )
        self.smoothed = MovingAverage()
        self.bar.n = self.bar.last_print_n = event.back_to

    def _line(self, report: Report, val: str) -> None:
        best = "  [green]best so far[/]" if report.best else ""
        norm = f"  norm {report.grad_norm:.2f}" if _screen_columns() >= _WITH_NORM else ""
        self._print(f"[bold]step {report.step:,}[/]  epoch {report.epoch:.2f}  loss {report.loss:.4f}{val}{norm}{best}")
        for what, sentence in advise(self.run.state.history, self.run.vocab.entropy).items():
            if what not in self.told:
                self._print(_wrapped(f"Note: {sentence}"))
                self.told.add(what)

    def _sample(self, step: int) -> None:
        from rich.text import Text

        text = LanguageModel(self.run.checkpoint()).sample(200, seed=self.run.training.config.seed)
        self._print(f"[bold]step {step:,}[/]  sample:")
        self._print(Text(text))

    def _print(self, text: str | Text) -> None:
        if not self.quiet:
            with self.bar.external_write_mode(file=sys.stderr):
                print_or_raise(_rendered(self.console, text), nl=False)


class SweepBar:
    """The bar of one run of a sweep, on a terminal."""

    def __init__(self, run: Run, name: str, *, quiet: bool) -> None:
        self.run, self.name, self.quiet = run, name, quiet
        self.bar = _bar(
            total=run.state.course.total,
            initial=run.state.step,
            disable=quiet or not _bars(),
            desc=name,
            unit="step",
            mininterval=0.2,
            bar_format="{desc} {percentage:3.0f}% {bar} {remaining} left{postfix}",
        )

    def __enter__(self) -> SweepBar:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def show(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, Stepped):
            self.bar.update()
        elif isinstance(event, Report) and event.val_loss is not None:
            self.bar.set_postfix_str(f"val {event.val_loss:.3f}", refresh=False)

    def note_save(self, signum: int) -> None:
        """Show that a signal has made the run save and continue."""
        if not self.quiet:
            with self.bar.external_write_mode(file=sys.stderr):
                note(f"{self.name}  saved on {signal.Signals(signum).name} after step {self.run.state.step:,}")


def closing_figures(run: Run) -> dict[str, str]:
    """Return the figures that a finished run prints."""
    progress, state = run.state.progress, run.state
    facts = {}
    if progress.best_loss is not None:
        loss = progress.best_loss
        facts["Best loss"] = f"{loss:.4f} nats ({bits(loss):.3f} bits) per character at step {progress.best_step:,}"
    elif state.history:
        facts["Loss"] = f"{state.history[-1]['loss']:.4f} nats per character, in training"
    chars = run.training.stream.chars_before(state.step)
    facts["Time"] = f"{duration(run.seconds)}, {chars / max(run.seconds, 1e-9):,.0f} characters per second"
    facts["Model"] = str(run.folder.model())
    return facts

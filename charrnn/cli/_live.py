"""The screen of `train --live`: it follows a run, and redraws its panel within a share of the time."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Literal, Self

import click

from charrnn.cli._chart import Curve, chart
from charrnn.cli._console import console, print_or_raise, redraws, rendered
from charrnn.cli._panel import View, curves, panel
from charrnn.cli._train_screen import TrainScreen
from charrnn.system.signals import PAUSING
from charrnn.training.loop import Evaluating, Report, Stepped
from charrnn.training.run import Run

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

#: Shares of the time that may be spent on the panel, on new curves in it, and on samples: together under 1 %.
_DRAWING, _CHARTING, _SAMPLING = 1 / 400, 1 / 600, 1 / 600
_TIMED = 5  # times that a piece of work was done, whose mean says what it takes
_OTHERS = ("rate", "norm", "chars/s", "epoch")  # figures besides losses
_CALM = 0.25  # seconds between two drawings, at least
_DRAWINGS = 20  # over which the speed is measured
_USUAL_SIZE = 80, 24  # of a terminal that does not say
_LARGEST_CHART = 100, 14  # columns and rows of the curves that are left when the run ends
_NO_WRAP, _WRAP = "\x1b[?7l", "\x1b[?7h"  # a character that the terminal takes for wider than rich does moves no line
_AWAY, _BACK = f"{_WRAP}\x1b[?25h\x1b[?1049l", f"\x1b[?1049h\x1b[?25l{_NO_WRAP}"  # to the user's own screen and back


def check_charts() -> None:
    """Raise MissingExtraError if a live screen can be shown here, and has nothing to draw its curves with."""
    if redraws():
        chart([Curve("", (0, 1), (0, 1), "")], width=20, height=5, x_label="", y_label="")


class Allowance:
    """Permits some work again and again, as often as a share of the time allows.

    share  of the time that passes; pause: seconds between two times, at least
    """

    def __init__(self, share: float, pause: float = 0.0) -> None:
        self.share, self.pause, self.due = share, pause, 0.0
        self.costs = deque[float](maxlen=_TIMED)

    def __bool__(self) -> bool:
        return time.monotonic() >= self.due

    @contextmanager
    def spent(self) -> Iterator[None]:
        """Measure the work that is done in this context."""
        began = time.monotonic()
        yield
        ended = time.monotonic()
        self.costs.append(ended - began)
        self.due = ended + max(self.pause, sum(self.costs) / len(self.costs) / self.share)


class LiveScreen(TrainScreen):
    """Curves, figures and a sample that fill the terminal; its earlier content returns at the end.

    Then the curves and all that was said are printed below it.
    """

    def __init__(self, run: Run, *, verbose: bool, sample_every: int) -> None:
        from rich.live import Live

        super().__init__(run, verbose=verbose, sample_every=sample_every)
        self.view = _view_of(run)
        self.drawing = Allowance(_DRAWING, _CALM)
        self.charting, self.sampling = Allowance(_CHARTING), Allowance(_SAMPLING)
        self.chart: tuple[tuple[int, int], Text] | None = None  # the newest one and its size
        self.began = self.last = time.monotonic()  # last: of the newest event
        self.steps = 0
        self.chars, self.seconds = 0, 0.0  # of training alone
        self.drawn = deque[tuple[int, float]](maxlen=_DRAWINGS)  # these two, when the panel was drawn
        self.console = _console()
        self.live = Live(
            get_renderable=self._panel,
            console=self.console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._set_losses(run.state.history[-1]["val_loss"] if run.state.history else None)

    def __enter__(self) -> Self:
        if not self.sample_every:
            with self.sampling.spent():
                self._show_sample(self.run.state.step, self._written())
        self.live.start(refresh=True)  # not measured, since it imports what the others need
        sys.stderr.write(_NO_WRAP)
        self.pausing = [number for number in PAUSING if signal.getsignal(number) is signal.SIG_DFL]
        for number in self.pausing:
            signal.signal(number, self._pause)
        return self

    def __exit__(self, *_: object) -> None:
        for number in self.pausing:
            signal.signal(number, signal.SIG_DFL)
        self.live.stop()
        sys.stderr.write(_WRAP)
        columns, rows = map(min, _LARGEST_CHART, self.console.size)
        below = console(soft_wrap=True)
        if len(self.view.training.steps) > 1:
            print_or_raise(rendered(below, curves(self.view, columns, rows)), nl=False)
        for text in self.view.said:
            print_or_raise(rendered(below, text), nl=False)

    def _pause(self, signum: int, frame: FrameType | None) -> None:
        """Leave the terminal to the shell until the run continues, and take that time for none of training.

        This happens at once, not after the step: worker processes may have been stopped, too.
        """
        began, terminal = time.monotonic(), sys.stderr.fileno()
        os.write(terminal, _AWAY.encode())  # not by a stream, which the signal may have interrupted
        signal.signal(signum, signal.SIG_DFL)
        signal.raise_signal(signum)
        signal.signal(signum, self._pause)
        os.write(terminal, _BACK.encode())
        paused = time.monotonic() - began
        self.began, self.last, self.drawing.due = self.began + paused, self.last + paused, 0.0

    def _step(self, event: Stepped, loss: float) -> None:
        now = time.monotonic()
        self.steps += 1
        self.chars, self.seconds, self.last = self.chars + event.chars, self.seconds + now - self.last, now
        self.view.step = event.step
        self.view.training.add(event.step, loss)
        if self.drawing or self.console.size != _size():
            self.view.status = self._time_left(now)
            self._set_figures(event, loss)
            self._draw()

    def _evaluating(self, event: Evaluating) -> None:
        self.last = time.monotonic()
        if self.drawing or self.console.size != _size():
            self.view.status = f"evaluating {event.chars:,}/{event.of:,}"
            self._draw()

    def _report(self, report: Report) -> None:
        if report.val_loss is not None:
            self.view.validation.add(report.step, report.val_loss)
        self._set_losses(report.val_loss)
        if not self.sample_every and self.sampling:
            with self.sampling.spent():
                self._sample()
        if self.run.finished:
            self.view.status = "fitting the memory"
            self._draw()
        self.last = time.monotonic()

    def _set_total(self, total: int) -> None:
        self.view.total = total

    def _go_back(self, step: int) -> None:
        self.view.step = step
        self.view.training.cut(step)
        self.view.validation.cut(step)

    def _show_sample(self, step: int, text: str) -> None:
        self.view.sample = step, text

    def _line(self, step: int, markup: str) -> None:
        from rich.text import Text

        self.view.said.append(Text.from_markup(f"[bold]step {step:,}[/]  {markup}"))

    def _note(self, sentence: str) -> None:
        from rich.text import Text

        self.view.said.append(Text(f"Note: {sentence}"))

    def _set_losses(self, newest: float | None) -> None:
        """Show the newest validation loss, and the best one; newest: None without validation."""
        progress = self.run.state.progress
        if newest is not None and progress.best_loss is not None:
            self.view.best = progress.best_step, progress.best_loss
            self.view.figures |= {"validation": f"{newest:.3f}", "best": f"{progress.best_loss:.3f}"}

    def _set_figures(self, event: Stepped, loss: float) -> None:
        training, state = self.run.training, self.run.state
        rate = training.schedule(state)(event.step - 1) * state.progress.rate_factor
        self.view.figures |= {
            "training": f"{loss:.3f}",
            "rate": f"{rate:.2e}",
            "norm": f"{event.grad_norm:.3f}",
            "chars/s": self._speed(),
            "epoch": f"{event.step / training.stream.steps_per_epoch:.2f}",
        }

    def _speed(self) -> str:
        """Return the characters per second of training, over the last few drawings."""
        chars, seconds = self.drawn[0] if self.drawn else (0, 0.0)
        self.drawn.append((self.chars, self.seconds))
        return f"{(self.chars - chars) / max(1e-9, self.seconds - seconds):,.0f}"

    def _time_left(self, now: float) -> str:
        """Return the time left: at the average speed so far, or by the time budget."""
        from tqdm import tqdm

        run = self.run
        seconds = (now - self.began) / self.steps * (self.view.total - self.view.step)
        if run.timer is not None:
            seconds = min(run.timer.end - now, run.timer.seconds_left(run.training, run.state))
        return f"{tqdm.format_interval(max(0.0, seconds))} left"

    def _draw(self) -> None:
        with self.drawing.spent():
            self.live.refresh()

    def _panel(self) -> Text:
        self.console.size = _size()
        return panel(self.view, self.console, self._curves)

    def _curves(self, columns: int, rows: int) -> Text:
        """Return a chart of this size: the one that is there, if it is too early for another."""
        if self.chart is None or self.chart[0] != (columns, rows) or self.charting:
            with self.charting.spent():
                self.chart = (columns, rows), curves(self.view, columns, rows)
        return self.chart[1]


def _view_of(run: Run) -> View:
    """Return what is known of a run before its next step: if it was resumed, the curves of its history."""
    config, state = run.training.model_config, run.state
    title = f"{run.folder.path.name}  {config.cell} {config.num_layers}x{config.hidden_size}"
    losses = ("training", "validation", "best") if len(run.training.val_ids) > 1 else ("training",)
    view = View(title, state.course.total, state.step, figures=dict.fromkeys((*losses, *_OTHERS), "–"))
    for record in state.history:
        view.training.add(record["step"], record["loss"])
        if record["val_loss"] is not None:
            view.validation.add(record["step"], record["val_loss"])
    return view


def _size() -> tuple[int, int]:
    """Return the columns and rows of the terminal."""
    try:
        columns, rows = os.get_terminal_size(sys.stderr.fileno())
    except OSError:  # it is gone, and to write to it is the error that the caller expects
        columns = rows = 0
    return columns or _USUAL_SIZE[0], rows or _USUAL_SIZE[1]


def _console() -> Console:
    """Return a console that writes to the terminal: Click would remove its control codes along with the colours."""
    from rich.console import Console

    class Terminal(Console):
        def on_broken_pipe(self) -> None:
            raise  # rich itself would exit, and the run would not be saved

    colors: Literal["standard"] | None = None if click.get_current_context().color is False else "standard"
    return Terminal(file=sys.stderr, force_terminal=True, color_system=colors, no_color=False, highlight=False)

"""The screen of a training run: a bar, a line for each evaluation, samples, and the closing figures."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from charrnn.api import LanguageModel
from charrnn.cli._bars import bar
from charrnn.cli._console import console, duration, print_or_raise, redraws, rendered, screen_columns, wrapped
from charrnn.nn.functional import bits
from charrnn.training.advice import advise
from charrnn.training.fitting import MemoryFitted
from charrnn.training.loop import MOST_TRIES, Evaluating, Recovered, Report, Stepped
from charrnn.training.run import Event, LengthChanged, Run

if TYPE_CHECKING:
    from rich.text import Text

_SMOOTHING = 0.98  # weight of the old value, at each step, in the loss that the bar shows
_WITH_SPEED, _WITH_NORM = 100, 120  # columns from which on the bar has room for these figures


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
        self.console = console(soft_wrap=True)
        self.smoothed = MovingAverage()
        self.val_loss: float | None = None
        self.memory: MemoryFitted | None = None
        self.bar = bar(
            total=run.state.course.total,
            initial=run.state.step,
            disable=quiet or not redraws(),
            unit="step",
            mininterval=0.2,
            bar_format="{percentage:3.0f}% {bar} {n_fmt}/{total_fmt} steps, {remaining} left{postfix}",
        )
        self.advised: set[str] = set()
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
        elif isinstance(event, MemoryFitted):
            self.memory = event
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
        columns = screen_columns()
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
        norm = f"  norm {report.grad_norm:.2f}" if screen_columns() >= _WITH_NORM else ""
        self._print(f"[bold]step {report.step:,}[/]  epoch {report.epoch:.2f}  loss {report.loss:.4f}{val}{norm}{best}")
        state, training = self.run.state, self.run.training
        for what, sentence in advise(state.history, self.run.vocab.entropy, training.model_config).items():
            if what not in self.advised:
                self._print(wrapped(f"Note: {sentence}"))
                self.advised.add(what)

    def _sample(self, step: int) -> None:
        from rich.text import Text

        text = LanguageModel(self.run.checkpoint()).sample(200, seed=self.run.training.config.seed)
        self._print(f"[bold]step {step:,}[/]  sample:")
        self._print(Text(text))

    def _print(self, text: str | Text) -> None:
        if not self.quiet:
            with self.bar.external_write_mode(file=sys.stderr):
                print_or_raise(rendered(self.console, text), nl=False)


def closing_figures(run: Run, memory: MemoryFitted | None) -> dict[str, str]:
    """Return the figures that a finished run prints; memory: None if none was fitted."""
    progress, state = run.state.progress, run.state
    facts = {}
    if progress.best_loss is not None:
        loss = progress.best_loss
        facts["Best loss"] = f"{loss:.4f} nats ({bits(loss):.3f} bits) per character at step {progress.best_step:,}"
    elif state.history:
        facts["Loss"] = f"{state.history[-1]['loss']:.4f} nats per character, in training"
    if memory is not None:
        facts["Memory"] = _memory_in_words(memory)
    chars = run.training.stream.chars_before(state.step)
    facts["Time"] = f"{duration(run.seconds)}, {chars / max(run.seconds, 1e-9):,.0f} characters per second"
    facts["Model"] = str(run.folder.model())
    return facts


def _memory_in_words(fitted: MemoryFitted) -> str:
    """Say what the memory gains on the characters that it was fitted to."""
    if not fitted.cache.size:
        return "off: looking back at similar passages does not lower the validation loss"
    gain = f"{fitted.alone:.4f} nats become {fitted.both:.4f}"
    return f"looks back {fitted.cache.size:,} characters; on {fitted.chars:,} characters for validation, {gain}"

"""The screens of a training run: what both share, the one with a bar, and the closing figures."""

from __future__ import annotations

import signal
import sys
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

from charrnn.api import LanguageModel
from charrnn.cli._bars import bar
from charrnn.cli._console import console, duration, print_or_raise, redraws, rendered, screen_columns, wrapped
from charrnn.cli._sparkline import is_printable, sparkline
from charrnn.nn.functional import bits
from charrnn.parallel.workers import SlowRank
from charrnn.training.advice import advise
from charrnn.training.fitting import MemoryFitted
from charrnn.training.loop import MOST_TRIES, Evaluating, Recovered, Report, Stepped
from charrnn.training.run import Event, LengthChanged, Run

if TYPE_CHECKING:
    from rich.text import Text

_SMOOTHING = 0.98  # weight of the old value, at each step, in the loss that a screen shows
_SAMPLE, _DOCUMENTS = 200, 8  # characters of a sample; documents that may be in it
_READ = 2_000  # characters of the text, in which the sources of such documents are looked for
_WITH_SPEED, _WITH_NORM = 100, 120  # columns from which on the bar has room for these figures
FEWEST_EVALUATIONS = 3  # of a curve in the closing figures


class MovingAverage:
    """The moving average of the losses of the steps, divided by the weight that they have so far."""

    def __init__(self) -> None:
        self.total = self.weight = 0.0

    def __call__(self, loss: float) -> float:
        """Return the average with this loss included."""
        self.total = _SMOOTHING * self.total + (1 - _SMOOTHING) * loss
        self.weight = _SMOOTHING * self.weight + (1 - _SMOOTHING)
        return self.total / self.weight


class TrainScreen(ABC):
    """What a training run shows: within a context, `show` takes its events one after another.

    A subclass decides how: it has a method for each kind of event, and for lines and samples.

    verbose       whether changes of the length are shown, too
    sample_every  steps between two samples, which are also logged; 0 for never
    memory        fitted at the end; None before, or if none was fitted
    """

    def __init__(self, run: Run, *, verbose: bool, sample_every: int) -> None:
        self.run, self.verbose, self.sample_every = run, verbose, sample_every
        self.smoothed = MovingAverage()
        self.memory: MemoryFitted | None = None
        self.advised: set[str] = set()

    @abstractmethod
    def __enter__(self) -> Self: ...

    @abstractmethod
    def __exit__(self, *_: object) -> None: ...

    def show(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, Stepped):
            self._step(event, self.smoothed(event.loss))
            if self.sample_every and event.step % self.sample_every == 0:
                self._sample()
        elif isinstance(event, Evaluating):
            self._evaluating(event)
        elif isinstance(event, LengthChanged):
            self._set_total(event.total)
            if self.verbose:
                self._line(event.step, f"length now {event.total:,} steps, to fit the time budget")
        elif isinstance(event, Recovered):
            self._recover(event)
        elif isinstance(event, SlowRank):
            self._note_once(
                event.name,
                f"{event.name} takes {event.times:.1f} times as long for its batch rows as the others, and they wait: "
                "check what else runs there",
            )
        elif isinstance(event, MemoryFitted):
            self.memory = event
        elif isinstance(event, Report) and event.saturation is not None:  # with an evaluation
            self._report(event)
            self._advise()

    def note_save(self, signum: int) -> None:
        """Show that a signal has made the run save and continue."""
        self._line(self.run.state.step, f"saved on {signal.Signals(signum).name}")

    def _recover(self, event: Recovered) -> None:
        self.smoothed = MovingAverage()
        self._line(
            event.step,
            f"[yellow]{event.cause}[/]; back to step {event.back_to:,}, "
            f"learning rate {event.learning_rate:.3g} (try {event.tries} of {MOST_TRIES})",
        )
        self._go_back(event.back_to)

    def _advise(self) -> None:
        """Give each advice once."""
        state, training = self.run.state, self.run.training
        for what, sentence in advise(state.history, self.run.vocab.entropy, training.model_config).items():
            self._note_once(what, sentence)

    def _note_once(self, what: str, sentence: str) -> None:
        if what not in self.advised:
            self._note(sentence)
            self.advised.add(what)

    def _sample(self) -> None:
        """Log and show a sample."""
        text = self._written()
        self.run.log_sample(text)
        self._show_sample(self.run.state.step, text)

    def _written(self) -> str:
        """Return a sample by the present weights, of documents a few; the seed is always the same."""
        model, seed = LanguageModel(self.run.checkpoint()), self.run.training.config.seed
        if self.run.vocab.end is None:
            return model.sample(_SAMPLE, seed=seed)
        if self.run.training.stream.tab is not None:
            translated = model.samples(1, _SAMPLE, primes=self._sources(), seed=seed)
            return "\n".join(sample.prime + sample.text for sample in translated)[:_SAMPLE]
        return "\n".join(sample.text for sample in model.samples(_DOCUMENTS, _SAMPLE, seed=seed))[:_SAMPLE]

    def _sources(self) -> list[str]:
        """Return what precedes the target in the first documents, of the validation split if there is one."""
        import numpy as np

        training, vocab = self.run.training, self.run.vocab
        ids = training.val_ids if len(training.val_ids) > 1 else training.stream.ids
        first = ids[np.arange(min(len(ids), _READ))]
        begins = np.flatnonzero(first[:-1] == vocab.end)[:_DOCUMENTS]
        return ["".join(vocab.decode(first[begin:]).partition("\t")[:2]) for begin in begins]

    @abstractmethod
    def _step(self, event: Stepped, loss: float) -> None:
        """Show a step; loss: smoothed."""

    @abstractmethod
    def _evaluating(self, event: Evaluating) -> None: ...

    @abstractmethod
    def _report(self, report: Report) -> None:
        """Show an evaluation."""

    @abstractmethod
    def _set_total(self, total: int) -> None:
        """Show another length, in steps."""

    @abstractmethod
    def _go_back(self, step: int) -> None:
        """Show that training continues from this earlier step."""

    @abstractmethod
    def _show_sample(self, step: int, text: str) -> None: ...

    @abstractmethod
    def _line(self, step: int, markup: str) -> None:
        """Show what happened at a step, in rich's markup."""

    @abstractmethod
    def _note(self, sentence: str) -> None:
        """Show a sentence that the user should read."""


class BarScreen(TrainScreen):
    """A bar on a terminal, and a line for each evaluation; `quiet` shows nothing."""

    def __init__(self, run: Run, *, quiet: bool, verbose: bool, sample_every: int) -> None:
        super().__init__(run, verbose=verbose, sample_every=sample_every)
        self.quiet = quiet
        self.console = console(soft_wrap=True)
        self.val_loss: float | None = None
        self.bar = bar(
            total=run.state.course.total,
            initial=run.state.step,
            disable=quiet or not redraws(),
            unit="step",
            mininterval=0.2,
            bar_format="{percentage:3.0f}% {bar} {n_fmt}/{total_fmt} steps, {remaining} left{postfix}",
        )
        self.chars_done = self.steps_done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def _step(self, event: Stepped, loss: float) -> None:
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

    def _evaluating(self, event: Evaluating) -> None:
        self.bar.set_postfix_str(f"evaluating {event.chars:,}/{event.of:,}")

    def _report(self, report: Report) -> None:
        self.val_loss = report.val_loss
        val = "" if report.val_loss is None else f"  val {report.val_loss:.4f} ({bits(report.val_loss):.3f} bpc)"
        best = "  [green]best so far[/]" if report.best else ""
        norm = f"  norm {report.grad_norm:.2f}" if screen_columns() >= _WITH_NORM else ""
        self._line(report.step, f"epoch {report.epoch:.2f}  loss {report.loss:.4f}{val}{norm}{best}")

    def _set_total(self, total: int) -> None:
        self.bar.total = total

    def _go_back(self, step: int) -> None:
        self.bar.n = self.bar.last_print_n = step

    def _show_sample(self, step: int, text: str) -> None:
        from rich.text import Text

        self._line(step, "sample:")
        self._print(Text(text))

    def _line(self, step: int, markup: str) -> None:
        self._print(f"[bold]step {step:,}[/]  {markup}")

    def _note(self, sentence: str) -> None:
        self._print(wrapped(f"Note: {sentence}"))

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
    losses = [record["val_loss"] for record in state.history if record["val_loss"] is not None]
    if len(losses) >= FEWEST_EVALUATIONS and is_printable(sys.stderr.encoding):
        facts["Curve"] = f"{sparkline(losses)}  {losses[0]:.2f} to {losses[-1]:.2f} validation loss"
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

"""Bars by tqdm: reading, scoring and the runs of a sweep; tqdm is imported when a bar is made."""

from __future__ import annotations

import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from charrnn.cli._console import note, redraws
from charrnn.data.cache import obstacle
from charrnn.training.loop import Report, Stepped
from charrnn.training.run import Event, Run

if TYPE_CHECKING:
    from tqdm import tqdm

_BAR_DELAY = 1  # seconds of scoring before a bar appears
_NOTE_EVERY = 60.0  # seconds between two lines about scoring, where no bar can be drawn

T = TypeVar("T")


def bar(**options: Any) -> tqdm[NoReturn]:
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
            bars = redraws()
            reason = obstacle()
            if reason and not self.quiet:
                note(f"Note: the text is encoded in memory, not in the cache: {reason}")
            elif not (bars or self.quiet):
                note(f"Encoding {total / 1e6:,.0f} MB of text for the cache; `charrnn cache` shows where")
            self.bar = bar(
                total=total,
                disable=self.quiet or not bars,
                desc="Encoding the text" if reason else "Encoding the text, once",
                unit="B",
                unit_scale=True,
            )
        self.bar.update(read - self.bar.n)
        self.read = read


class ScoringBar:
    """Progress while lines are scored: a bar on a terminal, else a line each minute.

    total  bytes of the input; None if unknown
    models how many models score each byte
    quiet  show nothing
    shown  results go to the terminal while lines are scored, so a bar would be in their way
    doing, done  what is done with the lines
    """

    def __init__(
        self,
        total: float | None,
        *,
        models: int,
        quiet: bool,
        shown: bool,
        doing: str = "Scoring",
        done: str = "Scored",
    ) -> None:
        self._finished = done
        self._total, self._models, self._done = total, models, 0.0
        self._sizes = deque[float]()  # bytes of each block that is being scored, for each model
        self._noted = time.monotonic() if not (quiet or sys.stderr.isatty()) else None
        self._bar: tqdm[NoReturn] | None = None
        if redraws() and not (quiet or shown):
            self._bar = bar(total=total, desc=doing, unit="B", unit_scale=True, delay=_BAR_DELAY)

    def __enter__(self) -> ScoringBar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def follow(self, blocks: Iterable[Sequence[T]], size: Callable[[T], float]) -> Iterator[Sequence[T]]:
        """Yield the blocks, which are scored in this order.

        size: returns the bytes of an item
        """
        for block in blocks:
            if block:
                self._sizes.extend([sum(map(size, block)) / self._models] * self._models)
            yield block

    def end_with(self, rows: Iterable[T]) -> Iterator[T]:
        """Yield the rows, and close the bar after the last, before results are printed."""
        yield from rows
        self.__exit__()

    def __call__(self, done: int, of: int) -> None:
        """Show how many lines of the first block that is not done are scored, by one of the models."""
        at = self._done + self._sizes[0] * done / of
        if done == of:
            self._done = at
            self._sizes.popleft()
        if self._bar is not None:
            self._bar.update(at - self._bar.n)
        if self._noted is not None and time.monotonic() - self._noted >= _NOTE_EVERY:
            self._noted = time.monotonic()
            total = self._total
            how_much = "" if total is None else f"{at / total:.0%} of "
            note(f"{self._finished} {how_much}{(total or at) / 1e6:,.1f} MB")


class SweepBar:
    """The bar of one run of a sweep, on a terminal."""

    def __init__(self, run: Run, name: str, *, quiet: bool) -> None:
        self.run, self.name, self.quiet = run, name, quiet
        self.bar = bar(
            total=run.state.course.total,
            initial=run.state.step,
            disable=quiet or not redraws(),
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

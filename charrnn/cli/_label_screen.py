"""The screen of `charrnn classify train`, and its closing figures."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from charrnn.cli._console import duration
from charrnn.cli._sparkline import is_printable, sparkline
from charrnn.cli._train_screen import FEWEST_EVALUATIONS, BarScreen
from charrnn.training.loop import Report

if TYPE_CHECKING:
    from charrnn.classification.run import ClassifierRun


class LabelScreen(BarScreen):
    """A bar on a terminal, and a line for each evaluation, with the accuracy."""

    def _report(self, report: Report) -> None:
        self.val_loss = report.val_loss
        val = "" if report.val_loss is None else f"  val {report.val_loss:.4f}, {report.val_accuracy:.1%} right"
        best = "  [green]best so far[/]" if report.best else ""
        self._line(report.step, f"epoch {report.epoch:.1f}  loss {report.loss:.4f}{val}{best}")

    def _advise(self) -> None:
        """Say nothing: the advice is about losses per character."""


def closing_figures(run: ClassifierRun) -> dict[str, str]:
    """Return the figures that a finished run prints."""
    progress, state, facts = run.state.progress, run.state, dict[str, str]()
    if progress.best_loss is not None:
        best = f"{1 - progress.best_loss:.1%} of the validation texts right, at step {progress.best_step:,}"
        with_ngrams = f"; {run.accuracy:.1%} with n-grams" if run.training.ngrams and run.accuracy is not None else ""
        facts["Best"] = best + with_ngrams
    losses = [record["val_loss"] for record in state.history if record["val_loss"] is not None]
    if len(losses) >= FEWEST_EVALUATIONS and is_printable(sys.stderr.encoding):
        facts["Curve"] = f"{sparkline(losses)}  {losses[0]:.2f} to {losses[-1]:.2f} validation loss"
    chars = run.training.stream.chars_before(state.step)
    facts["Time"] = f"{duration(run.seconds)}, {chars / max(run.seconds, 1e-9):,.0f} characters per second"
    facts["Model"] = str(run.folder.model())
    return facts

"""The runs in a folder, summarised from their checkpoints without reading arrays."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn import checkpoint as ckpt
from charrnn.config import total_steps
from charrnn.data.corpus import Source
from charrnn.errors import CheckpointError
from charrnn.training.folder import RUNS, RunFolder, run_names


@dataclass(frozen=True)
class RunSummary:
    """A run at a glance. If its checkpoint is damaged, only name, path, changed, bytes and damage are known.

    corpus     the paths that it was trained on; empty for a text in memory
    step       updates done, out of `steps`
    best_loss  the lowest validation loss in nats per character; None if nothing was validated
    changed    when one of its files was last written, in seconds since 1970
    bytes      of all its files
    damage     the error of its checkpoint, or None
    """

    name: str
    path: str
    corpus: tuple[str, ...] | None
    cell: str | None
    num_layers: int | None
    hidden_size: int | None
    step: int | None
    steps: int | None
    best_loss: float | None
    changed: float
    bytes: int
    damage: str | None


def runs(folder: Path = RUNS) -> list[RunSummary]:
    """Return the runs in a folder, the newest first."""
    summaries = []
    for name in run_names(folder):
        with suppress(FileNotFoundError):  # it was removed meanwhile
            summaries.append(summary(RunFolder(folder / name)))
    return sorted(summaries, key=lambda run: run.changed, reverse=True)


def summary(run: RunFolder) -> RunSummary:
    """Return the summary of a run.

    Raises:  FileNotFoundError if it was removed meanwhile.
    """
    if not (stats := run.stats()):
        raise FileNotFoundError(run.path)
    facts: dict[str, Any] = dict.fromkeys(("corpus", "cell", "num_layers", "hidden_size", "step", "steps", "best_loss"))
    damage, newest = None, run.last if run.last.exists() else run.best
    try:
        facts |= _facts(ckpt.read_meta(newest))
    except CheckpointError as error:
        if run.model() is None:
            raise FileNotFoundError(run.path) from None
        damage = str(error)
    except (KeyError, TypeError, AttributeError) as error:
        damage = f"{newest} is damaged: its settings do not make sense ({error}); use another copy"
    return RunSummary(
        name=run.path.name,
        path=str(run.path),
        changed=max(stat.st_mtime for stat in stats),
        bytes=sum(stat.st_size for stat in stats),
        damage=damage,
        **facts,
    )


def _facts(meta: dict[str, Any]) -> dict[str, Any]:
    losses = [line["val_loss"] for line in meta["history"] if line["val_loss"] is not None]
    return {
        "corpus": Source(meta["source"]["path"], "", tuple(meta["source"].get("also", ()))).paths,
        **{name: meta["model"][name] for name in ("cell", "num_layers", "hidden_size")},
        "step": meta["step"],
        "steps": total_steps(meta["train"]["steps"], meta["train"].get("length_changes")),
        "best_loss": min(losses, default=None),
    }

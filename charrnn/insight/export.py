"""The log of a run for TensorBoard: a file of events, written at once from log.jsonl."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charrnn.arrays import Array
from charrnn.errors import MissingExtraError, RunFolderError
from charrnn.insight.log import Log
from charrnn.nn.functional import bits
from charrnn.system.atomic import replacing, writing

if TYPE_CHECKING:
    from tensorboardX.proto.event_pb2 import Event

_EVENTS = "events.out.tfevents."  # how the name of a file that TensorBoard reads begins
_VERSION = "brain.Event:2"  # of the format, in its first event


def scalars(log: Log) -> dict[str, Array]:
    """Return the figures of a log, each (N,), by their names in TensorBoard: nan where a report has none."""
    figures = {
        "loss/train": log.loss,
        "loss/validation": log.val_loss,
        **_of_model(log),
        "progress/epoch": log.epoch,
        "progress/chars_per_second": log.chars_per_second,
        "rate/learning_rate": log.learning_rate,
        "gradient/norm": log.grad_norm,
        "gradient/clipped": log.clipped,
    }
    figures |= {f"gradient/norm_{layer}": norms for layer, norms in log.grad_norms.items()}
    for gate, shares in log.saturation.items():
        figures |= {f"saturation/{gate}_low": shares[:, 0], f"saturation/{gate}_high": shares[:, 1]}
    return figures


def _of_model(log: Log) -> dict[str, Array]:
    """Return the accuracy of a classifier, or the bits per character of a language model."""
    if np.isnan(log.val_accuracy).all():
        return {"loss/validation_bpc": log.val_loss * bits(1.0)}
    return {"accuracy/validation": log.val_accuracy}


def texts(log: Log) -> list[tuple[str, int, str]]:
    """Return name, step and text of what a log has in words: the recipe's reasons, recoveries and samples."""
    recoveries = [
        (each.step, f"{each.cause}; back to step {each.back_to:,}, learning rate {each.learning_rate:.3g}")
        for each in log.recoveries
    ]
    reasons = [("reasons", 0, "\n".join(log.reasons))] if log.reasons else []
    samples = [("sample", step, text) for step, text in log.samples]
    return reasons + [("recovery", step, text) for step, text in recoveries] + samples


def to_tensorboard(log: Log, folder: Path, *, ended: float, force: bool = False) -> Path:
    """Write a log into a folder as a run of TensorBoard, and return the path of the file.

    ended  when training ended, in seconds since 1970: its times are counted back from there
    force  True: replace the events in the folder
    Raises:  MissingExtraError without tensorboardX; RunFolderError if the folder has events, which would be mixed with
             these, or the log has no times; CharRNNError if the system refuses.
    """
    began = ended - float(log.seconds[-1])
    if np.isnan(began):
        raise RunFolderError(
            f"nothing to write into {folder}: the run has no log.jsonl, and its checkpoint has no times"
        )
    earlier = sorted(folder.glob(f"{_EVENTS}*"))
    if earlier and not force:
        raise RunFolderError(f"{folder} has a run already: replace it with --force, or choose another folder")
    events = [event.SerializeToString() for event in _events(log, began)]
    with writing(folder, "choose another folder"):
        folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{_EVENTS}{began:.0f}.charrnn"
    _write(events, path)
    with writing(folder, "remove them yourself"):
        for old in earlier:
            if old != path:
                old.unlink()
    return path


def _events(log: Log, began: float) -> Iterator[Event]:
    """Yield the events of a run that began at this time, in seconds since 1970."""
    try:
        from tensorboardX import summary
        from tensorboardX.proto.event_pb2 import Event
    except ImportError:
        raise MissingExtraError("an export for TensorBoard", "tensorboardX", "tensorboard") from None

    def event(step: int, seconds: float, what: Any) -> Event:
        return Event(wall_time=began + seconds, step=step, summary=what)

    yield Event(wall_time=began, file_version=_VERSION)
    for name, values in scalars(log).items():
        for index in np.flatnonzero(~np.isnan(values)):
            shown = summary.scalar(name, values[index])
            yield event(int(log.step[index]), float(log.seconds[index]), shown)
    for name, step, text in texts(log):
        code = "".join(f"    {line}\n" for line in text.split("\n"))  # of Markdown, which keeps lines and spaces
        yield event(step, float(np.interp(step, log.step, log.seconds)), summary.text(name, code))


def _write(events: list[bytes], path: Path) -> None:
    """Write events to a file."""
    from tensorboardX.record_writer import RecordWriter

    with replacing(path, "choose another folder") as file:
        writer = RecordWriter(file.name)  # it opens its file itself
        for event in events:
            writer.write(event)
        writer.close()

"""The folder of a training run: its three files, its lock, and how a model is found among such folders."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.errors import CheckpointError, RunFolderError
from charrnn.files import lock, replacing, writing

RUNS = Path("checkpoints")


@dataclass(frozen=True)
class RunFolder:
    """A folder with `best.npz` (for inference), `last.npz` (for resuming) and `log.jsonl` (one JSON object a line)."""

    path: Path

    @property
    def best(self) -> Path:
        """Return the path of the checkpoint with the least validation loss."""
        return self.path / "best.npz"

    @property
    def last(self) -> Path:
        """Return the path of the newest checkpoint."""
        return self.path / "last.npz"

    @property
    def log(self) -> Path:
        """Return the path of the log."""
        return self.path / "log.jsonl"

    def files(self) -> list[Path]:
        """Return the files of a run that are here."""
        return [path for path in (self.best, self.last, self.log) if path.exists()]

    def model(self) -> Path | None:
        """Return the checkpoint that serves inference: `best.npz`, or `last.npz` where there is none, or None."""
        return next((path for path in (self.best, self.last) if path.exists()), None)

    def create(self) -> None:
        """Make the folder.

        Raises:  RunFolderError where a file is in its place; CharRNNError where the system refuses.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunFolderError(f"{self.path} is a file: name a folder with --out")
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder's lock, which the system takes back when the process ends, however it ends.

        Raises:  RunFolderError where another process holds it.
        """
        with writing(self.path):
            file = open(self.path / ".lock", "w")
        with file:
            try:
                lock(file)
            except OSError:
                raise RunFolderError(
                    f"{self.path} is in use by another training run: wait for it, or choose another folder with --out"
                ) from None
            yield

    def clear(self) -> None:
        """Remove the files of an earlier run."""
        with writing(self.path):
            for path in self.files():
                path.unlink()

    def append(self, record: dict[str, Any]) -> None:
        """Add a line to the log."""
        with writing(self.log), open(self.log, "a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps(record) + "\n")

    def cut_log(self, step: int) -> float:
        """Cut the log back to the lines up to this step; return the seconds of the last of them."""
        if not self.log.exists():
            return 0.0
        kept, seconds = [], 0.0
        for line in self.log.read_bytes().splitlines():
            try:
                record = json.loads(line)
                newer, at = record["step"] > step, float(record["seconds"])
            except (ValueError, TypeError, KeyError):  # what a kill cut short: all that follows is newer
                break
            if newer:
                break
            kept.append(line + b"\n")
            seconds = at
        with replacing(self.log) as file:
            file.write(b"".join(kept))
        return seconds


def find_model(path: str | Path | None) -> Path:
    """Return the checkpoint's file: `path` itself, the best in a run's folder, or that of the newest run.

    path: a file, a run's folder, or None for the newest run under ./checkpoints
    Raises:  CheckpointError where there is none.
    """
    if path is None:
        runs = [run for folder in RUNS.glob("*/") if (run := RunFolder(folder)).model()]
        if not runs:
            raise CheckpointError(f"no model under ./{RUNS}: train one with `charrnn train`, or name one with -m")
        path = max(runs, key=lambda run: max(file.stat().st_mtime_ns for file in run.files())).path
    path = Path(path)
    if not path.is_dir():
        return path
    model = RunFolder(path).model()
    if model is None:
        raise CheckpointError(f"{path} holds neither best.npz nor last.npz: name the folder of a run, or a .npz file")
    return model

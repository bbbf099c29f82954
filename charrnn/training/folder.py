"""The folder of a training run: its files and its lock; and how a run or a model is found by name."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from charrnn.errors import MAY_PASS, CheckpointError, RunFolderError
from charrnn.system.atomic import InUseError, lock, replacing, writing
from charrnn.wording import did_you_mean, nearest

RUNS = Path("checkpoints")
#: A note for a run whose folder is on a file system without locks.
UNLOCKED = "this file system has no locks, so a second run in the same folder would go unnoticed: start only one"
#: The file in the folder of a sweep that records its runs.
SWEEP_RECORD = "sweep.jsonl"


class RunFolder(NamedTuple):
    """A folder with `best.npz` (for inference), `last.npz` (for resuming) and `log.jsonl` (one JSON object a line)."""

    path: Path

    @property
    def best(self) -> Path:
        """Return the path of the checkpoint with the lowest validation loss."""
        return self.path / "best.npz"

    @property
    def last(self) -> Path:
        """Return the path of the newest checkpoint."""
        return self.path / "last.npz"

    @property
    def log(self) -> Path:
        """Return the path of the log."""
        return self.path / "log.jsonl"

    @property
    def report(self) -> Path:
        """Return the path of the page about the run."""
        return self.path / "report.html"

    def files(self) -> list[Path]:
        """Return the files of a run that exist."""
        return [path for path in (self.best, self.last, self.log) if os.path.exists(path)]

    def model(self) -> Path | None:
        """Return the checkpoint to use the model from: `best.npz`, else `last.npz`, else None.

        Also None for a folder without read permission.
        """
        return next((path for path in (self.best, self.last) if os.path.exists(path)), None)

    def stats(self) -> list[os.stat_result]:
        """Return size and time of each of its files; without those that another process has just removed."""
        stats = []
        for file in self.files():
            with suppress(FileNotFoundError):
                stats.append(file.stat())
        return stats

    def changed(self) -> int:
        """Return when one of its files was last written, in nanoseconds since 1970; 0 if there is none."""
        return max((stat.st_mtime_ns for stat in self.stats()), default=0)

    def refuse_taken(self) -> None:
        """Raise RunFolderError if the folder has a run."""
        if self.files():
            raise RunFolderError(
                f"{self.path} already has a run: continue it with --resume, replace it with --force, "
                "or choose another folder with --out"
            )

    def create(self) -> None:
        """Make the folder.

        Raises:  RunFolderError if its path is a file; CharRNNError if the system refuses.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunFolderError(f"{self.path} is a file: name a folder with --out")
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def locked(self, remedy: str = "wait for it, or choose another folder with --out") -> Iterator[bool]:
        """Hold the folder's lock, which the system releases when the process ends, however it ends.

        Yields False if the file system has no locks, so that two runs in one folder go unnoticed.
        Raises:  RunFolderError, with this remedy, if another process holds it.
        """
        file, is_locked = self._lock_file(remedy)
        with file:
            yield is_locked

    def _lock_file(self, remedy: str) -> tuple[IO[str], bool]:
        """Return the lock's file, open, and whether it is locked.

        `remove` may unlink a file that this process has opened but not locked yet. A lock on that file would exclude no
        other process. So the file is opened again until the locked file is the one in the folder.
        """
        while True:
            with ExitStack() as stack, writing(self.path):
                file = stack.enter_context(open(self._lock_path, "w"))
                try:
                    is_locked = lock(file)
                except InUseError:
                    in_use = f"{self.path} is in use by another training run: {remedy}"
                    raise RunFolderError(in_use, MAY_PASS) from None
                with suppress(FileNotFoundError):
                    if not is_locked or os.path.samestat(os.fstat(file.fileno()), os.stat(self._lock_path)):
                        stack.pop_all()
                        return file, is_locked

    @property
    def _lock_path(self) -> Path:
        return self.path / ".lock"

    def clear(self) -> None:
        """Remove the files of an earlier run."""
        with writing(self.path):
            for path in self.files():
                path.unlink()

    def remove(self) -> bool:
        """Remove the run's files, and the folder if it is then empty; return whether the folder has been removed.

        Raises:  RunFolderError if a process trains in it; CharRNNError if the system refuses.
        """
        trial = self.path / ".trial.npz"
        halves = [path.with_name(f".{path.name}.tmp") for path in (self.best, self.last, self.log, trial)]
        with writing(self.path, ""):
            with self.locked("stop it first"):
                self.clear()
                for path in (*halves, trial, self.report):
                    path.unlink(missing_ok=True)
                if os.name != "nt":
                    self._lock_path.unlink(missing_ok=True)
            if os.name == "nt":  # Windows unlinks no file that is open, neither ours before nor another's now
                with suppress(PermissionError):
                    self._lock_path.unlink(missing_ok=True)
        with suppress(OSError):  # it has other files, which are not ours
            self.path.rmdir()
        return not self.path.exists()

    def append(self, record: dict[str, Any]) -> None:
        """Add a line to the log."""
        with writing(self.log), open(self.log, "a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps(record) + "\n")

    def cut_log(self, reported: int, recoveries: int = 0, step: int | None = None) -> float:
        """Cut the log back to what a saved state knows; return the seconds in the last line of a report or a recovery.

        reported    the step of its newest report; step: of the state itself, up to which it knows samples; `reported`
                    if None
        recoveries  those before the state: a recovery goes back to an earlier step, and its line counts as of that step
        """
        if not self.log.exists():
            return 0.0
        kept, seconds = [], 0.0
        for line in self.log.read_bytes().splitlines():
            try:
                record = json.loads(line)
                at, line_step = float(record["seconds"]), record.get("back_to", record["step"])
                is_sample = "sample" in record
                known = step if is_sample and step is not None else reported
                newer = (record.get("recoveries", 0), line_step) > (recoveries, known)
            except (ValueError, TypeError, KeyError):  # a line that a kill cut short: everything after it is newer
                break
            if newer:
                break
            kept.append(line + b"\n")
            seconds = seconds if is_sample else at
        with replacing(self.log) as file:
            file.write(b"".join(kept))
        return seconds


def run_names(folder: Path = RUNS) -> list[str]:
    """Return the names of the runs in a folder, and of those one folder deeper, such as `names-sweep/cell=gru`."""
    paths = [*folder.glob("*/"), *folder.glob("*/*/")]
    return sorted(path.relative_to(folder).as_posix() for path in paths if RunFolder(path).model())


def find_run(name: str) -> RunFolder:
    """Return the folder of a run, given its path or its name under ./checkpoints.

    Raises:  RunFolderError if there is none, the folder has no run, or it is a link to one.
    """
    place = _place(Path(name)) if name else None
    if place is None:
        remedy = did_you_mean(nearest(name, run_names())) or "`charrnn list` shows all runs"
        raise RunFolderError(f"there is no run {name!r}: {remedy}")
    if not RunFolder(place).model():
        raise RunFolderError(f"{place} is not the folder of a run: best.npz and last.npz are missing or cannot be read")
    if place.is_symlink():
        raise RunFolderError(f"{place} is a link to {place.resolve()}: name its target, or remove the link")
    return RunFolder(place)


def find_runs(name: str) -> list[RunFolder]:
    """Return the folder of a run, or those of all runs of a sweep, given its path or its name under ./checkpoints.

    Raises:  RunFolderError as `find_run` does.
    """
    place = _place(Path(name)) if name else None
    if place is not None and os.path.isfile(place / SWEEP_RECORD) and not place.is_symlink():
        if found := [find_run(str(place / each)) for each in run_names(place)]:
            return found
    return [find_run(name)]


def remove_sweep(folder: Path) -> None:
    """Remove the record of a sweep without runs, and its folder if nothing else is in it.

    Raises:  CharRNNError if the system refuses.
    """
    if os.path.isfile(folder / SWEEP_RECORD) and not run_names(folder):
        with writing(folder, ""):
            (folder / SWEEP_RECORD).unlink()
        with suppress(OSError):  # it has other files
            folder.rmdir()


def find_model(path: str | Path | None, *, classifier: bool | None = False) -> Path:
    """Return the path of a checkpoint.

    path: a checkpoint, a run's folder, either by its name under ./checkpoints, or None for the newest run there
    classifier: whether the newest run is to be one of a classifier, or of a language model; None for either
    Raises:  CheckpointError if there is none.
    """
    if path is None:
        runs = sorted(map(RunFolder, (RUNS / name for name in run_names())), key=RunFolder.changed, reverse=True)
        found = next((run for run in runs if classifier is None or _is_classifier(run) in (classifier, None)), None)
        if found is None:
            what, command = ("classifier", "classify train") if classifier else ("model", "train")
            raise CheckpointError(f"no {what} under ./{RUNS}: train one with `charrnn {command}`, or name one with -m")
        path = found.path
    place = _place(Path(path))
    if place is None:
        train = "train a model first, or name one that `charrnn list` shows"
        remedy = did_you_mean(nearest(str(path), run_names())) or train
        raise CheckpointError(f"{path} does not exist, here or under ./{RUNS}: {remedy}")
    if not place.is_dir():
        return place
    model = RunFolder(place).model()
    if model is None and (inside := run_names(place)):
        raise CheckpointError(f"{place} is the folder of several runs: name one, such as {place / inside[0]}")
    if model is None:
        raise CheckpointError(
            f"{place} has no best.npz or last.npz that can be read: name the folder of a run, or a .npz file"
        )
    return model


def _is_classifier(run: RunFolder) -> bool | None:
    """Return whether a run is one of a classifier; None if its checkpoint cannot be read, as loading it will say."""
    from charrnn import checkpoint as ckpt  # it loads NumPy, which a completion of names does not need

    try:
        return bool(ckpt.read_meta(run.model() or run.best).get("classifier"))
    except CheckpointError:
        return None


def model_name(path: Path) -> str:
    """Return the name of a checkpoint for people: that of its run's folder, or of the file."""
    return path.parent.name if path.name in ("best.npz", "last.npz") else path.stem


def is_model(name: str) -> bool:
    """Return whether a path, or a name under ./checkpoints, is that of a run or of a .npz file."""
    place = Path(name) if os.path.lexists(name) else RUNS / name
    return RunFolder(place).model() is not None or (place.suffix == ".npz" and place.is_file())


def _place(path: Path) -> Path | None:
    """Return the path itself or the one under ./checkpoints, preferring a checkpoint or run; None if neither exists."""
    places = [place for place in (path, RUNS / path) if os.path.lexists(place)]
    of_runs = (place for place in places if place.suffix == ".npz" or RunFolder(place).model())
    return next(of_runs, next(iter(places), None))

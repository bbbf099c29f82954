"""Make runs with the real commands, choose those that count, and find those that are missing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click

from benchmarks.commands import charrnn
from benchmarks.kept import processor
from benchmarks.records.rate import gemm_rate
from benchmarks.records.rows import Row
from benchmarks.speed.processes import ROOT

SLOW = 0.8  # of the reference speed; a run below it is made again
ATTEMPTS = 3  # at most, for each run in one call
_UNUSED = ("by_position", "chars_per_second")  # fields of `eval --json` that are not kept


@dataclass(frozen=True)
class Run:
    """One run, as results.json stores it.

    command           the training command
    text_sha256       of the text's bytes
    scores            the output of `charrnn eval --json`, under the names of `SCORES`
    model, train      all settings, including those that the recipe chose
    best_step         the step, of `steps`, whose model was scored
    passes, chars     passes through the text, and characters trained on
    seconds           of the whole command; training_seconds count from the first step
    pace, fast_pace   work per second (`recipe.work`): of the run, and of its faster quarter
    curve             seconds since the first step and validation loss, at each evaluation
    gflops            the speed of matrix products right before the run and right after
    code              the newest commit of charrnn/, with a "+" if files have changed since
    """

    row: str
    seed: int
    command: str
    text_sha256: str
    scores: dict[str, dict[str, Any]]
    model: dict[str, Any]
    train: dict[str, Any]
    parameters: int
    best_step: int
    steps: int
    passes: float
    chars: int
    seconds: float
    training_seconds: float
    pace: float
    fast_pace: float
    curve: list[list[float]]
    gflops: list[float]
    processor: str
    cores: int
    system: str
    versions: dict[str, str]
    code: str

    def figure(self, score: str, unit: str, *, memory: bool = False) -> float | None:
        """Return a figure of the net alone, or with its memory; None for a run of a version without memories.

        With a memory that is off, because it did not help on the validation split, both figures are equal.
        """
        own = self.scores[score]
        if memory and "memory" not in own:
            return None
        return float(((memory and own["memory"]) or own)[unit])

    @property
    def loss(self) -> float:
        """Nats per character of the net alone on the test or else the validation split: seeds are ordered by it."""
        score = self.scores.get("test") or self.scores["whole"]
        return float(score["nats_per_char"])


def make(row: Row, seed: int, texts: Path) -> Run:
    """Train and score with the row's commands, in a new folder with the text; return the run.

    Raises:  ClickException if the run did not compute as the row says.
    """
    run = partial(charrnn, compiled=row.compiled)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(texts / row.text, folder)
        before, began = gemm_rate(), time.monotonic()
        run(folder, *row.train(seed))
        seconds = time.monotonic() - began
        after = gemm_rate()
        scores = {score: json.loads(run(folder, *row.eval(score), "--json")) for score in row.scores}
        path = Path(folder, "checkpoints", Path(row.text).stem)
        info = json.loads(run(folder, "info", "-m", f"checkpoints/{path.name}", "--json"))
        lines = map(json.loads, (path / "log.jsonl").read_text(encoding="utf-8").splitlines())
        log = [line for line in lines if "loss" in line]  # not recoveries, samples and reasons
    if ("core" in info["versions"]) != row.compiled:
        raise click.ClickException(
            "charrnn has no compiled core here: install it where a C compiler is, or make only rows without it: "
            "--rows NumPy"
            if row.compiled
            else f"{row.command(seed)} used the compiled core"
        )
    return Run(
        row=row.name,
        seed=seed,
        command=row.command(seed),
        text_sha256=info["source"]["sha256"],
        scores={score: _kept(said) for score, said in scores.items()},
        model=info["model"],
        train=info["train"],
        parameters=info["parameters_total"],
        best_step=info["step"],
        gflops=[round(before, 1), round(after, 1)],
        seconds=round(seconds, 1),
        processor=processor(),
        cores=os.cpu_count() or 1,
        system=f"{sys.platform} {os.uname().machine}" if hasattr(os, "uname") else sys.platform,
        versions=info["versions"],
        code=_code(),
        **_course(log, info, texts / row.text),
    )


def _kept(figures: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of `eval --json` that are kept, with the memory and without."""
    kept = {name: value for name, value in figures.items() if name not in _UNUSED}
    return kept if kept["memory"] is None else kept | {"memory": _kept(kept["memory"])}


def _course(log: list[dict[str, Any]], info: dict[str, Any], text: Path) -> dict[str, Any]:
    """Return the run's length, speed and losses from the log, under the names of `Run`'s fields."""
    from charrnn.config import ModelConfig, text_and_train_configs
    from charrnn.data.corpus import Corpus
    from charrnn.data.stream import Stream
    from charrnn.nn.model import param_shapes
    from charrnn.training.recipe import work

    last, train = log[-1], info["train"]
    text_config, config = text_and_train_configs(train)
    corpus = Corpus.read(str(text), text_config, seed=config.seed)
    chars = Stream(corpus.train.ids, train["batch_size"], train["seq_len"]).chars_before(last["step"])
    per_char = work(ModelConfig(**info["model"]), param_shapes)
    rates = sorted(line["chars_per_second"] for line in log if line["chars_per_second"])
    return {
        "steps": last["step"],
        "passes": last["epoch"],
        "chars": chars,
        "training_seconds": last["seconds"],
        "pace": per_char * chars / last["seconds"],
        "fast_pace": per_char * rates[3 * len(rates) // 4],
        "curve": [[line["seconds"], line["val_loss"]] for line in log if line["val_loss"] is not None],
    }


def _code() -> str:
    """Return the newest commit that touches the package, with a "+" if files differ from it; "" outside Git."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words, "--", "charrnn"], cwd=ROOT, capture_output=True, text=True).stdout.strip()

    return git("log", "-1", "--format=%h") + ("+" if git("status", "--porcelain") else "")


def share(run: Run, runs: Iterable[Run]) -> float:
    """Return the lowest of the run's three speeds, relative to the highest seen on this processor.

    The three are matrix products before and after the run, compared with any run, and training, compared with the
    faster quarter of any run of the same row.
    """
    alike = [other for other in runs if (other.processor, other.cores) == (run.processor, run.cores)]
    products = max(rate for other in alike for rate in other.gflops)
    training = max(other.fast_pace for other in alike if other.row == run.row)
    return min(*(rate / products for rate in run.gflops), run.pace / training)


def is_slow(run: Run, runs: Iterable[Run]) -> bool:
    """Return whether the machine was below 80 % of its reference speed before, in or after the run."""
    return share(run, runs) < SLOW


def counting(row: Row, runs: Sequence[Run]) -> list[Run]:
    """Return the row's runs that count, by seed: of several with one seed the fastest, whatever its score."""
    found: dict[int, Run] = {}
    for run in sorted((run for run in runs if run.row == row.name), key=lambda run: share(run, runs)):
        found[run.seed] = run
    return [found[seed] for seed in sorted(found)]


def median_run(runs: Sequence[Run]) -> Run:
    """Return the run of the median seed; for an even number, the worse of the two in the middle."""
    return sorted(runs, key=lambda run: run.loss)[len(runs) // 2]


def fill(
    rows: Sequence[Row], seeds: int, runs: list[Run], make: Callable[[Row, int], Run], keep: Callable[[Run], object]
) -> None:
    """Make the missing runs, then repeat the slow ones; add each to `runs` and pass it to `keep`."""
    attempts: Counter[tuple[Row, int]] = Counter()

    def done(row: Row, seed: int) -> bool:
        return any(run.seed == seed and not is_slow(run, runs) for run in counting(row, runs))

    while True:
        left = [(row, seed) for seed in range(1, seeds + 1) for row in rows if not done(row, seed)]
        left = [one for one in left if attempts[one] < ATTEMPTS]
        if not left:
            return
        row, seed = min(left, key=attempts.__getitem__)  # slow runs come last: the machine may be quiet by then
        attempts[row, seed] += 1
        runs.append(make(row, seed))
        keep(runs[-1])

"""Measure classifiers on labelled texts: accuracy and macro-F1 over several splits, beside the baselines.

    python -m benchmarks.classify names --seeds 1..5 --minutes 1 --threads 2
    python -m benchmarks.classify lang12/train.tsv --test-file lang12/test.tsv --seeds 1..1 --minutes 2

A split is a shuffle of the distinct texts by its seed: 85 % to train and validate on, 15 % to test. A text with several
labels counts once for each, however often a file repeats it. A figure is the mean of the splits, with its interval of
95 % from their spread; with one split, Wilson's.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from statistics import mean, stdev

import click
import numpy as np

from benchmarks.markdown import markdown_table
from charrnn.classification.baselines import baselines
from charrnn.classification.examples import Example, read_examples, split
from charrnn.classification.metrics import Metrics, measure
from charrnn.classification.prediction import load_classifier
from charrnn.classification.run import ClassifierRun
from charrnn.config import TextConfig

TEST_SHARE, VAL_SHARE = 0.15, 0.03  # of the distinct texts; of those that are left
#: Two-sided quantiles of 95 % of Student's t for 1, 2, … degrees of freedom.
QUANTILES = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)


def trained(train: Sequence[Example], test: Sequence[Example], seed: int, minutes: float, threads: int) -> Metrics:
    """Train a classifier with the recipe, as `charrnn classify train --minutes` does, and return its metrics."""
    with tempfile.TemporaryDirectory() as folder:
        texts, out = Path(folder, "texts.tsv"), Path(folder, "run")
        texts.write_text("".join(f"{label}\t{text}\n" for text, label in train), encoding="utf-8")
        settings = {"minutes": minutes, "seed": seed, "threads": threads, "val_fraction": VAL_SHARE}
        with closing(ClassifierRun.start([str(texts)], out, settings=settings)) as run:
            for _ in run.events():
                pass
        predictor = load_classifier(out)
    log_probs = np.concatenate([*predictor.predict_blocks([[text for text, _ in test]], threads=threads)])
    return measure(np.exp(log_probs), [label for _, label in test], predictor.labels)


def interval(values: Sequence[float]) -> float:
    """Return half the width of the mean's interval of 95 %."""
    return QUANTILES[len(values) - 2] * stdev(values) / len(values) ** 0.5


def row(name: str, found: Sequence[Metrics], seconds: float) -> list[str]:
    """Return a row of the table: the means over the splits with their intervals, and the time of a split."""
    accuracy, f1 = [100 * one.accuracy for one in found], [one.macro_f1 for one in found]
    if len(found) == 1:
        low, high = found[0].interval
        figures = [f"{accuracy[0]:.2f} % ({100 * low:.2f} to {100 * high:.2f} %)", f"{f1[0]:.4f}"]
    else:
        figures = [f"{mean(accuracy):.1f} ± {interval(accuracy):.1f} %", f"{mean(f1):.3f} ± {interval(f1):.3f}"]
    return [name, *figures, f"{seconds / len(found):.0f} s"]


@click.command(help=__doc__)
@click.argument("path")
@click.option("--test-file", help="Test on the texts of this file; all others train.")
@click.option("--seeds", default="1..5", show_default=True, help="Seeds of the splits: FIRST..LAST.")
@click.option("--minutes", default=1.0, show_default=True, help="Time of a training.")
@click.option("--threads", default=2, show_default=True)
def main(path: str, test_file: str | None, seeds: str, minutes: float, threads: int) -> None:
    """Print a table of the classifier and the baselines."""
    first, last = map(int, seeds.split(".."))
    examples = list(dict.fromkeys(read_examples([path], TextConfig()).examples))
    found: dict[str, list[Metrics]] = defaultdict(list)
    taken: dict[str, float] = defaultdict(float)
    for seed in range(first, last + 1):
        if test_file:
            train, test = examples, read_examples([test_file], TextConfig()).examples
        else:
            train, _, test = split(examples, 0.0, TEST_SHARE, seed)
        began = time.perf_counter()
        for name, metrics in baselines(train, test).items():
            found[name].append(metrics)
        taken["baselines"] += time.perf_counter() - began
        began = time.perf_counter()
        found["classifier"].append(trained(train, test, seed, minutes, threads))
        taken["classifier"] += time.perf_counter() - began
    rows = [row(name, own, taken[name if name in taken else "baselines"]) for name, own in found.items()]
    click.echo("\n".join(markdown_table(["", "accuracy", "macro-F1", "time (baselines: all together)"], rows)))


if __name__ == "__main__":
    main()

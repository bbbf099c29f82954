"""Train with growing batches on equal numbers of characters, with rate and warm-up by several rules; print the losses.

\b
    python -m benchmarks.ablations.batch tinyshakespeare.txt --json docs/batch.json
    python -m benchmarks.ablations.batch irish_abc.txt --units 64 --passes 20 --only "512 x 100" --json irish.json

A batch that is k times as large as the usual one of 32 x 100 characters makes a k-th of the steps. Each rule multiplies
the rate that the recipe chooses for the usual batch, and limits the 100 steps of warm-up to a share of the run. As many
steps are k times as many characters: a warm-up that is not limited is k times as long. All other settings are the
recipe's for this size and number of passes. The last twentieth of each text is not used; the twentieth before it is the
validation split.

Rows in the JSON file are not repeated, so you can stop at any time and continue later. With one thread per run
(OPENBLAS_NUM_THREADS=1), run one command per core, each with its own file; several --json options merge the rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
from rich.console import Console

from benchmarks import kept
from benchmarks.ablations.__main__ import SPLITS, run
from benchmarks.markdown import markdown_table
from charrnn.config import ModelConfig, TextConfig, default_of
from charrnn.data.corpus import Corpus
from charrnn.data.stream import Stream
from charrnn.nn.model import param_shapes
from charrnn.training import recipe
from charrnn.training.setup import vocab_for

ROWS, WINDOW, WARMUP = default_of("batch_size"), default_of("seq_len"), default_of("warmup_steps")
VARIED = ("batch_size", "seq_len", "steps", "learning_rate", "warmup_steps")
_EVALUATIONS = 8


class Rule(NamedTuple):
    """How rate and warm-up follow a batch that is k times as large.

    power  the rate is multiplied by k to this power
    share  the largest share of the run that the warm-up may take
    """

    power: float
    share: float


class Size(NamedTuple):
    """Batch rows, their window, and the rows of the batch whose number of steps the run makes; None for its own."""

    rows: int
    window: int
    steps_of: int | None = None

    @property
    def is_aside(self) -> bool:
        """Return whether only the rules in `ASIDE` are of interest."""
        return self.window != WINDOW or self.steps_of is not None

    def __str__(self) -> str:
        return f"{self.rows} x {self.window}" + (f", steps of {self.steps_of}" if self.steps_of else "")


RULES = {
    "unchanged": Rule(0.0, 0.1),
    "rate × √k": Rule(0.5, 0.1),
    "rate × k": Rule(1.0, 0.1),
    "rate × √k, warm-up × k": Rule(0.5, 1.0),
    "rate × √k, warm-up × k up to half the run": Rule(0.5, 0.5),
}
ASIDE = RULES["unchanged"], RULES["rate × √k, warm-up × k up to half the run"]
SIZES = (
    *(Size(rows, WINDOW) for rows in (32, 64, 128, 256, 512)),
    *(Size(rows, window) for rows, window in ((512, 25), (32, 400))),
    *(Size(rows, WINDOW, steps_of) for rows, steps_of in ((32, 128), (32, 512), (128, 512))),
)


class Study:
    """The runs of one text: each is a size, a rule and a seed."""

    def __init__(self, text: str, units: int, passes: int) -> None:
        """Read the text; the recipe chooses the settings of a run with the usual batch."""
        config = TextConfig(**SPLITS)
        corpus = Corpus.read(text, config)
        vocab = vocab_for(corpus, config)
        self.text, self.units, self.passes, self.ids = text, units, passes, vocab.ids_of(corpus.train)
        model_config, chars = ModelConfig(vocab.size, cell="lnlstm", hidden_size=units), len(self.ids)
        budget = passes * chars * recipe.work(model_config, param_shapes)
        given = {"cell", "hidden_size", "batch_size"}
        chosen = recipe.choose(
            model_config, param_shapes, chars, 0, self._steps(ROWS, WINDOW), budget, given, minutes=0
        )
        self.settings = {"cell": "lnlstm", "hidden_size": units} | chosen.settings

    def _steps(self, rows: int, window: int) -> int:
        return self.passes * Stream(self.ids, rows, window).steps_per_epoch

    def settings_of(self, size: Size, rule: Rule) -> dict[str, Any]:
        """Return the settings of a run that differ between runs."""
        k = size.rows * size.window / (ROWS * WINDOW)
        steps = self._steps(size.steps_of or size.rows, size.window)
        return {
            "batch_size": size.rows,
            "seq_len": size.window,
            "steps": steps,
            "learning_rate": float(f"{self.settings['learning_rate'] * k**rule.power:.3g}"),
            "warmup_steps": min(WARMUP, int(rule.share * steps)),
        }

    def row(self, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
        """Train, and return the row."""
        steps = settings["steps"]
        limits = {"warmup_share": 1.0, "eval_every": math.ceil(steps / _EVALUATIONS), "threads": 1}
        mean = {"average": max(0.0, 1 - recipe.AVERAGED_SHARE / steps)}
        return settings | run(self.text, seed, **self.settings | settings | limits | mean)

    def key(self, seed: int, settings: dict[str, Any]) -> tuple[Any, ...]:
        """Return what identifies a run."""
        return Path(self.text).name, self.units, seed, *(settings[name] for name in VARIED)


def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
    """Return what identifies the run of a row."""
    return row["text"], row["settings"]["hidden_size"], row["seed"], *(row[name] for name in VARIED)


@click.command(help=__doc__)
@click.argument("texts", nargs=-1, required=True, type=click.Path(exists=True))
@click.option("--units", default=128, show_default=True, help="Units of the layer.")
@click.option("--passes", default=6, show_default=True, help="Passes through the text, with the usual batch.")
@click.option("--seed", "seeds", type=int, multiple=True, default=(1, 2), show_default=True, help="Repeatable.")
@click.option("--only", multiple=True, help='Only sizes whose name begins so, such as "32 x"; repeatable.')
@click.option(
    "--json",
    "paths",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="The file with the rows; the first of several is written, the others are only read.",
)
def main(
    texts: tuple[str, ...],
    units: int,
    passes: int,
    seeds: tuple[int, ...],
    only: tuple[str, ...],
    paths: tuple[Path, ...],
) -> None:
    """Run the missing rows and print a table for each text."""
    sizes = [size for size in SIZES if str(size).startswith(only or ("",))]
    if not sizes:
        raise click.ClickException(f"no size begins with {' or '.join(only)}: {', '.join(map(str, SIZES))}")
    found = {key_of(row): row for path in paths for row in kept.load(path)}
    progress = Console(stderr=True)
    for study in (Study(text, units, passes) for text in texts):
        for seed in seeds:
            for size in sizes:
                for rule in RULES.values():
                    settings = study.settings_of(size, rule)
                    if study.key(seed, settings) in found or (size.is_aside and rule not in ASIDE):
                        continue
                    row = study.row(seed, settings)
                    found[key_of(row)] = row
                    told = ", ".join(f"{name} {value}" for name, value in settings.items())
                    progress.print(f"{row['text']}, seed {seed}, {told}: {row['loss']:.4f}", highlight=False)
                    kept.save(paths[0], list(found.values()))
        click.echo("\n".join(table(study, found, seeds, sizes)))
    kept.save(paths[0], list(found.values()))


def table(study: Study, found: dict[Any, dict[str, Any]], seeds: Sequence[int], sizes: Sequence[Size]) -> list[str]:
    """Return the table of a text: the lowest validation loss of each seed by size and rule."""

    def cell(size: Size, rule: Rule) -> str:
        keys = [study.key(seed, study.settings_of(size, rule)) for seed in seeds]
        rows = [found[key] for key in keys if key in found]
        recoveries = sum(row["recoveries"] for row in rows)
        return ", ".join(f"{row['loss']:.4f}" for row in rows) + (f" ({recoveries} recoveries)" if recoveries else "")

    def steps(size: Size) -> str:
        return f"{study.settings_of(size, ASIDE[0])['steps']:,}"

    lines = [(str(size), steps(size), *(cell(size, rule) for rule in RULES.values())) for size in sizes]
    return markdown_table((Path(study.text).name, "steps", *RULES), lines)


if __name__ == "__main__":
    main()

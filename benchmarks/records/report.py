"""The document: tables of the median seeds, and every run with what it took."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from benchmarks.markdown import markdown_table
from benchmarks.records.rows import OTHERS, SHAKESPEARE, Row
from benchmarks.records.runs import ATTEMPTS, SLOW, Run, counting, is_slow, median_run, share

INTRODUCTION = f"""\
# Results

What `charrnn train` reaches with nothing chosen but the time. `make records TEXTS=FOLDER` makes the runs that are
missing or were slow from the texts in the folder, and commits each; it takes hours, may be stopped at any time, and
goes on with the row and seed where it was. A run is made anew when its line is taken out of results.json.

- **What was chosen on what.** A run's model is that with the least validation loss. As with nanoGPT, the best
  checkpoint and the recipe were chosen on tiny Shakespeare's validation part, so its figures flatter a little. Beside
  it stand texts with a test part on which nothing was chosen; of alice29's alone the first comparisons of
  small texts had seen something ([ablations.md](ablations.md)).
- **Which seed.** A row is the run of the median seed, not of the best (of two seeds, the worse), beside the least and
  the greatest of all. Seeds are ordered by the loss of the test part, or of the whole validation part where there is
  none.
- **Protocols.** *whole* carries one state through the text; *windows* begins every 256 characters with a zero state.
- **The machine.** The rate of matrix products is measured right before and right after each run. A run is slow, and
  is made again, where one of these rates, or the work it did a second, is below {100 * SLOW:.0f} % of the highest seen
  on this processor: in any run for products, in the same row for training. Of several runs with one seed the fastest
  counts, whatever its score; after {ATTEMPTS} attempts in one go it stays as it is, and the table says so.

A bar is what was to be reached, set before the runs; a figure in bold reaches it.

## Tiny Shakespeare

Nats per character on the validation part, the last tenth of the text.
"""
TESTED = """\
## Test parts

Bits per character on the test part, the last twentieth of each text, *whole*, scored once a run; a modified Kneser-Ney
n-gram model on the same part, its n chosen on the validation part; what the part adds to the training text where
compressors make one of both; and, of the same run, both protocols on the validation part, the twentieth before. A bar
is what a modified Kneser-Ney 7-gram model reaches.

Compressors are strong where a text repeats itself to the letter. Of irish_abc's test part, 37 % are runs of 16
characters or more that stand earlier in the part itself, since tunes repeat their bars (of alice29's 5 %), though of
its 177 lines of 20 characters or more only one stands in the training text. Such a run is copied whole; a net has to
have kept it in its state, and the n-gram model learns nothing as it reads.
"""
MACHINES = """
Seconds are those of the whole command: reading, measuring, validating and saving included. Speed is the least share of
a reference speed, as said above. Machines:
"""
ORIGINS = (
    "They are from the projects char-rnn (tinyshakespeare), introtodeeplearning (irish_abc) and Char-RNN-TensorFlow "
    "(tang_poems_zh) on GitHub, and from the Canterbury corpus (alice29)."
)
#: What of the settings is shown beside the size, where it is not zero.
CHOSEN = ("embed_size", "dropout", "input_dropout", "weight_drop", "learning_rate", "reset_rate", "average")


def document(rows: Sequence[Row], runs: Sequence[Run], seeds: int, picture: str | None) -> str:
    """Return the page; picture: the file's name beside it, or None where there is none."""
    from charrnn.evaluation.baselines import COMPRESSORS  # loads NumPy, for which the kernels have to be set before

    yardstick = [row for row in rows if row.text == SHAKESPEARE]
    tested = [row for row in rows if "test" in row.scores]
    curves = [f"![Learning curves: validation loss over the time of training]({picture})", ""] if picture else []
    lines = [
        INTRODUCTION,
        *markdown_table(("time", *_heads("whole"), *_heads("windows"), "seeds"), _yardstick(yardstick, runs, seeds)),
        "",
        "What others reach on the same part:",
        "",
        *markdown_table(
            ("", "whole", "windows"), [(who, _nats(whole), _nats(windows)) for who, whole, windows in OTHERS]
        ),
        "",
        *curves,
        TESTED,
        *markdown_table(
            (
                "text",
                *_heads("test"),
                "n-gram",
                ", ".join(COMPRESSORS),
                "validation, whole",
                "validation, windows",
                "seeds",
            ),
            _tested(tested, runs, seeds),
        ),
        "",
        "## Every run",
        "",
        *_every_run(rows, runs),
    ]
    return "\n".join(lines) + "\n"


def _heads(score: str) -> tuple[str, ...]:
    return f"{score}, median seed", "least to greatest", "bar"


def _nats(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _score(run: Run, score: str, unit: str = "nats_per_char") -> float:
    return float(run.scores[score][unit])


def _yardstick(rows: Sequence[Row], runs: Sequence[Run], seeds: int) -> Iterator[tuple[str, ...]]:
    for row in rows:
        found = counting(row, runs)
        cells = [cell for score in ("whole", "windows") for cell in _figures(row, found, score, "nats_per_char")]
        yield row.name.partition(", ")[2], *cells, _seeds(found, runs, seeds)


def _tested(rows: Sequence[Row], runs: Sequence[Run], seeds: int) -> Iterator[tuple[str, ...]]:
    from charrnn.evaluation.baselines import COMPRESSORS

    for row in rows:
        found = counting(row, runs)
        ngram = compressors = whole = windows = "–"
        if found:
            chosen = median_run(found)
            baselines = chosen.scores["test"]["baselines"]
            ngram = f"{baselines['ngram']['bpc']:.3f} (n = {baselines['n']})"
            compressors = ", ".join(f"{baselines[name]['bpc']:.3f}" for name in COMPRESSORS)
            whole, windows = (f"{_score(chosen, score, 'bpc'):.3f}" for score in ("whole", "windows"))
        figures = _figures(row, found, "test", "bpc")
        yield row.name, *figures, ngram, compressors, whole, windows, _seeds(found, runs, seeds)


def _figures(row: Row, found: Sequence[Run], score: str, unit: str) -> tuple[str, str, str]:
    """Return the median seed's figure, the least and the greatest of all seeds, and the bar."""
    places = 3 if unit == "bpc" else 4
    bar = row.bars.get(score)
    shown = "–" if bar is None else f"{bar:.{places}f}"
    if not found:
        return "–", "–", shown
    figure, all_ = _score(median_run(found), score, unit), [_score(run, score, unit) for run in found]
    text = f"{figure:.{places}f}"
    bold = "**" * (bar is not None and figure <= bar)
    return f"{bold}{text}{bold}", f"{min(all_):.{places}f} to {max(all_):.{places}f}", shown


def _seeds(found: Sequence[Run], runs: Sequence[Run], seeds: int) -> str:
    """Return how many seeds there are, honestly: what is missing, and what ran on a slow machine."""
    slow = sum(is_slow(run, runs) for run in found)
    said = str(len(found)) if len(found) >= seeds else f"{len(found)} of {seeds} so far"
    return f"{said}; {slow} on a slow machine" if slow else said


def _every_run(rows: Sequence[Row], runs: Sequence[Run]) -> list[str]:
    """Return the table of all runs that count, with their machines below."""
    found = [run for row in rows for run in counting(row, runs)]
    if not found:
        return ["None so far."]
    machines = list(dict.fromkeys(map(_machine, found)))
    columns: dict[str, Callable[[Run], str]] = {
        "command": lambda run: f"`{run.command}`",
        "whole, nats": lambda run: _nats(_score(run, "whole")),
        "windows, nats": lambda run: _nats(_score(run, "windows")),
        "test, bits": lambda run: f"{_score(run, 'test', 'bpc'):.4f}" if "test" in run.scores else "–",
        "chosen by the recipe": _settings,
        "parameters": lambda run: f"{run.parameters:,}",
        "best step": lambda run: f"{run.best_step:,} of {run.steps:,}",
        "characters seen": lambda run: f"{run.chars:,} ({run.passes:.1f} passes)",
        "seconds": lambda run: f"{run.seconds:,.0f}",
        "GFLOP/s before, after": lambda run: "{:.0f}, {:.0f}".format(*run.gflops),
        "speed": lambda run: f"{100 * share(run, runs):.0f} %" + (" (slow)" if is_slow(run, runs) else ""),
        "machine": lambda run: str(machines.index(_machine(run)) + 1),
    }
    lines = markdown_table(tuple(columns), [tuple(cell(run) for cell in columns.values()) for run in found])
    lines += [MACHINES, *(f"{number}. {machine}" for number, machine in enumerate(machines, 1))]
    texts = dict.fromkeys(f"{row.text} {run.text_sha256[:8]}" for row in rows for run in counting(row, runs))
    lines += ["", f"Texts, with the SHA-256 of their bytes: {', '.join(texts)}. {ORIGINS}"]
    lines += ["", "What was scored after each, in its folder:", "", "```"]
    for example in {row.text: row for row in rows}.values():
        lines += [f"charrnn {' '.join(example.eval(score))}" for score in example.scores]
    lines += ["```"]
    if again := len(runs) - len(found):
        lines += ["", f"Not shown: {again} run{'s' * (again != 1)} that {'were' if again != 1 else 'was'} made again."]
    return lines


def _settings(run: Run) -> str:
    settings = run.model | run.train
    parts = [f"{name.replace('_', ' ')} {settings[name]:g}" for name in CHOSEN if settings.get(name)]
    return ", ".join([f"{settings['cell']} {settings['num_layers']}x{settings['hidden_size']}", *parts])


def _machine(run: Run) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    code = f", code of {run.code}" if run.code else ""
    return f"{run.processor}, {run.cores} cores, {run.train['threads']} used, {run.system}; {versions}{code}"

"""The page docs/results.md: tables of the median seeds, then every run with its cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.markdown import markdown_table
from benchmarks.records.rows import OTHERS, SHAKESPEARE, Row
from benchmarks.records.runs import ATTEMPTS, SLOW, Run, counting, is_slow, median_run, share

INTRODUCTION = """\
# Results

This page shows how good a model `charrnn train` makes when you set nothing but the time. Lower is better in every
table. A bar is a target that was set before the runs; a figure that reaches it is bold. The last table has the
command, seed, machine and seconds of every run.

Each score has two figures of the same run and the same weights: of the net alone, and *with memory*
([cli/eval.md](cli/eval.md#the-memory)). The memory starts empty, and in *windows* it is emptied with the state. Where
it does not help on the validation split, it is off, and both figures are equal. A dash means that the run is from a
version without memories. Compare other models' figures with those of the net alone, unless these models may look back
at the text, too.

## Tiny Shakespeare

Figures are nats per character on the validation split, which is the last tenth of the text. The memory's gate is
fitted to this split, so each prediction uses a gate that was fitted to other blocks of it. Rows with *NumPy* ran
without the compiled core (`CHARRNN_COMPILED=0`).

*whole*: the split is read once, and the state is carried along.
"""
WINDOWS = "*windows*: every 256 characters start from a zero state and an empty memory."
TESTED = """\
## Texts with a test split

Figures are bits per character. The test split is the last twentieth of each text, scored once per run (*whole*); the
validation split is the twentieth before it. The first bar is the score of a modified Kneser-Ney 7-gram model. The
n-gram column has the best such model: its n was chosen on the validation split. The compressors' figures come from the
bytes that the test split adds to the compressed training text.

Compressors beat a net alone on text that repeats itself literally. In irish_abc's test split, 37 % of the characters
are in runs of 16 or more that occur earlier in the same split, because tunes repeat their bars (alice29: 5 %). Only one
of its 177 lines of 20 characters or more occurs in the training split. A compressor copies such a run, and so does the
memory. A net alone must have kept it in its state, and the n-gram model does not learn while it reads.
"""
NAMES = """\
## Names

Figures are nats per character on 1,000 of the 32,033 names, drawn at random and not trained on; each name is a document
and ends with a symbol that is scored, too. The memory is emptied after each name. The first bar is what makemore
reports for a Transformer of 200,000 parameters on another random split.
"""
METHOD = f"""\
## How the runs were made

`make records TEXTS=FOLDER` makes the runs that are missing or were slow, from the texts in the folder, and commits each
one. It takes hours; stop it at any time, and the next call continues with the same row and seed. To repeat a run,
remove its line from results.json. `ROWS="tinyshakespeare, 3 minutes"` makes only these rows, with the compiled core and
without. A run whose checkpoint does not agree with its row about the core is an error. The list of machines names the
core of each run.

- **Selection.** A run keeps the checkpoint with the lowest validation loss. On tiny Shakespeare the validation split
  also chose the recipe's settings, so these figures are slightly optimistic (nanoGPT's too). The texts with a test
  split have no such bias, except that the first comparisons on small texts used part of alice29's
  ([ablations.md](ablations.md)). The memory changes neither the weights nor which checkpoint is kept.
- **Seeds.** A row shows the median seed (of two seeds, the worse), and the lowest and highest of all. Seeds are
  ordered by the net's loss on the test split, or on the whole validation split if there is no test split. The figure
  with memory is that of the same seed.
- **Speed of the machine.** The machines were shared, so matrix products are timed right before and after each run. A
  run counts as slow if one of these speeds, or its training speed, is below {100 * SLOW:.0f} % of a reference: the
  highest seen on this processor, in any run for products, in the same row for training. Slow runs are made again, at
  most {ATTEMPTS} times in one call; the fastest run of a seed counts, whatever its score. Runs that are still slow are
  marked.
"""
#: What `classify`, `fill`, `repair` and `embed` reach, from benchmarks of their own.
WHOLE_TEXTS = Path(__file__).with_name("whole_texts.md")
MACHINES = """
Seconds are for the whole command: reading, measuring, validating and saving included. Speed is the lowest of the run's
three speeds, relative to the highest seen. Machines:
"""
ORIGINS = (
    "They come from the projects char-rnn (tinyshakespeare), introtodeeplearning (irish_abc), Char-RNN-TensorFlow "
    "(tang_poems_zh) and makemore (names) on GitHub, and from the Canterbury corpus (alice29)."
)
#: The settings shown beside the size, unless they are zero.
CHOSEN = ("embed_size", "dropout", "input_dropout", "weight_drop", "learning_rate", "reset_rate", "average")


def document(rows: Sequence[Row], runs: Sequence[Run], seeds: int, picture: str | None) -> str:
    """Return the page; picture is the name of the file beside it, or None."""
    from charrnn.evaluation.baselines import COMPRESSORS  # loads NumPy: the kernel has to be set first

    yardstick = [row for row in rows if row.text == SHAKESPEARE]
    tested = [row for row in rows if "test" in row.scores]
    names = [row for row in rows if row not in yardstick and row not in tested]
    curves = [f"![Learning curves: validation loss against training time]({picture})", ""] if picture else []
    lines = [
        INTRODUCTION,
        *markdown_table(("time", *_heads("whole"), "seeds"), _in_nats(yardstick, "whole", runs, seeds)),
        "",
        WINDOWS,
        "",
        *markdown_table(("time", *_heads("windows"), "seeds"), _in_nats(yardstick, "windows", runs, seeds)),
        "",
        "Other models on the same split:",
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
                "validation, whole; with memory",
                "validation, windows; with memory",
                "seeds",
            ),
            _tested(tested, runs, seeds),
        ),
        "",
        NAMES,
        *markdown_table(("time", *_heads("whole"), "seeds"), _in_nats(names, "whole", runs, seeds)),
        "",
        WHOLE_TEXTS.read_text(encoding="utf-8"),
        METHOD,
        "## Every run",
        "",
        *_every_run(rows, runs),
    ]
    return "\n".join(lines) + "\n"


def _heads(score: str) -> tuple[str, ...]:
    return f"{score}, median seed", "lowest to highest", "bar", "with memory", "lowest to highest", "bar"


def _nats(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _pair(run: Run, score: str, unit: str = "nats_per_char", places: int = 4) -> str:
    """Return a figure of the net alone, and the same with its memory; a dash for a score that the row lacks."""
    if score not in run.scores:
        return "–"
    figures = (run.figure(score, unit, memory=memory) for memory in (False, True))
    return "; ".join("–" if figure is None else f"{figure:.{places}f}" for figure in figures)


def _in_nats(rows: Sequence[Row], score: str, runs: Sequence[Run], seeds: int) -> Iterator[tuple[str, ...]]:
    for row in rows:
        found = counting(row, runs)
        yield row.name.partition(", ")[2], *_figures(row, found, score, "nats_per_char"), _seeds(found, runs, seeds)


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
            whole, windows = (_pair(chosen, score, "bpc", 3) for score in ("whole", "windows"))
        figures = _figures(row, found, "test", "bpc")
        yield row.name, *figures, ngram, compressors, whole, windows, _seeds(found, runs, seeds)


def _figures(row: Row, found: Sequence[Run], score: str, unit: str) -> Iterator[str]:
    """Yield the median seed's figure, the lowest and highest of all seeds, and the bar; then the same with memory."""
    places = 3 if unit == "bpc" else 4
    for bars, memory in ((row.bars, False), (row.memory, True)):
        bar = bars.get(score)
        figure = median_run(found).figure(score, unit, memory=memory) if found else None
        if figure is None:
            yield from ("–", "–")
        else:
            each = [one for run in found if (one := run.figure(score, unit, memory=memory)) is not None]
            bold = "**" * (bar is not None and figure <= bar)
            yield f"{bold}{figure:.{places}f}{bold}"
            yield f"{min(each):.{places}f} to {max(each):.{places}f}"
        yield "–" if bar is None else f"{bar:.{places}f}"


def _seeds(found: Sequence[Run], runs: Sequence[Run], seeds: int) -> str:
    """Return the number of seeds, with those that are missing or ran on a slow machine."""
    slow = sum(is_slow(run, runs) for run in found)
    said = str(len(found)) if len(found) >= seeds else f"{len(found)} of {seeds} so far"
    return f"{said}; {slow} on a slow machine" if slow else said


def _every_run(rows: Sequence[Row], runs: Sequence[Run]) -> list[str]:
    """Return the table of all runs that count, and the list of their machines."""
    found = [run for row in rows for run in counting(row, runs)]
    if not found:
        return ["None so far."]
    machines = list(dict.fromkeys(map(_machine, found)))
    columns: dict[str, Callable[[Run], str]] = {
        "command": lambda run: f"`{run.command}`",
        "whole, nats; with memory": lambda run: _pair(run, "whole"),
        "windows, nats; with memory": lambda run: _pair(run, "windows"),
        "test, bits; with memory": lambda run: _pair(run, "test", "bpc"),
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
    lines += ["", "After each run, these commands scored it:", "", "```"]
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

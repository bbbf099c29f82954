"""Measure how many typing errors in a held-out text `charrnn repair` mends, beside hunspell if it is installed.

    python -m benchmarks.repair FORWARD BACKWARD TEXT --typos 0.05 --seed 1 --begin 55770 --chars 55770

TEXT is the corpus of both models, whose last tenth is the validation split. This share of its words of three letters or
more gets one error: a letter is inserted, left out, replaced by a random one, or exchanged with the next; all four are
alike likely, as are all places. `hunspell -d en_US` replaces each word that it refuses by its first suggestion. A word
in the table is what is between spaces; intervals are Wilson's, of 95 %.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path
from random import Random

import click

import charrnn
from benchmarks.markdown import markdown_table
from charrnn.data.corpus import Corpus
from charrnn.evaluation.statistics import wilson
from charrnn.restoration.comparison import Repairs
from charrnn.restoration.noise import RepairConfig
from charrnn.restoration.pair import Pair
from charrnn.restoration.repair import Repairer

COLUMNS = ("", "typos mended", "right words changed", "new words that are right", "s per 1,000 characters")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_BLOCK = 64  # lines that are repaired side by side, as by the command


def with_error(word: str, rng: Random) -> str:
    """Return the word with a random error that changes it."""
    while True:
        kind, letter = rng.randrange(4), rng.choice(_LETTERS)
        at = rng.randrange(len(word) + 1 if kind == 0 else len(word) - (kind == 3))
        letter = letter.upper() if word.isupper() else letter
        written = (letter + word[at : at + 1], "", letter, word[at : at + 2][::-1])[kind]
        made = word[:at] + written + word[at + 1 + (kind == 3) :]
        if made != word:
            return made


def with_errors(text: str, share: float, seed: int) -> str:
    """Return the text with an error in this share of its words of three letters or more."""
    rng = Random(seed)
    return re.sub(r"[^\W\d_]{3,}", lambda word: with_error(word[0], rng) if rng.random() < share else word[0], text)


def by_hunspell(lines: list[str]) -> list[str]:
    """Return the lines, in which each word that hunspell refuses is replaced by its first suggestion."""
    asked = "".join(f"^{line}\n" for line in lines)
    answer = subprocess.run(
        ["hunspell", "-d", "en_US", "-i", "utf-8", "-a"], input=asked, capture_output=True, text=True, check=True
    )
    answers: list[list[str]] = [[]]
    for found in answer.stdout.splitlines()[1:]:  # the first line has the version; an empty one ends each answer
        if found:
            answers[-1].append(found)
        else:
            answers.append([])
    return [_with_suggestions(line, own) for line, own in zip(lines, answers[:-1], strict=True)]


def _with_suggestions(line: str, answers: list[str]) -> str:
    """Return the line with the first suggestion of each answer such as `& teh 4 1: the, eh`; its offset counts `^`."""
    found = [re.match(r"& (\S+) \d+ (\d+): ([^,]+)", answer) for answer in reversed(answers)]
    for word, offset, suggestion in (match.groups() for match in found if match):
        at = int(offset) - 1
        line = line[:at] + suggestion + line[at + len(word) :]
    return line


def row(name: str, counts: Repairs, seconds: float, chars: int) -> tuple[str, ...]:
    """Return a row of the table."""
    cells = []
    for share in ("recall", "changed", "precision"):
        count, of = counts.shares()[share]
        low, high = (100 * limit for limit in wilson(count, of))
        cells.append(f"{100 * count / max(1, of):.2f} % ({low:.2f} to {high:.2f}; {count:,} of {of:,})")
    return name, *cells, f"{1000 * seconds / chars:.2f}"


@click.command()
@click.argument("forward")
@click.argument("backward")
@click.argument("text", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--typos", default=0.05, show_default=True, help="The share of words with an error.")
@click.option("--seed", default=1, show_default=True)
@click.option("--begin", default=0, show_default=True, help="The first character, in the validation split.")
@click.option("--chars", default=30_000, show_default=True, help="Characters that are read.")
@click.option("--rate", "rates", multiple=True, type=float, help="As for `charrnn repair`; several: a row for each.")
def main(
    forward: str, backward: str, text: Path, typos: float, seed: int, begin: int, chars: int, rates: tuple[float, ...]
) -> None:
    """Print the table of docs/cli/repair.md."""
    models = [charrnn.load(name).checkpoint for name in (forward, backward)]
    whole = str(Corpus.from_text(text.read_text("utf-8"), val_fraction=0.1).val)[begin : begin + chars]
    meant, given = whole.split("\n"), with_errors(whole, typos, seed).split("\n")

    def measured(name: str, repaired: list[str], seconds: float) -> str:
        counts = Repairs()
        for lines in zip(meant, given, repaired, strict=True):
            counts = counts.plus(*lines)
        return markdown_table(COLUMNS, [row(name, counts, seconds, len(whole))])[-1]

    click.echo("\n".join(markdown_table(COLUMNS, [])))
    settings = [RepairConfig(rate=rate) for rate in rates or (RepairConfig().rate,)]
    for config in [*settings, RepairConfig(only_words=True)]:
        repairer, started = Repairer(Pair.of(*models), config), time.process_time()
        blocks = [given[at : at + _BLOCK] for at in range(0, len(given), _BLOCK)]
        repaired = [one.text for block in blocks for one in repairer.repair(block)]
        name = f"repair --rate {config.rate:g}" + " --only-words" * config.only_words
        click.echo(measured(name, repaired, time.process_time() - started))
    if shutil.which("hunspell"):
        started = time.perf_counter()
        repaired = by_hunspell(given)
        click.echo(measured("hunspell, first suggestion", repaired, time.perf_counter() - started))


if __name__ == "__main__":
    main()

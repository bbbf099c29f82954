"""Measure how often gaps in words of a held-out text are filled with exactly what was there.

    python -m benchmarks.fill FORWARD BACKWARD TEXT --gaps 500 --seed 1

TEXT is the corpus of both models, whose last tenth is the validation split. Each gap is in a word of at least 5 letters
there, at a random place inside the word; the lines around it are its context. Rows:

forward alone, backward alone    the beam of one model, given the text before it in the model's direction only
forward, backward and reading on the same beam, scored with the known text that follows the gap in that direction
both                             `charrnn fill`: the beams of both models, scored by both

Intervals are Wilson's, of 95 %. The last columns count words that the training split has, and that it lacks.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import numpy.typing as npt

import charrnn
from benchmarks.markdown import markdown_table
from charrnn.data.corpus import Corpus
from charrnn.restoration.filling import candidates, mixed, score, search
from charrnn.restoration.gaps import Gap, Template
from charrnn.restoration.pair import Pair

COLUMNS = ("", "exact", "95 % interval", "known words", "new words")
_LETTERS = 5  # of a word that has a gap, at least
_Z = 1.959964


class Question(NamedTuple):
    """A gap: the text around it, what was there, and whether the training split has the word."""

    template: Template
    answer: str
    known: bool


def questions(corpus: Corpus, count: int, size: int, lines: int, seed: int) -> Iterator[Question]:
    """Yield gaps of so many characters, each with this many whole lines before and after its own."""
    text, rng = str(corpus.val), np.random.default_rng(seed)
    learned = set(re.findall(r"[A-Za-z]+", str(corpus.train)))
    words = [*re.finditer(rf"[A-Za-z]{{{max(_LETTERS, size)},}}", text)]
    for at in rng.permutation(len(words))[:count].tolist():
        word = words[at]
        begin = word.start() + int(rng.integers(len(word[0]) - size + 1))
        end = begin + size
        before = text[:begin].split("\n")[-lines - 1 :]
        after = text[end:].split("\n")[: lines + 1]
        template = Template(("\n".join(before), "\n".join(after)), (Gap(size, size),))
        yield Question(template, text[begin:end], word[0] in learned)


def answers(pair: Pair, alone: Sequence[Pair], template: Template) -> dict[str, str]:
    """Return what each way of filling puts into the gap, by the names of the rows."""
    found = {}
    for name, own in zip(("forward", "backward"), alone, strict=True):
        fills = candidates(own, template)
        found[f"{name} alone"] = best(fills, score(own, template, fills, reach=0))
        found[f"{name} and reading on"] = best(*search(own, template))
    found["both"] = best(*search(pair, template))
    return found


def best(fills: Sequence[tuple[str, ...]], scores: npt.NDArray[np.float64]) -> str:
    """Return the fill of the only gap with the highest score."""
    return fills[int(mixed(scores).argmax())][0]


def interval(right: int, count: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share."""
    share, z2 = right / count, _Z**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z * np.sqrt(share * (1 - share) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return middle - half, middle + half


def row(name: str, right: Sequence[bool], known: Sequence[bool]) -> tuple[str, ...]:
    """Return a row of the table."""
    low, high = interval(sum(right), len(right))
    parts = [
        [hit for hit, is_known in zip(right, known, strict=True) if is_known is wanted] for wanted in (True, False)
    ]
    shares = [f"{sum(part)} of {len(part)}" for part in parts]
    return name, f"{sum(right) / len(right):.1%}", f"{low:.1%} to {high:.1%}", *shares


@click.command()
@click.argument("forward")
@click.argument("backward")
@click.argument("text", type=click.Path(exists=True, path_type=Path))
@click.option("--gaps", default=500, show_default=True, help="Gaps to fill.")
@click.option("--size", default=3, show_default=True, help="Characters of each.")
@click.option("--lines", default=2, show_default=True, help="Whole lines before and after that of the gap.")
@click.option("--seed", default=1, show_default=True, help="Chooses the gaps.")
def main(forward: str, backward: str, text: Path, gaps: int, size: int, lines: int, seed: int) -> None:
    """Print a table of exact matches."""
    models = [charrnn.load(name).checkpoint for name in (forward, backward)]
    pair = Pair.of(*models)
    alone = (Pair(pair.forward), Pair(pair.readers[1]))
    right: dict[str, list[bool]] = {}
    known, begin = [], time.perf_counter()
    corpus = Corpus.read(str(text), models[0].text_config)
    for question in questions(corpus, gaps, size, lines, seed):
        for name, answer in answers(pair, alone, question.template).items():
            right.setdefault(name, []).append(answer == question.answer)
        known.append(question.known)
    click.echo("\n".join(markdown_table(COLUMNS, [row(name, hits, known) for name, hits in right.items()])))
    hits = [np.array(right[name], int) for name in ("both", "forward alone", "forward and reading on")]
    for other, name in zip(hits[1:], ("forward alone", "forward and reading on"), strict=True):
        gain = hits[0] - other
        half = _Z * gain.std(ddof=1) / np.sqrt(len(gain))
        click.echo(f"both less {name}: {100 * gain.mean():+.1f} ± {100 * half:.1f} points (95 %, of the same gaps)")
    click.echo(f"{len(known)} gaps in {time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()

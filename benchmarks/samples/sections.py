"""The sections of docs/samples.md: for each text a model, its samples, and how many are correct."""

from __future__ import annotations

import ast
import json
import shlex
import sysconfig
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.commands import charrnn
from benchmarks.markdown import markdown_table
from benchmarks.samples.abc import check
from benchmarks.samples.repeats import copied, repeated

TEXTS = ("names.txt", "irish_abc.txt", "tang_poems_zh.txt", "alice29.txt", "tinyshakespeare.txt")
STDLIB = "$(python -c 'import sysconfig; print(sysconfig.get_path(\"stdlib\"))')"  # as typed into a shell
SEED = ("--seed", "1")
#: Lengths of the n-grams that a sample repeats, and of those that it copies from the corpus.
REPEATED, COPIED = (12, 20, 40), (8, 12, 20, 30, 50)
SAMPLE, REAL, SHOWN = 4_000, 40_000, 500  # characters of a sample, of the corpus's end, and of a sample that is shown
TEMPERATURES = ("0.2", "0.4", "0.6", "0.8", "1.0")
COUPLET = r"[\p{Han}]{5}，[\p{Han}]{5}。"
_CONSONANT, _VOWELS = "[b-df-hj-np-tv-xz]", "[aeiouy]+"  # a group of vowels stands for a syllable
_NEXT = rf"({_CONSONANT}{{1,3}}|{_CONSONANT}{{0,3}},? {_CONSONANT}{{0,3}}){_VOWELS}"
HAIKU = "(?i)" + "".join(
    rf"{_CONSONANT}{{0,3}}{_VOWELS}({_NEXT}){{{groups - 1}}}{_CONSONANT}{{0,3}}{end}"
    for groups, end in ((5, r"[,;:]?\n"), (7, r"[,;:]?\n"), (5, "[.!?]"))
)
#: The beginning of the code after a function.
NEXT_DEFINITIONS = (r"\n\n\n", r"\ndef ", r"\nclass ", r"\n@", r"\n    def ", r"\n    @")


@dataclass(frozen=True)
class Workshop:
    """A folder in which commands run."""

    folder: Path

    def train(self, name: str, *words: str, protocol: str = "whole") -> Iterator[str]:
        """Train a model unless it exists; yield the commands and its loss on the validation split."""
        evaluate = ("eval", "-m", f"checkpoints/{name}", "--protocol", protocol)
        out = ("--out", f"checkpoints/{name}")
        if not (self.folder / out[1] / "best.npz").exists():
            charrnn(self.folder, "train", *(_expanded(word) for word in words), *SEED, *out)
        info = json.loads(charrnn(self.folder, "info", "-m", out[1], "--json"))
        figures = json.loads(charrnn(self.folder, *evaluate, "--json"))
        size = info["model"]
        yield from _commands(("train", *words, *SEED, *out), evaluate)
        yield (
            f"The model is {size['cell']} {size['num_layers']}x{size['hidden_size']} with "
            f"{info['parameters_total']:,} parameters. On the validation split ({figures['chars']:,} symbols), it "
            f"scores **{figures['nats_per_char']:.4f} nats** or {figures['bpc']:.3f} bits per symbol"
            + (f"; with its memory, {memory['nats_per_char']:.4f} nats." if (memory := figures["memory"]) else ".")
        )
        yield ""

    def sample(self, name: str, *words: str) -> tuple[list[dict[str, Any]], float]:
        """Return a model's samples, and the seconds of the whole command."""
        began = time.monotonic()
        said = charrnn(self.folder, "sample", "-m", f"checkpoints/{name}", *words, *SEED, "--json")
        return [json.loads(line) for line in said.splitlines()], time.monotonic() - began


def names(workshop: Workshop) -> Iterator[str]:
    """Yield the section on names."""
    yield "## Names\n"
    options = ("--split-documents", "lines", "--shuffle-documents", "--val-documents", "1000")
    yield from workshop.train("names", "names.txt", *options, "--minutes", "5")
    yield "makemore reports about 1.92 nats for a Transformer of 200,000 parameters, on another random split.\n"
    known = set((workshop.folder / "names.txt").read_text(encoding="utf-8").split("\n"))
    words = ("--count", "1000", "--temp", "1")
    samples, seconds = workshop.sample("names", *words)
    written = [sample["text"] for sample in samples]
    yield from _commands(("sample", "-m", "checkpoints/names", *words, *SEED, "--json"))
    new = sum(name not in known for name in written)
    yield (
        f"The command writes {len(written):,} names in one batch and takes {seconds:.1f} s, start-up included. "
        f"{_share(samples, 'document')} of them end by themselves, {new / len(written):.1%} are not in names.txt, and "
        f"{len(set(written)):,} are distinct. The first ones:\n"
    )
    yield from _block(", ".join(written[:12]), ", ".join(written[12:24]))


def tunes(workshop: Workshop) -> Iterator[str]:
    """Yield the section on tunes."""
    yield "## Tunes\n"
    yield from workshop.train("irish", "irish_abc.txt", "--split-documents", "blank-lines", "--minutes", "5")
    real = [check(tune) for tune in (workshop.folder / "irish_abc.txt").read_text(encoding="utf-8").split("\n\n")]
    yield (
        "Each tune is a document. The checker `benchmarks/samples/abc.py` parses header, notes, tuplets and bar lines. "
        "A bar between two plain bar lines is full if it is as long as the meter demands.\n"
    )
    rows, shown = [_tune_row("the tunes of irish_abc.txt", real)], ""
    for temperature in TEMPERATURES:
        samples, _ = workshop.sample("irish", "--count", "100", "-n", "2000", "--temp", temperature)
        checked = [check(sample["text"]) for sample in samples]
        rows.append(_tune_row(f"`--temp {temperature}`, 100 tunes", checked))
        if temperature == "0.6":
            shown = next((one["text"] for one, own in zip(samples, checked, strict=True) if own.problem is None), "")
    yield from _commands(
        ("sample", "-m", "checkpoints/irish", "--count", "100", "-n", "2000", "--temp", "0.6", *SEED, "--json")
    )
    yield from markdown_table(("", "accepted", "bars", "full bars"), rows)
    yield "\nThe first one accepted at 0.6:\n"
    yield from _block(shown)


def _tune_row(name: str, checked: Sequence[Any]) -> tuple[str, ...]:
    bars = sum(found.bars for found in checked)
    accepted = sum(found.problem is None for found in checked) / len(checked)
    return name, f"{accepted:.1%}", f"{bars:,}", f"{sum(found.full for found in checked) / max(1, bars):.1%}"


def couplets(workshop: Workshop) -> Iterator[str]:
    """Yield the section on Tang poems."""
    yield "## Tang poems\n"
    yield from workshop.train("tang", "tang_poems_zh.txt", "--minutes", "5")
    words = ("--regex", COUPLET, "--count", "8")
    samples, seconds = workshop.sample("tang", *words)
    yield from _commands(("sample", "-m", "checkpoints/tang", *words, *SEED))
    yield f"The regular expression forces the form. The command takes {seconds:.1f} s, start-up included:\n"
    yield from _block(*(sample["text"] for sample in samples))


def haiku(workshop: Workshop) -> Iterator[str]:
    """Yield the section on haiku."""
    yield "## Haiku, after Alice\n"
    yield from workshop.train("alice", "alice29.txt", "--minutes", "5")
    words = ("--regex", HAIKU, "-n", "120", "--count", "4", "--best-of", "50", "--novel", "25")
    samples, _ = workshop.sample("alice", *words)
    yield from _commands(("sample", "-m", "checkpoints/alice", *words, *SEED))
    yield (
        "The expression asks for three lines with five, seven and five groups of vowels, a rough stand-in for "
        "syllables. Each poem is the most likely of fifty:\n"
    )
    yield from _block("\n\n".join(sample["text"] for sample in samples))


def python(workshop: Workshop) -> Iterator[str]:
    """Yield the section on Python."""
    yield "## Python\n"
    yield from workshop.train(
        "python", f"{STDLIB}/*.py", "--split-documents", "files", "--minutes", "10", protocol="lanes"
    )
    stops = [word for stop in NEXT_DEFINITIONS for word in ("--stop", stop)]
    options = ("--prime", r"\n\n\ndef ", *stops, "-n", "1500", "--count", "200")
    rows, shown = [], ""
    for temperature in TEMPERATURES:
        samples, _ = workshop.sample("python", *options, "--temp", temperature)
        parsed = [_parses(sample["prime"] + sample["text"]) for sample in samples]
        accepted = sum(parsed) / len(samples)
        rows.append((f"`--temp {temperature}`", f"{accepted:.1%}", _share(samples, "stop")))
        if temperature == "0.6":
            shown = next((one["prime"] + one["text"] for one, own in zip(samples, parsed, strict=True) if own), "")
    yield from _commands(("sample", "-m", "checkpoints/python", *options, "--temp", "0.6", *SEED, "--json"))
    yield (
        "The model writes 200 functions at each temperature, each up to two empty lines or the next definition. A "
        "function longer than 1,500 characters is cut off, and then hardly ever parses.\n"
    )
    yield from markdown_table(("", "`ast.parse` accepts", "complete"), rows)
    yield "\nThe first one accepted at 0.6:\n"
    yield from _block(shown.strip("\n"), language="python")


def memory(workshop: Workshop) -> Iterator[str]:
    """Yield the section on what a memory changes: how much samples repeat themselves, and copy the corpus."""
    yield "## With and without memory\n"
    yield (
        "A memory must not make a sample repeat itself for ever. The tables compare samples with real text: the last "
        f"{REAL:,} characters of the corpus, in pieces as long as a sample. *Repeated* is the share of sequences of so "
        "many characters that occurred earlier in the same sample. *Copied* is the share that occurs in the rest of "
        f"the corpus. Each row of samples has eight, of {SAMPLE:,} characters. [choices.md](choices.md#the-memory) "
        "compares other ways to draw.\n"
    )
    split = ("--val-fraction", "0.05", "--test-fraction", "0.05")
    yield from _memory_of(workshop, "tunes", "irish_abc.txt", "--minutes", "5", *split)
    yield from _memory_of(workshop, "plays", "tinyshakespeare.txt", "--minutes", "10")


def _memory_of(workshop: Workshop, name: str, text: str, *options: str) -> Iterator[str]:
    yield f"### {text}\n"
    yield from workshop.train(name, text, *options)
    corpus = (workshop.folder / text).read_text(encoding="utf-8")
    rest, end = corpus[:-REAL], corpus[-REAL:]
    rows = [_repeats_row("real text", [end[at : at + SAMPLE] for at in range(0, REAL, SAMPLE)], rest)]
    shown = {}
    for off in (("--memory", "0"), ()):
        for temperature in ("0.8", "1.0"):
            words = ("--count", "8", "-n", str(SAMPLE), "--temp", temperature, *off)
            written = [sample["text"] for sample in workshop.sample(name, *words)[0]]
            said = "without memory" if off else "with memory"
            rows.append(_repeats_row(f"{said}, `--temp {temperature}`", written, rest))
            shown.setdefault(said, (words, written[0][:SHOWN].rpartition("\n")[0]))
    yield from _commands(
        *(("sample", "-m", f"checkpoints/{name}", *words, *SEED, "--json") for words, _ in shown.values())
    )
    heads = (*(f"repeated, {n}" for n in REPEATED), *(f"copied, {n}" for n in COPIED))
    yield from markdown_table(("", *heads), rows)
    yield ""
    for said, (_, sample) in shown.items():
        yield f"The beginning of the first sample at 0.8, {said}:\n"
        yield from _block(sample)


def _repeats_row(name: str, texts: Sequence[str], rest: str) -> tuple[str, ...]:
    shares = [*(repeated(texts, n) for n in REPEATED), *(copied(texts, rest, n) for n in COPIED)]
    return name, *(f"{share:.1%}" for share in shares)


def _parses(source: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd escapes, which are valid Python
            ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _expanded(word: str) -> str:
    """Return a word as the shell expands it."""
    return word.replace(STDLIB, sysconfig.get_path("stdlib"))


def _share(samples: Sequence[dict[str, Any]], ended: str) -> str:
    return f"{sum(sample['ended'] == ended for sample in samples) / len(samples):.1%}"


def _commands(*commands: Sequence[str]) -> Iterator[str]:
    """Yield a block of commands as a user types them."""
    yield "```sh"
    for words in commands:
        yield "charrnn " + " ".join(f'"{word}"' if STDLIB in word else shlex.quote(word) for word in words)
    yield "```"


def _block(*lines: str, language: str = "text") -> Iterator[str]:
    yield f"```{language}"
    yield from lines
    yield "```\n"


SECTIONS = (names, tunes, memory, couplets, haiku, python)

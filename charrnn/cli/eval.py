"""`charrnn eval`: measure how well a model predicts a text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from charrnn.cli._command import Conflict, SectionedCommand, complete_files, section
from charrnn.cli._options import (
    json_option,
    memory_options,
    model_option,
    ngram_options,
    threads_option,
    unknown_option,
)
from charrnn.cli._types import OneOf
from charrnn.config import PROTOCOLS

if TYPE_CHECKING:
    from charrnn.evaluation.baselines import Baselines
    from charrnn.evaluation.statistics import Evaluation


_scoring = section("Scoring")


@click.command(
    cls=SectionedCommand,
    conflicts=(
        Conflict("--test scores the test split of the model's corpus: leave out --test or TEXT", ("test", "texts")),
    ),
)
@click.argument("texts", metavar="[TEXT]...", nargs=-1, shell_complete=complete_files)
@model_option
@unknown_option("skip")
@_scoring(
    "--protocol",
    type=OneOf(PROTOCOLS),
    default="whole",
    show_default=True,
    help="whole: in one pass. lanes: in several batch rows, faster and within about 0.002 nats. windows: from a zero "
    "state every 256 characters.",
)
@section("Text")(
    "--test",
    is_flag=True,
    help="Score the test split of the model's corpus.",
)
@_scoring("--dynamic", is_flag=True, help="Also score a copy that learns as it reads; slower.")
@_scoring(
    "--baselines",
    is_flag=True,
    help="Also score an n-gram model and compressors.",
)
@section("Memory")("--memory-across-documents", "across", is_flag=True, help="Remember earlier documents, too.")
@memory_options
@ngram_options
@threads_option("Scoring")
@json_option
def command(
    texts: tuple[str, ...],
    model_path: str | None,
    unknown: str,
    protocol: str,
    test: bool,
    dynamic: bool,
    baselines: bool,
    across: bool,
    memory: int | None,
    memory_from: str | None,
    with_ngram: bool,
    adaptive: bool,
    threads: int | None,
    as_json: bool,
) -> None:
    """Measure how well a model predicts each character of TEXT after the first.

    TEXT is a file, folder or pattern, or "-" for standard input. Several are read as one text. Without TEXT, the
    validation split of the model's corpus is scored.

    \b
    Examples:
      charrnn eval
      charrnn eval --baselines
      charrnn eval -m checkpoints/corpus chapter.txt
      grep -v '^#' notes.txt | charrnn eval - --json
    """
    from charrnn.cli._bars import ReadingBar
    from charrnn.cli._console import note, open_model, print_facts, print_json, print_table, refuse_models
    from charrnn.data.files import find_files
    from charrnn.data.reading import read_text

    refuse_models(texts)
    model = open_model(model_path, memory, memory_from, with_ngram=with_ngram, adaptive=adaptive)
    config = model.checkpoint.text_config
    own_text = model.test_text if test else model.validation_text
    for sentence in find_files(texts).notes if texts else ():
        note(f"Note: {sentence}")
    with ReadingBar() as reading:
        text = read_text(*texts, config=config, reading=reading) if texts else own_text(reading=reading)
        compared = model.baselines(text, unknown=unknown, reading=reading) if baselines else None
    result = model.evaluate(
        text, unknown=unknown, protocol=protocol, dynamic=dynamic, across_documents=across, threads=threads
    )
    if as_json:
        print_json(result.to_dict() | ({"baselines": compared.to_dict()} if compared else {}))
        return

    treatment = ", left out of the text" if model.checkpoint.vocab.unknown is None else ", scored as the unknown symbol"
    unknown_chars = f"{result.unknown:,}" + (treatment if result.unknown else "")
    scored = {"Characters scored": f"{result.chars:,}"}
    facts = {
        "Unknown characters": unknown_chars,
        "Characters per second": _figure(result.chars_per_second, ",.0f"),
        "Signature": result.signature,
    }
    if result.memory is None:
        print_facts(scored | _figures(result, dynamic=dynamic) | facts)
    else:
        alone, both = (_figures(each, dynamic=dynamic) for each in (result, result.memory))
        print_table(
            ("", "Model alone", "With its memory"), [(name, alone[name], both[name]) for name in alone], right=(1, 2)
        )
        print_facts(scored | facts | {"Memory": _in_words(result.memory.signature)})
    if result.by_position:
        _print_positions(result.by_position)
    if compared is not None:
        _print_baselines(result, compared)


def _figures(result: Evaluation, *, dynamic: bool) -> dict[str, str]:
    """Return the figures of an evaluation."""
    interval = "- (too short)" if result.interval is None else "{:.4f} to {:.4f}".format(*result.interval)
    figures = {
        "Nats per character": _figure(result.nats_per_char, ".4f"),
        "95 % interval": interval,
        "Bits per character": _figure(result.bpc, ".4f"),
        "Perplexity per character": _figure(result.perplexity, ".3f"),
        "Accuracy": _figure(result.accuracy, ".2%"),
    }
    return figures | ({"Dynamic evaluation": _figure(result.dynamic, ".4f") + " nats per character"} if dynamic else {})


def _in_words(signature: str) -> str:
    """Return what the memory's part of a signature means."""
    fields = dict(field.split(":", 1) for field in signature.split("|"))
    size, *how = fields["memory"].split("-")
    parts = [f"the last {int(size):,} characters" + ", also of earlier documents" * ("across" in how)]
    if "ngram" in fields:
        n, *reads = fields["ngram"].split("-")
        parts = (
            parts[: size != "0"] + [f"a {n}-gram model of the training text"] + ["one of the text read"] * bool(reads)
        )
    return ", and ".join(parts) + "; scored out of fold, since it was fitted to this text" * ("fold" in how)


def _print_positions(losses: list[float]) -> None:
    from statistics import fmean

    from charrnn.cli._console import print_table

    ends = [1, *(min(2**power, len(losses)) for power in range(1, (len(losses) - 1).bit_length() + 1))]
    bands = [(low + 1, high) for low, high in zip([0, *ends], ends, strict=False)]
    click.echo("\nLoss by number of characters read since a zero state")
    print_table(
        ("Characters", "Nats per character"),
        [
            (f"{low}" if low == high else f"{low} to {high}", f"{fmean(losses[low - 1 : high]):.4f}")
            for low, high in bands
        ],
        right=(1,),
    )


def _print_baselines(result: Evaluation, compared: Baselines) -> None:
    from charrnn.cli._console import print_table
    from charrnn.evaluation.baselines import COMPRESSORS
    from charrnn.nn.functional import bits

    losses = {
        "this model": result.nats_per_char,
        **({} if result.memory is None else {"with its memory": result.memory.nats_per_char}),
        f"{compared.n}-gram, n chosen on {compared.n_chosen_on}": compared.nats_per_char["ngram"],
        **{name: compared.nats_per_char[name] for name in COMPRESSORS},
    }
    rows = [
        (name, _figure(nats, ".4f"), _figure(None if nats is None else bits(nats), ".4f"))
        for name, nats in losses.items()
    ]
    chars = f"{compared.train_chars:,}"
    if compared.train_chars < compared.train_total:
        chars = f"the last {chars} of {compared.train_total:,}"
    click.echo(f"\nBaselines, trained on {chars} characters")
    print_table(("", "Nats per character", "Bits per character"), rows, right=(1, 2))


def _figure(value: float | None, form: str) -> str:
    return "- (nothing was scored)" if value is None else format(value, form)

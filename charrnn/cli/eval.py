"""`charrnn eval`: how well a model predicts a text."""

from __future__ import annotations

import click

from charrnn.cli._options import json_option, model_option, unknown_option
from charrnn.config import PROTOCOLS


@click.command(short_help="Tell how well a model predicts a text.")
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
@model_option
@unknown_option("skip")
@click.option(
    "--protocol",
    type=click.Choice(PROTOCOLS),
    default="whole",
    show_default=True,
    help="whole: one pass, the state carried. windows: every 256 characters from a zero state. lanes: several places "
    "at once, each after a warm-up; faster than whole, and equal to about 0.002 nats.",
)
@click.option(
    "--dynamic", is_flag=True, help="Read the text once more, with a model that learns as it reads; takes longer."
)
@json_option
def command(
    texts: tuple[str, ...], model_path: str | None, unknown: str, protocol: str, dynamic: bool, as_json: bool
) -> None:
    """Score TEXT: how well the model predicts each of its characters but the first.

    TEXT is a file, or "-" for standard input; several are read as one. Without TEXT, the validation part of the corpus
    that the model was trained on is scored.

    \b
    Examples:
      charrnn eval
      charrnn eval -m checkpoints/corpus chapter.txt
      grep -v '^#' notes.txt | charrnn eval - --json
    """
    from statistics import fmean

    from charrnn.cli._console import ReadingBar, open_model, print_facts, print_json, print_table
    from charrnn.corpus import read_text

    model = open_model(model_path)
    with ReadingBar() as reading:
        text = read_text(*texts, reading=reading) if texts else model.validation_text(reading=reading)
    result = model.evaluate(text, unknown=unknown, protocol=protocol, dynamic=dynamic)
    if as_json:
        print_json(result.to_dict())
        return

    def figure(value: float | None, form: str) -> str:
        return "- (nothing was scored)" if value is None else format(value, form)

    unknown_fate = f"{result.unknown:,}" + (", left out of the text" if result.unknown else "")
    interval = "- (too short)" if result.interval is None else "{:.4f} to {:.4f}".format(*result.interval)
    learning = f"{figure(result.dynamic, '.4f')} nats per character where the model learns as it reads"
    print_facts(
        {
            "Characters scored": f"{result.chars:,}",
            "Nats per character": figure(result.nats_per_char, ".4f"),
            "95 % interval": interval,
            "Bits per character": figure(result.bpc, ".4f"),
            "Perplexity per character": figure(result.perplexity, ".3f"),
            "Predicted right": figure(result.accuracy, ".2%"),
            "Unknown characters": unknown_fate,
            "Characters per second": figure(result.chars_per_second, ",.0f"),
            "Signature": result.signature,
        }
        | ({"Dynamic evaluation": learning} if dynamic else {})
    )
    if length := len(result.by_position):
        bands = [(0, 1), *((2**power, min(2 ** (power + 1), length)) for power in range((length - 1).bit_length()))]
        click.echo()
        print_table(
            ("Characters read", "Nats per character"),
            [
                (
                    f"{low + 1}" if high == low + 1 else f"{low + 1} to {high}",
                    f"{fmean(result.by_position[low:high]):.4f}",
                )
                for low, high in bands
            ],
            right=(1,),
        )

"""`charrnn sample`: let a model write."""

from __future__ import annotations

import sys

import click

from charrnn.cli._options import Number, WholeNumber, model_option, unknown_option
from charrnn.config import STDIN


@click.command(short_help="Let a model write.")
@model_option
@click.option(
    "--temp",
    "--temperature",
    type=Number(0),
    metavar="X",
    default=0.8,
    show_default=True,
    help="0 is the likeliest text.",
)
@click.option(
    "-n",
    "--length",
    type=WholeNumber(0),
    metavar="N",
    default=500,
    show_default=True,
    help="Characters to write, without the prime.",
)
@click.option(
    "--prime", default="", metavar="TEXT", help='What the text begins with; "-" reads it from standard input.'
)
@click.option("--seed", type=WholeNumber(0), metavar="N", help="Seed of the draws; the same seed writes the same text.")
@click.option(
    "--top-k",
    type=WholeNumber(0),
    metavar="N",
    default=0,
    show_default=True,
    help="Draw from the K likeliest characters; 0: from all.",
)
@unknown_option("error")
def command(
    model_path: str | None, temp: float, length: int, prime: str, seed: int | None, top_k: int, unknown: str
) -> None:
    """Write text with a trained model, to standard output, as it is made.

    Without a prime, the first character is one that begins lines in the training text.

    \b
    Examples:
      charrnn sample
      charrnn sample -m checkpoints/names -n 100 --temp 0.7
      charrnn sample --prime "Once upon a time" --seed 7
      head -c 200 story.txt | charrnn sample --prime - -n 1000
    """
    from charrnn.cli._console import open_model
    from charrnn.corpus import read_text

    if prime == STDIN:
        prime = str(read_text(STDIN))
    model = open_model(model_path)
    pieces = model.stream(length, temperature=temp, prime=prime, top_k=top_k, seed=seed, unknown=unknown)
    out = sys.stdout.buffer  # bytes, so that line ends and encoding are the same on every system
    out.write(prime.encode("utf-8", "surrogateescape"))
    out.flush()
    last = prime
    for last in pieces:
        out.write(last.encode("utf-8", "surrogatepass"))
        out.flush()
    if sys.stdout.isatty() and not last.endswith("\n"):
        out.write(b"\n")
        out.flush()

r"""Measure how far back the loss of models feels a character: the table and the picture of docs/neurons.md.

    for cell in rnn lstm gru; do
      charrnn train tinyshakespeare.txt --cell $cell --hidden-size 128 --num-layers 1 --seq-len 100 --minutes 4 \
        --threads 1 --seed 1 --out $cell
    done
    python -m benchmarks.reach rnn lstm gru --svg docs/reach.svg

Each figure is the mean norm of the gradient at random positions of the validation split, divided by that at k = 0.
"""

from __future__ import annotations

from pathlib import Path

import click

import charrnn
from benchmarks.markdown import markdown_table
from charrnn.insight.figures import COLORS, figure, save
from charrnn.insight.reach import Reach, reach

DISTANCES = (1, 2, 5, 10, 20, 50, 100)
SHARES = (0.5, 0.01)
LONGEST, LEAST = max(DISTANCES), 1e-8  # of the picture: characters back, and share


def measure(model: charrnn.LanguageModel, positions: int) -> Reach:
    """Return the reach of a model on the validation split of its corpus."""
    saved = model.checkpoint
    ids = saved.vocab.ids_of(model.validation_text())
    config, end = saved.model_config, saved.vocab.end
    return reach(model.weights, config, ids, longest=LONGEST, positions=positions, end=end)


def row(name: str, loss: float, found: Reach) -> tuple[str, ...]:
    """Return a row of the table."""
    falls = (found.falls_to(share) for share in SHARES)
    shares = (f"{found.relative[k]:.2g}" for k in DISTANCES)
    return name, f"{loss:.3f}", *shares, *(f"> {LONGEST}" if k is None else str(k) for k in falls)


def draw(reaches: dict[str, Reach], path: Path) -> None:
    """Write the picture: a line for each model, on a logarithmic scale."""
    made, axes = figure()
    for (name, found), color in zip(reaches.items(), COLORS, strict=False):
        axes.semilogy(found.relative, color=color, label=name)
    axes.set(xlim=(0, LONGEST), ylim=(LEAST, 2), xlabel="characters back, k")
    axes.set_ylabel("gradient of the loss, divided by that at k = 0")
    axes.legend(frameon=False)
    save(made, path)


@click.command()
@click.argument("runs", nargs=-1, required=True)
@click.option("--positions", default=1000, show_default=True, help="Characters whose loss is looked at.")
@click.option("--svg", type=click.Path(path_type=Path), help="Write the picture to this file.")
def main(runs: tuple[str, ...], positions: int, svg: Path | None) -> None:
    """Print the table for these runs, by their folders."""
    reaches, rows = {}, []
    for run in runs:
        model = charrnn.load(run)
        config = model.checkpoint.model_config
        name = f"{config.cell} {config.num_layers}x{config.hidden_size}"
        reaches[name] = measure(model, positions)
        rows.append(row(name, model.checkpoint.history[-1]["val_loss"], reaches[name]))
    heads = ("", "val loss", *(f"k = {k}" for k in DISTANCES), *(f"below {share:.0%} from k =" for share in SHARES))
    click.echo("\n".join(markdown_table(heads, rows)))
    if svg is not None:
        draw(reaches, svg)


if __name__ == "__main__":
    main()

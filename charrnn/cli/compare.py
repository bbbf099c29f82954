"""`charrnn compare`: compare runs by the settings in which they differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from charrnn.cli._command import Conflict, SectionedCommand, complete_runs, section
from charrnn.cli._options import csv_option, json_option

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def _complete_settings(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Return the names of settings with this beginning."""
    from click.shell_completion import CompletionItem

    from charrnn.training.catalog import fact_names

    names = [name.replace("_", "-") for name in fact_names()]
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@click.command(
    cls=SectionedCommand,
    conflicts=(
        Conflict("--json and --csv cannot be combined: give one", ("as_json", "as_csv")),
        Conflict("--plot draws below the table, so it cannot be combined with --json: give one", ("plot", "as_json")),
        Conflict("--plot draws below the table, so it cannot be combined with --csv: give one", ("plot", "as_csv")),
    ),
)
@click.argument("names", metavar="[RUN]...", nargs=-1, shell_complete=complete_runs)
@section("Runs")(
    "--by",
    metavar="SETTING",
    multiple=True,
    shell_complete=_complete_settings,
    help="Group runs by this setting only, whatever else differs. May be repeated.",
)
@section("Output")("--plot", is_flag=True, help="Also draw the learning curves, one for each row.")
@csv_option
@json_option
def command(names: tuple[str, ...], by: tuple[str, ...], plot: bool, as_csv: bool, as_json: bool) -> None:
    """Compare runs by the settings in which they differ and by their best validation losses.

    RUN is a run's name or folder, a quoted pattern such as 'names-*', or the folder of a sweep. Without RUN, charrnn
    compares all runs under ./checkpoints that trained on the text of the newest one.

    Runs that differ only in the seed share a row: the mean of their losses ± the standard deviation, in nats per
    character. Losses measured on different characters cannot be compared, so they get separate tables.

    \b
    Examples:
      charrnn compare
      charrnn compare first second
      charrnn compare names-sweep --by cell --plot
      charrnn compare 'names-*' --csv > runs.csv
    """
    from charrnn.cli._comparison import print_comparison, print_comparison_csv, print_comparison_json
    from charrnn.cli._console import note
    from charrnn.cli._curves import chart_of, read_curves
    from charrnn.cli._runs import undamaged
    from charrnn.data.files import describe_paths
    from charrnn.training import catalog
    from charrnn.training.compare import compare

    found = catalog.find_runs(names) if names else catalog.runs()
    runs = undamaged(found)
    if not names:
        newest = runs[0]
        runs = [run for run in runs if run.sha256 == newest.sha256]
        text = describe_paths(newest.corpus) if newest.corpus else "a text in memory"
        note(f"Runs on {text}, the text of the newest run: {len(runs)} of {len(found)}")
    comparison = compare(runs, by)
    chart = chart_of(read_curves(comparison)) if plot else ""
    if as_json:
        print_comparison_json(comparison)
    elif as_csv:
        print_comparison_csv(comparison)
    else:
        print_comparison(comparison)
    if plot:
        click.echo(f"\n{chart}")

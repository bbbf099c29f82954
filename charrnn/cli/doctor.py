"""`charrnn doctor`: describe this machine, or ranks of MPI, measure their speed, and advise what would be faster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from charrnn.cli._command import SectionedCommand, section
from charrnn.cli._options import json_option
from charrnn.cli._ranks import follow, join

if TYPE_CHECKING:
    from charrnn.doctor.ranks import Cluster

_CHOICES = {"library": "chosen by the library", "user": "chosen by OPENBLAS_CORETYPE", "charrnn": "chosen by charrnn"}


@click.command(cls=SectionedCommand)
@section("Measurements")(
    "--mpi",
    is_flag=True,
    allow_from_autoenv=False,
    help="Measure the ranks that mpiexec started, and say what more machines gain; takes half a minute.",
)
@json_option
@click.pass_obj
def command(set_kernel: str | None, mpi: bool, as_json: bool) -> None:
    """Describe this machine, measure its speed for about six seconds, and suggest what would make it faster.

    \b
    Examples:
      charrnn doctor
      charrnn doctor --json | jq '.speed.chars_per_second'
      charrnn doctor --json | jq -r '.advice[]'
      mpiexec -n 2 -ppn 1 -hosts HOST1,HOST2 charrnn doctor --mpi
    """
    if mpi:
        _show_ranks(_measured_ranks(), as_json=as_json)
    else:
        _show_machine(set_kernel, as_json=as_json)


def _measured_ranks() -> Cluster:
    """Measure all ranks; those that rank 0 leads measure what it asks for, and exit."""
    ranks = join()
    if ranks is None:
        raise click.UsageError(
            "--mpi measures what mpiexec starts: mpiexec -n 2 -ppn 1 -hosts HOST1,HOST2 charrnn doctor --mpi"
        )
    if ranks.rank:
        follow(ranks)
    from charrnn.doctor.ranks import measure_ranks

    return measure_ranks(ranks)


def _show_ranks(cluster: Cluster, *, as_json: bool) -> None:
    """Print what the ranks are, what they gain, and the answer in words."""
    from charrnn.cli._console import print_facts, print_json, print_table
    from charrnn.doctor.answer import answer, budgets, gains, machines
    from charrnn.doctor.machine import BATCH_SIZE
    from charrnn.doctor.ranks import MODELS
    from charrnn.parallel.cost import gradient_bytes

    link, sentences = cluster.link, answer(cluster)
    by_model = {name: gains(cluster, name) for name in cluster.steps}
    if as_json:
        print_json(
            {
                "ranks": [rank._asdict() for rank in cluster.ranks],
                "threads": cluster.threads,
                **link._asdict(),
                "sums": [{"bytes": size, "seconds": seconds} for size, seconds in cluster.sums.items()],
                "models": {
                    name: {
                        "gradient_bytes": gradient_bytes(MODELS[name]),
                        "steps": [{"rows": rows, "seconds": each} for rows, each in cluster.steps[name].items()],
                        "process": cluster.process.get(name),
                        "gains": [{"ranks": ranks, "gain": gain} for ranks, gain in gained.items()],
                    }
                    for name, gained in by_model.items()
                },
                "budgets": [budget._asdict() for budget in budgets(cluster)],
                "answer": sentences,
            }
        )
        return
    threads = f"{cluster.threads} thread{'s' * (cluster.threads > 1)}"
    print_facts(
        {
            **{
                rank.title: f"{threads}, {rank.gflops:,.1f} GFLOP/s, {rank.chars_per_second:,.0f} characters per second"
                for rank in cluster.ranks
            },
            "Message": f"{1e6 * link.message:,.0f} µs",
            "Sum of gradients": ", ".join(
                f"{_bytes(size)} in {1000 * seconds:.3g} ms" for size, seconds in cluster.sums.items()
            ),
            "Network": f"{1e6 * link.latency:,.0f} µs and {link.bandwidth / 1e6:,.0f} MB/s, fitted to these sums",
        }
    )
    click.echo()
    one = "one process" if cluster.process else "one rank"
    print_table(
        ["Model", "Gradients", f"Step of {one}", *(f"Gain of {ranks}" for ranks in machines(cluster))],
        [
            [
                name,
                _bytes(gradient_bytes(MODELS[name])),
                f"{1000 * (cluster.process.get(name) or cluster.steps[name][BATCH_SIZE][0]):,.1f} ms",
                *(f"{gain:.2f}" for gain in gained.values()),
            ]
            for name, gained in by_model.items()
        ],
        right=range(1, 10),
    )
    click.echo("\nAnswer")
    for line in sentences:
        click.echo(f"- {line}")


def _bytes(size: int) -> str:
    return f"{size / 1e6:.3g} MB" if size >= 1e5 else f"{size / 1e3:.3g} kB"


def _show_machine(set_kernel: str | None, *, as_json: bool) -> None:
    """Print the facts, the measured speed and suggestions."""
    from dataclasses import asdict

    from charrnn.cli._console import print_facts, print_json
    from charrnn.doctor.machine import TRAINING_PRODUCT, advice, measure_machine
    from charrnn.training.budget import gain_in_words

    machine = measure_machine(set_kernel=set_kernel)
    sentences = advice(machine)
    if as_json:
        print_json({**asdict(machine), "advice": sentences})
        return
    blas, speed = machine.blas, machine.speed
    unknown = "unknown"
    edge = speed.large_product
    print_facts(
        {
            "charrnn": machine.charrnn,
            "Python": f"{machine.python} on {machine.platform}",
            "NumPy": f"{machine.numpy}, {'a wheel with' if blas.own else 'not a wheel with'} its own OpenBLAS",
            "BLAS": " ".join(filter(None, (blas.name, blas.version))) or "-",
            "Kernel": f"{blas.kernel}, {_CHOICES[machine.kernel_chosen_by]}" if machine.kernel_chosen_by else unknown,
            "Threads": str(blas.threads or unknown),
            "Compiled core": machine.core or "-",
            "Processor": machine.processor or "-",
            "Features": ", ".join(machine.features) or "-",
            "Cores": f"{machine.cores} of {machine.all_cores}",
            "Load": "-"
            if machine.load is None
            else f"{machine.load:.2f} running programs on average in the last minute",
            "Memory": "-" if machine.memory is None else f"{machine.memory / 2**30:.1f} GiB",
            "Large matrix product": f"{speed.large_gflops:,.1f} GFLOP/s, {edge}x{edge} by {edge}x{edge}, float32",
            "Training's matrix product": "{:,.1f} GFLOP/s, {}x{} by {}x{}, float32".format(
                speed.training_gflops, *TRAINING_PRODUCT[:2], *TRAINING_PRODUCT[1:]
            ),
            "Training": f"{speed.chars_per_second:,.0f} characters per second, default model on random text",
            "Training's threads": gain_in_words(speed.threads, speed.step, speed.gain),
            **{f"Training {name}": f"{rate:,.0f} characters per second" for name, rate in speed.sizes.items()},
            "Default model": f"{machine.parameters:,} parameters, {machine.parameter_bytes / 2**20:.1f} MiB",
            "Environment": ", ".join(f"{k}={v}" for k, v in machine.variables.items() if v is not None) or "-",
            "Packages": ", ".join(f"{name} {version or '-'}" for name, version in machine.packages.items()),
        }
    )
    click.echo("\nSuggestions")
    for line in sentences or ["None: this machine has none of the usual problems."]:
        click.echo(f"- {line}")

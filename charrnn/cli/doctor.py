"""`charrnn doctor`: describe this machine, measure its speed, and advise what would make it faster."""

from __future__ import annotations

import click

from charrnn.cli._command import SectionedCommand
from charrnn.cli._options import json_option

_CHOICES = {"library": "chosen by the library", "user": "chosen by OPENBLAS_CORETYPE", "charrnn": "chosen by charrnn"}


@click.command(cls=SectionedCommand)
@json_option
@click.pass_obj
def command(set_kernel: str | None, as_json: bool) -> None:
    """Describe this machine, measure its speed for about two seconds, and suggest what would make it faster.

    \b
    Examples:
      charrnn doctor
      charrnn doctor --json | jq '.speed.chars_per_second'
      charrnn doctor --json | jq -r '.advice[]'
    """
    from dataclasses import asdict

    from charrnn.cli._console import print_facts, print_json
    from charrnn.doctor import TRAINING_PRODUCT, advice, measure_machine

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
            "Default model": f"{machine.parameters:,} parameters, {machine.parameter_bytes / 2**20:.1f} MiB",
            "Environment": ", ".join(f"{k}={v}" for k, v in machine.variables.items() if v is not None) or "-",
            "Packages": ", ".join(f"{name} {version or '-'}" for name, version in machine.packages.items()),
        }
    )
    click.echo("\nSuggestions")
    for line in sentences or ["None: this machine has none of the usual problems."]:
        click.echo(f"- {line}")

"""What `charrnn inspect` reports about the units of a model: as tables, and as JSON. Imports no NumPy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from charrnn.arrays import Array
    from charrnn.insight.finding import Found
    from charrnn.insight.reach import Reach

_DISTANCES = (0, 1, 2, 3, 5, 7, 10, 20, 30, 50, 70, 100)  # rows of the table of `--reach`
_BAR, _DECADE = 32, 8  # columns of a bar for 1, and fewer for each factor of ten below
_ALWAYS = 0.9  # share of the characters from which on a gate counts as always low, or high


class Reports(NamedTuple):
    """What was asked for; None for the rest."""

    found: list[Found] | None = None
    saturation: dict[str, Array] | None = None
    reach: Reach | None = None

    @property
    def any(self) -> bool:
        """Return whether something was asked for."""
        return any(each is not None for each in self)

    def to_dict(self) -> dict[str, Any]:
        """Return the reports under the names that `inspect --json` prints."""
        data: dict[str, Any] = {}
        if self.found is not None:
            data["found"] = [asdict(each) for each in self.found]
        if self.saturation is not None:
            data["saturation"] = {
                name: dict(zip(("left", "right"), shares.T.tolist(), strict=True))
                for name, shares in self.saturation.items()
            }
        if self.reach is not None:
            pairs = zip(self.reach.norms.tolist(), self.reach.counts.tolist(), strict=True)
            data["reach"] = [{"back": k, "norm": norm, "positions": count} for k, (norm, count) in enumerate(pairs)]
        return data

    def print(self) -> None:
        """Print a table of each, with an empty line between them."""
        from charrnn.cli._console import print_table

        tables = [] if self.found is None else [_found(self.found)]
        tables += [] if self.saturation is None else [_saturation(self.saturation)]
        tables += [] if self.reach is None else [_reach(self.reach)]
        for number, (headings, rows) in enumerate(tables):
            click.echo("\n" * bool(number), nl=False)
            print_table(headings, rows, right=[k for k, heading in enumerate(headings) if heading not in _LEFT])


_Table = tuple[tuple[str, ...], list[tuple[str, ...]]]  # headings and rows
_LEFT = ("Property", "Unit", "When", "Measure", "Gate", "")  # columns of words and bars


def _found(found: Sequence[Found]) -> _Table:
    headings = ("Property", "Unit", "When", "Measure", "Validation", "Test", "Control")
    rows = [
        (
            each.property,
            each.unit,
            "high" if each.sign > 0 else "low",
            each.measure,
            *(f"{value:.3f}" for value in (each.val, each.test, each.control)),
        )
        for each in found
    ]
    return headings, rows


def _saturation(saturation: dict[str, Array]) -> _Table:
    rows = []
    for name, shares in saturation.items():
        means, always = shares.mean(axis=0), (shares >= _ALWAYS).sum(axis=0)
        rows.append(
            (name, *(f"{share:.1%}" for share in means), *(f"{count:,} of {len(shares):,}" for count in always))
        )
    return ("Gate", "Low", "High", "Always low", "Always high"), rows


def _reach(reach: Reach) -> _Table:
    rows = list[tuple[str, ...]]()
    for k in _DISTANCES:
        if k < len(reach.norms) and reach.counts[k]:
            share = float(reach.relative[k])
            rows.append((str(k), f"{reach.norms[k]:.3g}", f"{share:.3g}", _bar(share)))
    return ("Characters back", "Gradient", "Relative", ""), rows


def _bar(share: float) -> str:
    """Return a bar on a logarithmic scale, which has the same length for 1 and for more."""
    return "\u2588" * round(_BAR + _DECADE * math.log10(min(share, 1))) if share > 0 else ""

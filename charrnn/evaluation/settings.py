"""The settings of scoring lines, from which options of `charrnn score` are made. Imports no NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Any, NamedTuple

from charrnn.config import setting
from charrnn.errors import ConfigError

_SELECTED = "Selected lines"
_RANGE = "must be a number, or a percentage from 0% to 100%"


class Quantile(NamedTuple):
    """A limit such as 99%: the bits per character that this percentage of the lines does not exceed."""

    percent: Any  # a Fraction, whose module loads slowly: only a percentage needs it

    @classmethod
    def parse(cls, text: str) -> Quantile:
        """Return the quantile that is written as a number and a percent sign.

        Raises:  ValueError if it is not a number from 0 to 100.
        """
        from fractions import Fraction

        try:
            percent = Fraction(text.removesuffix("%"))
        except (ValueError, ZeroDivisionError):
            raise ValueError(f"{_RANGE}, got {text}") from None
        if not 0 <= percent <= 100:
            raise ValueError(f"{_RANGE}, got {text}")
        return cls(percent)

    def __str__(self) -> str:
        return f"{float(self.percent):g}%"

    def highest(self, ordered: Sequence[float]) -> float:
        """Return the least value that at least this percentage of sorted values does not exceed; -1 for 0%."""
        rank = ceil(len(ordered) * self.percent / 100)
        return ordered[rank - 1] if rank else -1.0

    def lowest(self, ordered: Sequence[float]) -> float:
        """Return the value below which at most this percentage of sorted values is; infinity for 100%."""
        rank = floor(len(ordered) * self.percent / 100)
        return ordered[rank] if rank < len(ordered) else float("inf")


class Limits(NamedTuple):
    """Select lines with more bits per character than `above`, and fewer than `below`; None: no limit."""

    above: float | None
    below: float | None

    def include(self, bpc: float | None) -> bool:
        """Return whether a line with these bits per character is selected; one without any score never is."""
        return bpc is not None and (self.above is None or bpc > self.above) and (self.below is None or bpc < self.below)


class Shard(NamedTuple):
    """A contiguous share of the lines: its number, from 1, and how many there are."""

    number: int
    total: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return the shard that is written as I/N.

        Raises:  ValueError if it is not two whole numbers, the first from 1 to the second.
        """
        number, _, total = text.partition("/")
        if not (number.isdecimal() and total.isdecimal() and 1 <= int(number) <= int(total)):
            raise ValueError(f"must be the number of a shard and how many there are, such as 2/8, got {text}")
        return cls(int(number), int(total))

    def bounds(self, lines: int) -> tuple[int, int]:
        """Return the index of its first line and of the first line after it."""
        return lines * (self.number - 1) // self.total, lines * self.number // self.total


@dataclass(frozen=True)
class ScoreConfig:
    """The settings of scoring lines.

    per_char      compute the bits of each character
    above, below  select lines with more, or fewer, bits per character than this, or than this share of the lines
    top           select this many lines with the most bits per character, those first; None: all
    Raises:       ConfigError if no line can be selected.
    """

    per_char: bool = setting(False, "Output", "Add the bits of each character and of the line's end.")
    above: float | Quantile | None = None
    below: float | Quantile | None = None
    top: int | None = setting(None, _SELECTED, "Print the N most surprising lines: highest bpc first.", low=1)

    def __post_init__(self) -> None:
        above, below = self.above, self.below
        if isinstance(above, Quantile) and isinstance(below, Quantile):
            empty = above.percent >= below.percent
        else:
            empty = isinstance(above, (int, float)) and isinstance(below, (int, float)) and above >= below
        empty |= isinstance(above, Quantile) and above.percent == 100
        empty |= isinstance(below, Quantile) and below.percent == 0
        if empty:
            given = [
                f"--{name} {_shown(each)}" for name, each in (("above", above), ("below", below)) if each is not None
            ]
            raise ConfigError(f"{' and '.join(given)} let no line through: change one")

    @property
    def selects(self) -> bool:
        """Return whether lines are selected."""
        return any(limit is not None for limit in (self.above, self.below, self.top))

    @property
    def has_quantile(self) -> bool:
        """Return whether a limit is known only when all lines are scored."""
        return isinstance(self.above, Quantile) or isinstance(self.below, Quantile)

    def limits(self, ordered: Sequence[float] = ()) -> Limits:
        """Return the limits as numbers; a quantile is one of these sorted bits per character."""
        return Limits(
            self.above.highest(ordered) if isinstance(self.above, Quantile) else self.above,
            self.below.lowest(ordered) if isinstance(self.below, Quantile) else self.below,
        )


def _shown(limit: float | Quantile) -> str:
    return str(limit) if isinstance(limit, Quantile) else f"{limit:g}"

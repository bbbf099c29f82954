"""Texts with gaps, and the settings of filling them. Imports no NumPy."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

from charrnn.config import limit_of, setting
from charrnn.errors import ConfigError, CorpusError

MOST_GAP = 100  # characters of one gap
MOST_FILLS = 100
_ANY = "*"  # after a mark: any number of characters


@dataclass(frozen=True)
class FillConfig:
    """The settings of filling gaps.

    mark     of one unknown character; followed by *, of any number of them
    max_gap  characters of such a gap, at most
    top      fills of each text, at most
    Raises:  ConfigError for a value out of range.
    """

    mark: str = setting("_", "Gaps", "The mark of one unknown character.", metavar="CHAR")
    max_gap: int = setting(10, "Gaps", "Characters of a gap that is a mark and *, at most.", low=1, high=MOST_GAP)
    top: int = setting(
        1, "Output", "Print the K most probable fills of each text.", low=1, high=MOST_FILLS, metavar="K", flag_low=1
    )

    def __post_init__(self) -> None:
        if len(self.mark) != 1 or self.mark in _ANY + "\n\r":
            raise ConfigError(f"--mark must be one character other than {_ANY} and a line end, got {self.mark!r}")
        for item in fields(self):
            if item.name != "mark" and (limit := limit_of(getattr(self, item.name), item.metadata)):
                raise ConfigError(f"--{item.name.replace('_', '-')} must be {limit}, got {getattr(self, item.name)}")


class Gap(NamedTuple):
    """A gap of at least `low` and at most `high` characters."""

    low: int
    high: int


@dataclass(frozen=True)
class Template:
    """A text with n gaps.

    fixed  the n + 1 known texts around them, some of which may be empty
    gaps   between these
    sizes  of the marks in the text
    """

    fixed: tuple[str, ...]
    gaps: tuple[Gap, ...]
    sizes: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str, config: FillConfig) -> Template:
        """Return the template of a text with marks.

        Raises:  CorpusError if a gap has more than `MOST_GAP` characters.
        """
        found = [*re.finditer(rf"{re.escape(config.mark)}+\*?", text)]
        ends = [0, *(gap.end() for gap in found)]
        begins = [*(gap.start() for gap in found), len(text)]
        fixed = tuple(text[end:begin] for end, begin in zip(ends, begins, strict=True))
        return cls(
            fixed, tuple(_gap(marks[0], config.max_gap) for marks in found), tuple(len(marks[0]) for marks in found)
        )

    def groups(self, far: int, most: int) -> list[slice]:
        """Return which gaps to fill together: those with few known characters between them.

        far   known characters between the gaps of one group, at most
        most  characters of a group, at most, unless it is one gap
        """
        found, begin, size = list[slice](), 0, self.gaps[0].high
        for number, (known, gap) in enumerate(zip(self.fixed[1:-1], self.gaps[1:], strict=True), 1):
            size += len(known) + gap.high
            if len(known) > far or size > most:
                found.append(slice(begin, number))
                begin, size = number, gap.high
        return [*found, slice(begin, len(self.gaps))]

    def part(self, group: slice, fills: Sequence[str], context: int) -> Template:
        """Return a group of gaps with the text around it, whose earlier gaps are filled, and later ones left out.

        fills    of the earlier gaps
        context  characters on either side, at least, if there are so many
        """
        before, after = self.fixed[group.start], self.fixed[group.stop]
        for fixed, fill in zip(self.fixed[: group.start][::-1], fills[::-1], strict=True):
            if len(before) >= context:
                break
            before = fixed + fill + before
        for fixed in self.fixed[group.stop + 1 :]:
            if len(after) >= context:
                break
            after += fixed
        return Template((before, *self.fixed[group.start + 1 : group.stop], after), self.gaps[group])

    def filled(self, fills: Sequence[str]) -> str:
        """Return the text with its gaps filled."""
        gaps = zip(fills, self.fixed[1:], strict=True)
        return self.fixed[0] + "".join(fill + after for fill, after in gaps)

    def marked(self, char: str) -> str:
        """Return the text with this character in place of each character of its marks."""
        return self.filled([char * size for size in self.sizes])

    def between(self, fills: Sequence[str]) -> str:
        """Return the filled text from the first gap to the last one."""
        return self.filled(fills)[len(self.fixed[0]) :].removesuffix(self.fixed[-1])


def _gap(marks: str, max_gap: int) -> Gap:
    low = len(marks.removesuffix(_ANY))
    gap = Gap(low - 1, low - 1 + max_gap) if marks.endswith(_ANY) else Gap(low, low)
    if gap.high > MOST_GAP:
        raise CorpusError(
            f"a gap of {gap.high:,} characters is too long to fill: give at most {MOST_GAP} marks in a row"
        )
    return gap

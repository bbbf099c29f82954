"""A checker of tunes in ABC notation, as strict as the tunes of irish_abc.txt allow.

Source:  the ABC music standard 2.1 (header fields, note lengths, tuplets, bar lines, repeats), as far as one voice
         without words needs it. A `!` ends a line of music in these tunes, as in programs of the time.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

_FIELD = re.compile(r"([A-Z]):\s*(.*)")
_HEADER = {
    "X": re.compile(r"\d+"),
    "T": re.compile(r".+"),
    "M": re.compile(r"C\|?|\d+/(?:2|4|8|16)"),
    "L": re.compile(r"1/(?:1|2|4|8|16|32)"),
    "K": re.compile(r"[A-G][#b]?\s*(?:Major|Minor|Ionian|Dorian|Phrygian|Lydian|Mixolydian|Aeolian|Locrian)?"),
}
_METERS = {"C": Fraction(1), "C|": Fraction(1)}
_LENGTH = r"(?P<{0}times>\d*)(?P<{0}halves>/*)(?P<{0}by>(?:[1-9]\d*)?)"
_PITCH = r"(?:\^\^?|__?|=)?[A-Ga-g][,']*"
_TOKEN = re.compile(
    rf'(?P<bar>\|\]|\|\||\[\||:\|:|:\||\|:|::|\|)|(?P<ending>\[?[12](?=[ "A-Ga-gz^_=(\[]))|\((?P<tuplet>[2-9])'
    rf"|(?P<note>(?:{_PITCH}|z){_LENGTH.format('n')})"
    rf"|(?P<chord>\[(?:{_PITCH}\d*)+\]{_LENGTH.format('c')})"
    r'|(?P<other>"[^"]*"|[ ~.><()-])'
)
#: A tuplet of so many notes lasts as long as this many.
_IN_TIME_OF = {2: 3, 3: 2, 4: 3, 5: 2, 6: 2, 7: 2, 8: 3, 9: 2}


class Checked(NamedTuple):
    """The result of checking a tune.

    problem  the first thing that is not ABC, or None
    bars     the number of bars between two plain bar lines
    full     how many of them are as long as the meter demands
    """

    problem: str | None
    bars: int
    full: int


def check(tune: str) -> Checked:
    """Return whether a tune is ABC notation, and how many of its bars are full."""
    header: dict[str, str] = {}
    lines = tune.strip("\n").split("\n")
    while lines and "K" not in header and (field := _FIELD.fullmatch(lines[0])):
        name, value = field.groups()
        if not header and name != "X":
            return Checked("it does not begin with X:", 0, 0)
        if name in _HEADER and not _HEADER[name].fullmatch(value.strip()):
            return Checked(f"{name}: cannot be {value!r}", 0, 0)
        header[name] = value.strip()
        lines.pop(0)
    if absent := [name for name in _HEADER if name not in header]:
        return Checked(f"there is no {absent[0]}:", 0, 0)
    if not lines:
        return Checked("there is no music", 0, 0)
    return _check_music(lines, header["M"], Fraction(header["L"]))


def _check_music(lines: list[str], meter: str, unit: Fraction) -> Checked:
    full, lasted, bars, right = _bar(meter, unit), Fraction(0), 0, 0
    left_plain, in_tuplet, factor = False, 0, Fraction(1)
    for line in lines:
        if field := _FIELD.fullmatch(line):
            name, value = field.groups()
            if name not in "MK" or not _HEADER[name].fullmatch(value.strip()):
                return Checked(f"{line!r} is not music", bars, right)
            full, left_plain = (_bar(value.strip(), unit) if name == "M" else full), False
            continue
        at, end = 0, len(line.removesuffix("!"))
        while at < end:
            token = _TOKEN.match(line, at, end)
            if not token:
                return Checked(f"{line[at : at + 8]!r} is not ABC", bars, right)
            at = token.end()
            if token["tuplet"]:
                if in_tuplet:
                    return Checked("a tuplet begins within another", bars, right)
                in_tuplet = int(token["tuplet"])
                factor = Fraction(_IN_TIME_OF[in_tuplet], in_tuplet)
            elif token["note"] or token["chord"]:
                lasted += factor * _length(token, "n" if token["note"] else "c")
                in_tuplet = max(0, in_tuplet - 1)
                factor = factor if in_tuplet else Fraction(1)
            elif token["bar"]:
                if in_tuplet:
                    return Checked("a tuplet continues over a bar line", bars, right)
                if left_plain and token["bar"] == "|" and lasted:
                    bars, right = bars + 1, right + (lasted == full)
                left_plain, lasted = token["bar"] == "|", Fraction(0)
            elif token["ending"]:
                left_plain = False
    if in_tuplet:
        return Checked("a tuplet has no end", bars, right)
    return Checked(None, bars, right)


def _bar(meter: str, unit: Fraction) -> Fraction:
    """Return how many units a bar lasts."""
    return (_METERS.get(meter) or Fraction(meter)) / unit


def _length(token: re.Match[str], kind: str) -> Fraction:
    """Return how many units a note lasts: 2, /2, 3/2, / or //."""
    times, halves, by = token[f"{kind}times"], token[f"{kind}halves"], token[f"{kind}by"]
    return Fraction(int(times or 1), int(by) if by else 2 ** len(halves))

"""Regular expressions over a vocabulary: read, refused where they are not regular, and made into an automaton.

The package `regex` says which symbols of the vocabulary each single-symbol part of an expression takes: `\\p{Han}` or
`[^a-z]`, say. Of these an automaton is made whose states are sets of positions in the expression.
Source:  Rabin & Scott 1959 (sets of states); Glushkov 1961 (positions).
"""

from __future__ import annotations

import re
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Mask
from charrnn.errors import ConfigError

MOST_STATES = 10_000  # and positions: more are refused, where real patterns have dozens
_MOST_WORK = 5_000_000  # kinds of symbols and positions looked at to find the states: a few seconds
_TOO_LARGE = (
    f"--regex needs more than {MOST_STATES:,} states, or too long to find them: make its repeats shorter, or let its "
    "alternatives begin differently"
)
NEVER = 2**30  # symbols needed where no match can follow

#: A part of an expression: the set of positions that may follow it -> the set of positions that it may begin with.
_Part: TypeAlias = Callable[[int], int]
Numbers: TypeAlias = npt.NDArray[np.intp]

_FLAGS = re.compile(r"\(\?[is]+\)")
_GROUP = re.compile(r"\((?!\?)|\(\?:|\(\?P?<\w+>")
_CLASS = re.compile(r"\[\^?\]?(?:\[:[^\]:\[]*:\]|\\.|[^\]\\])*\]", re.DOTALL)
_ESCAPE = re.compile(
    r"\\(?:[pPN]\{[^}]*\}|[pP]\w|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[dDwWsSnrtfva]|[\W_])"
)
_REPEAT = re.compile(r"(?:[*+?]|\{(?=\d|,\d)(\d*)(,?)(\d*)\})(\??)(\+?)")
_PLAIN = re.compile(r"[^\\()\[|*+?{^$]", re.DOTALL)
_BAR, _CLOSE = re.compile(r"\|"), re.compile(r"\)")
#: What is refused, by what it begins with.
_REFUSED = {
    r"\(\?<?[=!]": "look-around",
    r"\\[1-9gk]|\(\?P[=>&]|\(\?[&R\d+-]": "a reference to a group",
    r"\(\?>": "a group that never gives back",
    r"\^|\$|\\[bBAzZGmM]": "an anchor or a boundary",
    r"\(\?[a-zA-Z]": "a flag that is neither i nor s, or not at the beginning",
    r"[*+?{]": r"a repeat of nothing (a sign is written \{)",
    r"\[": "a [ without its ]",
}


class Automaton(NamedTuple):
    """A deterministic automaton over a vocabulary; state 0 is the first, the last is the one without a way on.

    kinds  (V,) the kind of each symbol: those of a kind are alike to the automaton
    table  (Q, K) the state after a symbol of each kind
    needs  (Q,) how many symbols a match still takes at least; NEVER where there is no way to one
    """

    kinds: Numbers
    table: Numbers
    needs: Numbers


def automaton(symbols: str, size: int, regex: str | None, charset: str | None) -> Automaton:
    """Return the automaton of texts that match the regex in full and have no other characters than the charset.

    The arguments are those of `Constraint.of`.
    Raises:  ConfigError where either is wrong, not regular or too large, or no text is left to write.
    """
    positions = _Positions(symbols, charset)
    if not positions.usable.any():
        raise ConfigError(f"--charset {charset!r}: none of these characters is in the model's vocabulary")
    try:
        part = _Parser("(?s).*" if regex is None else regex, positions).parse()
        found = positions.automaton(part, size)
    except RecursionError:
        raise ConfigError("--regex is nested too deeply: make it simpler") from None
    if found.needs[0] == NEVER:
        raise ConfigError(f"--regex {regex!r}: no text of characters that may be written matches")
    return found


def _compiled(source: str, named: str) -> Any:
    """Return what the package `regex` makes of an expression.

    Raises:  ConfigError where it is none, or the package is not installed.
    """
    try:
        import regex
    except ModuleNotFoundError:
        raise ConfigError("--regex and --charset need the package regex: install charrnn-numpy[regex]") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what later versions of the package may read otherwise
            return regex.compile(source)
    except (regex.error, OverflowError, RecursionError, MemoryError) as error:
        reason = getattr(error, "msg", str(error))  # not its position, which counts what was put around
        raise ConfigError(f"{named}: {reason or 'too deeply nested'}") from None


class _Positions:
    """The positions of an expression, each with what it takes and which may follow; a set of them is an int of bits.

    Position 0 is the end of a match. One that takes nothing stands for those that follow it.
    """

    def __init__(self, symbols: str, charset: str | None) -> None:
        self.symbols = symbols
        self.flags = ""
        self.usable: Mask = np.ones(len(symbols), bool)
        if charset is not None:
            named = f"--charset {charset!r}"
            if charset in ("", "^"):
                raise ConfigError(f"{named} names no character: give some, like 'a-z .'")
            _compiled(f"[{charset}]", named)
            if not _CLASS.fullmatch(f"[{charset}]"):
                raise ConfigError(rf"{named}: a ] in it is written \]")
            self.usable = self._taken_by(f"[{charset}]")
        self.takes: list[str | None] = [None]
        self.follows = [0]
        self._silent = 0  # those that take nothing, but for the end
        self._looked_at = 0

    def _taken_by(self, source: str) -> Mask:
        """Return which symbols an expression of one symbol takes."""
        mask: Mask = np.zeros(len(self.symbols), bool)
        found = _compiled(self.flags + source, f"--regex has {source}").finditer(self.symbols)
        mask[[match.start() for match in found]] = True
        return mask

    def add(self, takes: str | None, follows: int) -> int:
        """Return the set of one more position.

        takes: the expression of one symbol; None: nothing
        Raises:  ConfigError where there are too many.
        """
        if len(self.takes) > MOST_STATES:
            raise ConfigError(f"--regex has more than {MOST_STATES:,} positions: make its repeats shorter")
        place = 1 << len(self.takes)
        self.takes.append(takes)
        self.follows.append(follows)
        self._silent |= place if takes is None else 0
        return place

    def automaton(self, part: _Part, size: int) -> Automaton:
        """Return the automaton for an expression."""
        begin = part(1)
        sources = sorted(set(filter(None, self.takes)))
        taken = np.array([self.usable, *(self.usable & self._taken_by(source) for source in sources)])
        alike, of_symbols = np.unique(taken, axis=1, return_inverse=True)
        kinds = np.full(size, alike.shape[1])  # ids that stand for no text are of one more kind
        kinds[: len(self.symbols)] = of_symbols.reshape(-1)
        row_of = {source: row for row, source in enumerate(sources, 1)}
        rows_of = [row_of[takes] if takes is not None else -1 for takes in self.takes]
        by_place = np.vstack((alike, np.zeros(alike.shape[1], bool)))[rows_of]
        taking = [int.from_bytes(np.packbits(places, bitorder="little").tobytes(), "little") for places in by_place.T]
        states, rows = self._states(begin, taking)
        table = np.full((len(states) + 1, len(taking) + 1), len(states))
        table[:-1, :-1] = rows
        needs = _distances(rows, [state & 1 == 1 for state in states])
        return Automaton(kinds, table % (len(states) + 1), needs)  # -1 becomes the last state

    def _states(self, begin: int, taking: list[int]) -> tuple[list[int], list[list[int]]]:
        """Return the states that can be reached, and the state after each kind of symbol; -1 where there is none.

        taking: for each kind the set of positions that take it
        Raises:  ConfigError where there are too many states, or it takes too long to find them.
        """
        followers = cache(lambda place: self._closure(self.follows[place]))
        found, rows = {self._closure(begin): 0}, list[list[int]]()
        for state in (states := [*found]):  # which grows
            rows.append([])
            for takes in taking:
                after = 0
                for place in self._places(state & takes):
                    after |= followers(place)
                if after and after not in found:
                    found[after] = len(states)
                    states.append(after)
                rows[-1].append(found.get(after, -1))
            if len(states) > MOST_STATES:
                raise ConfigError(_TOO_LARGE)
        return states, rows

    def _closure(self, places: int) -> int:
        """Return the set with those that take nothing replaced by those that follow them."""
        seen, closed = 0, 0
        while places:
            seen |= places
            closed |= places & ~self._silent
            more = 0
            for place in self._places(places & self._silent):
                more |= self.follows[place]
            places = more & ~seen
        return closed

    def _places(self, number: int) -> Iterator[int]:
        """Return the places of a set, from the lowest.

        Raises:  ConfigError where more were looked at than a few seconds allow.
        """
        self._looked_at += 1 + number.bit_count()
        if self._looked_at > _MOST_WORK:
            raise ConfigError(_TOO_LARGE)
        return _ones(number)


def _ones(number: int) -> Iterator[int]:
    """Yield the places of the ones, from the lowest."""
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest


def _distances(rows: list[list[int]], matches: list[bool]) -> Numbers:
    """Return how many symbols each state needs to a match, and NEVER for the state without a way on, the last."""
    before: list[set[int]] = [set() for _ in rows]
    for state, row in enumerate(rows):
        for after in row:
            if after >= 0:
                before[after].add(state)
    needs = np.full(len(rows) + 1, NEVER)
    waiting = deque(np.flatnonzero(matches).tolist())
    needs[list(waiting)] = 0
    while waiting:
        state = waiting.popleft()
        for earlier in before[state]:
            if needs[earlier] == NEVER:
                needs[earlier] = needs[state] + 1
                waiting.append(earlier)
    return needs


def _times(digits: str) -> int:
    """Return the number, or one that is refused as well of all but nothing: Python reads no number of 5,000 digits."""
    return int(min(float(digits), MOST_STATES + 1))


class _Parser:
    """Reads an expression from left to right, as parts that add their positions when they are told what follows."""

    def __init__(self, pattern: str, positions: _Positions) -> None:
        self.pattern, self.positions, self.at = pattern, positions, 0

    def parse(self) -> _Part:
        """Return the whole expression.

        Raises:  ConfigError, naming what is wrong or not regular, and where.
        """
        if flags := self._take(_FLAGS):
            self.positions.flags = flags[0]
        if self.pattern.startswith("^", self.at):  # a match is one of the whole text anyway
            self.at += 1
        part = self._alternatives()
        if self.at < len(self.pattern):
            self._refuse("a ) without its (")
        return part

    def _take(self, what: re.Pattern[str]) -> re.Match[str] | None:
        """Go past this if it stands here."""
        if match := what.match(self.pattern, self.at):
            self.at = match.end()
        return match

    def _refuse(self, what: str) -> NoReturn:
        raise ConfigError(
            f"--regex {self.pattern!r} has {what} at position {self.at}: "
            "write it with groups, alternatives, classes and repeats alone"
        )

    def _alternatives(self) -> _Part:
        parts = [self._sequence()]
        while self._take(_BAR):
            parts.append(self._sequence())

        def alternatives(then: int) -> int:
            begin = 0
            for part in parts:
                begin |= part(then)
            return begin

        return alternatives

    def _sequence(self) -> _Part:
        parts: list[_Part] = []
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)":
            if self.at == len(self.pattern) - 1 and self.pattern[self.at] == "$":
                self.at += 1
            else:
                parts.append(self._repeated(self._single()))

        def sequence(then: int) -> int:
            for part in reversed(parts):
                then = part(then)
            return then

        return sequence

    def _single(self) -> _Part:
        """Return a group, or an expression of one symbol."""
        if self._take(_GROUP):
            part = self._alternatives()
            if not self._take(_CLOSE):
                self._refuse("a ( without its )")
            return part
        if taken := self._take(_CLASS) or self._take(_ESCAPE) or self._take(_PLAIN):
            return lambda then: self.positions.add(taken[0], then)
        self._refuse(
            next(
                (what for begin, what in _REFUSED.items() if re.match(begin, self.pattern[self.at :])),
                "an unknown part",
            )
        )

    def _repeated(self, part: _Part) -> _Part:
        """Return the part as often as what follows it says."""
        sign = self.pattern[self.at : self.at + 1]
        if not (repeat := self._take(_REPEAT)):
            return part
        low, comma, high, _, possessive = repeat.groups()
        if possessive:
            self.at = repeat.end() - 1
            self._refuse("a repeat that never gives back")
        least = _times(low or "0") if sign == "{" else int(sign == "+")
        most = {"*": None, "+": None, "?": 1}.get(sign, (_times(high) if high else None) if comma else least)
        if most is not None and not least <= most:
            self._refuse("a repeat that ends before it begins")

        def repeated(then: int) -> int:
            if most is None:
                loop = self.positions.add(None, then)
                self.positions.follows[loop.bit_length() - 1] |= part(loop)
                then = loop
            begin = then
            for at in range(
                max(least, most or 0)
            ):  # from the last; one that may be left out comes after all that may not
                before = part(begin) | (then if most is not None and at < most - least else 0)
                if before == begin:  # the part takes nothing
                    break
                begin = before
            return begin

        return repeated

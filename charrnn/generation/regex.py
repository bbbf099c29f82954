"""Regular expressions over a vocabulary: parse one, refuse it if it is not regular, and build its automaton.

The package `regex` decides which symbols of the vocabulary each single-symbol part of an expression matches, such as
`\\p{Han}` or `[^a-z]`. For a model that knows a normal form or lower case only, the expression is normalized too, and
matches either case. The states of the automaton are sets of positions in the expression.
Source:  Rabin & Scott 1959 (sets of states); Glushkov 1961 (positions).
"""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from typing import Any, NamedTuple, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Mask
from charrnn.errors import ConfigError
from charrnn.generation.rules import NEVER

MOST_STATES = 10_000  # limits the positions too; real patterns have dozens
_MOST_WORK = 5_000_000  # kinds of symbols and positions visited to find the states: a few seconds
_TOO_LARGE = (
    f"--regex needs more than {MOST_STATES:,} states, or too long to find them: make its repeats shorter, or let its "
    "alternatives begin differently"
)

#: A fragment of an expression, as a function: the positions that may follow it -> the positions it may start with.
_Fragment: TypeAlias = Callable[[int], int]
Numbers: TypeAlias = npt.NDArray[np.intp]

_FLAGS = re.compile(r"\(\?[is]+\)")
_GROUP = re.compile(r"\((?!\?)|\(\?:|\(\?P?<\w+>")
_CLASS = re.compile(r"\[\^?\]?(?:\[:[^\]:\[]*:\]|\\.|[^\]\\])*\]", re.DOTALL)
_ESCAPE = re.compile(
    r"\\(?:[pPN]\{[^}]*\}|[pP]\w|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[dDwWsSnrtfva]|[\W_])"
)
_REPEAT = re.compile(r"(?:[*+?]|\{(?=\d|,\d)(\d*)(,?)(\d*)\})(\??)(\+?)")
_PLAIN = re.compile(r"[^\\()\[|*+?{^$]", re.DOTALL)
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")
_BAR, _CLOSE = re.compile(r"\|"), re.compile(r"\)")
#: Syntax that is refused, by the expression that recognises it.
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
    """A deterministic automaton over a vocabulary. It starts in state 0; the last state is the dead end.

    kinds  (V,) the kind of each symbol; the automaton treats symbols of a kind alike
    table  (Q, K) the state after a symbol of each kind
    needs  (Q,) how many more symbols the shortest match needs; NEVER if there is none
    """

    kinds: Numbers
    table: Numbers
    needs: Numbers


@lru_cache(8)
def automaton(
    symbols: str, size: int, regex: str | None, charset: str | None, normalize: str = "none", lowercase: bool = False
) -> Automaton:
    """Return the automaton of the texts that match the regex in full and have only characters of the charset.

    The arguments are those of `Constraint.of`.
    Raises:  ConfigError if either is wrong, not regular or too large, or no text satisfies them.
    """
    regex = None if regex is None else _in_form(regex, normalize)
    charset = None if charset is None else _in_form(f"[{charset}]", normalize)[1:-1]
    positions = _Positions(symbols, charset, "(?i)" if lowercase else "")
    if not positions.usable.any():
        raise ConfigError(f"--charset {charset!r}: none of these characters is in the model's vocabulary: give others")
    try:
        whole = _Parser("(?s).*" if regex is None else regex, positions).parse()
        built = positions.automaton(whole, size)
    except RecursionError:
        raise ConfigError("--regex is nested too deeply: make it simpler") from None
    if built.needs[0] == NEVER:
        raise ConfigError(
            f"--regex {regex!r} matches no text of characters that the model and --charset have: give another"
        )
    return built


def _in_form(source: str, form: str) -> str:
    """Return an expression with its literal characters in a normal form of Unicode.

    Its syntax is ASCII and stays; a character that becomes ASCII, such as a full-width plus, stays a literal one.
    """
    if form == "none":
        return source
    source = unicodedata.normalize("NFC", source)
    if form == "NFC":
        return source

    def literal(match: re.Match[str]) -> str:
        return re.escape(unicodedata.normalize(form, match[0]))  # type: ignore[arg-type,unused-ignore]

    source = _CLASS.sub(lambda match: _BEYOND_ASCII.sub(literal, match[0]), source)
    return _BEYOND_ASCII.sub(lambda match: f"(?:{literal(match)})", source)


def _compiled(source: str, named: str) -> Any:
    """Compile an expression with the package `regex`.

    named    its name in the error
    Raises:  ConfigError if it is invalid, or the package is not installed.
    """
    try:
        import regex
    except ModuleNotFoundError:
        raise ConfigError("--regex and --charset need the package regex: install charrnn-numpy[regex]") from None
    try:
        return regex.compile(source)
    except (regex.error, OverflowError, RecursionError, MemoryError) as error:
        reason = getattr(error, "msg", str(error))  # without its position, which counts what we added
        raise ConfigError(f"{named}: {reason or 'too deeply nested'}") from None


class _Positions:
    """The positions of an expression: what each matches and which follow it. A set of positions is an int, bit by bit.

    Position 0 is the end of a match. A silent position matches no symbol and represents its followers.
    """

    def __init__(self, symbols: str, charset: str | None, flags: str) -> None:
        self.symbols = symbols
        self.flags = flags
        self.usable: Mask = np.ones(len(symbols), bool)
        if charset is not None:
            named = f"--charset {charset!r}"
            if charset in ("", "^"):
                raise ConfigError(f"{named} names no character: give some, like 'a-z .'")
            _compiled(f"[{charset}]", named)
            if not _CLASS.fullmatch(f"[{charset}]"):
                raise ConfigError(rf"{named}: a ] in it is written \]")
            self.usable = self._matched_by(f"[{charset}]")
        self.matches: list[str | None] = [None]
        self.follows = [0]
        self._silent = 0  # the set of silent positions
        self._visited = 0

    def _matched_by(self, source: str) -> Mask:
        """Return which symbols an expression of one symbol matches."""
        mask: Mask = np.zeros(len(self.symbols), bool)
        matches = _compiled(self.flags + source, f"--regex has {source}").finditer(self.symbols)
        mask[[match.start() for match in matches]] = True
        return mask

    def add(self, matches: str | None, follows: int) -> int:
        """Add a position, and return the set with only that position.

        matches  an expression of one symbol; None: the position is silent
        Raises:  ConfigError if there are too many.
        """
        if len(self.matches) > MOST_STATES:
            raise ConfigError(f"--regex has more than {MOST_STATES:,} positions: make its repeats shorter")
        position = 1 << len(self.matches)
        self.matches.append(matches)
        self.follows.append(follows)
        self._silent |= position if matches is None else 0
        return position

    def automaton(self, whole: _Fragment, size: int) -> Automaton:
        """Return the automaton for an expression."""
        start = whole(1)
        sources = sorted(set(filter(None, self.matches)))
        matched = np.array([self.usable, *(self.usable & self._matched_by(source) for source in sources)])
        columns, column_of = np.unique(matched, axis=1, return_inverse=True)
        kinds = np.full(size, columns.shape[1])  # ids without a symbol, such as the end mark, are one more kind
        kinds[: len(self.symbols)] = column_of.reshape(-1)
        row_of = {source: row for row, source in enumerate(sources, 1)}
        rows_of = [row_of[source] if source is not None else -1 for source in self.matches]
        by_position = np.vstack((columns, np.zeros(columns.shape[1], bool)))[rows_of]
        matching = [int.from_bytes(np.packbits(bits, bitorder="little").tobytes(), "little") for bits in by_position.T]
        states, rows = self._states(start, matching)
        table = np.full((len(states) + 1, len(matching) + 1), len(states))
        table[:-1, :-1] = rows
        needs = _distances(rows, [state & 1 == 1 for state in states])
        return Automaton(kinds, table % (len(states) + 1), needs)  # -1 becomes the dead end

    def _states(self, start: int, matching: list[int]) -> tuple[list[int], list[list[int]]]:
        """Return the reachable states, and the state after each kind of symbol; -1 for the dead end.

        matching  for each kind, the set of positions that match it
        Raises:   ConfigError if there are too many states, or it takes too long to find them.
        """
        followers = cache(lambda position: self._closure(self.follows[position]))
        numbers, rows = {self._closure(start): 0}, list[list[int]]()
        for state in (states := [*numbers]):  # the list grows meanwhile
            rows.append([])
            for positions in matching:
                after = 0
                for position in self._positions(state & positions):
                    after |= followers(position)
                if after and after not in numbers:
                    numbers[after] = len(states)
                    states.append(after)
                rows[-1].append(numbers.get(after, -1))
            if len(states) > MOST_STATES:
                raise ConfigError(_TOO_LARGE)
        return states, rows

    def _closure(self, positions: int) -> int:
        """Return the set with its silent positions replaced by their followers."""
        seen, closed = 0, 0
        while positions:
            seen |= positions
            closed |= positions & ~self._silent
            more = 0
            for position in self._positions(positions & self._silent):
                more |= self.follows[position]
            positions = more & ~seen
        return closed

    def _positions(self, bits: int) -> Iterator[int]:
        """Return an iterator of the positions in a set, in ascending order.

        Raises:  ConfigError if more were visited than a few seconds allow.
        """
        self._visited += 1 + bits.bit_count()
        if self._visited > _MOST_WORK:
            raise ConfigError(_TOO_LARGE)
        return _ones(bits)


def _ones(bits: int) -> Iterator[int]:
    """Yield the indices of the bits that are 1, in ascending order."""
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest


def _distances(rows: list[list[int]], matches: list[bool]) -> Numbers:
    """Return how many symbols each state needs to a match; NEVER for the dead end, which is added as the last."""
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
    """Parse a number, capped just above the limit, since Python refuses integers of thousands of digits."""
    return int(min(float(digits), MOST_STATES + 1))


class _Parser:
    """Parses an expression from left to right into fragments, which add their positions when they are called."""

    def __init__(self, pattern: str, positions: _Positions) -> None:
        self.pattern, self.positions, self.at = pattern, positions, 0

    def parse(self) -> _Fragment:
        """Parse the whole expression.

        Raises:  ConfigError that names the wrong syntax, or the syntax that is not regular, and its position.
        """
        if flags := self._take(_FLAGS):
            self.positions.flags += flags[0]
        if self.pattern.startswith("^", self.at):  # the whole text has to match anyway
            self.at += 1
        whole = self._alternatives()
        if self.at < len(self.pattern):
            self._refuse("a ) without its (")
        return whole

    def _take(self, syntax: re.Pattern[str]) -> re.Match[str] | None:
        """Match this syntax at the current position, and move behind it."""
        if match := syntax.match(self.pattern, self.at):
            self.at = match.end()
        return match

    def _refuse(self, problem: str) -> NoReturn:
        raise ConfigError(
            f"--regex {self.pattern!r} has {problem} at position {self.at}: "
            "use only groups, alternatives, classes and repeats"
        )

    def _alternatives(self) -> _Fragment:
        parts = [self._sequence()]
        while self._take(_BAR):
            parts.append(self._sequence())

        def alternatives(then: int) -> int:
            start = 0
            for part in parts:
                start |= part(then)
            return start

        return alternatives

    def _sequence(self) -> _Fragment:
        parts: list[_Fragment] = []
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

    def _single(self) -> _Fragment:
        """Parse a group, or an expression of one symbol."""
        if self._take(_GROUP):
            group = self._alternatives()
            if not self._take(_CLOSE):
                self._refuse("a ( without its )")
            return group
        if symbol := self._take(_CLASS) or self._take(_ESCAPE) or self._take(_PLAIN):
            return lambda then: self.positions.add(symbol[0], then)
        self._refuse(
            next(
                (name for syntax, name in _REFUSED.items() if re.match(syntax, self.pattern[self.at :])),
                "an unknown part",
            )
        )

    def _repeated(self, part: _Fragment) -> _Fragment:
        """Parse the repeat sign after a fragment, if there is one, and apply it."""
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
            start = then
            for at in range(max(least, most or 0)):  # from the last; optional copies come after required ones
                before = part(start) | (then if most is not None and at < most - least else 0)
                if before == start:  # the part matches nothing
                    break
                start = before
            return start

        return repeated

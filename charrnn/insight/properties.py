"""What a unit may follow in a text: whether each character is in quotes, in a comment, a digit; its place in the line.

A unit's activation after character t was read can know the text up to t, and t itself. So a span begins with the
character that opens it, and ends before the one that closes it: `"` opens a quote and is in it, the next `"` is not.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from charrnn.data.text import code_points
from charrnn.errors import ConfigError
from charrnn.wording import choice_hint

#: For each character of a text, True or False, or a number.
Labels: TypeAlias = npt.NDArray[np.bool_] | npt.NDArray[np.float64]

_END = r"\n(?=[ \t\r]*(?:\n|\Z))"  # of a paragraph: what is open there is never closed
_PAIRS = "|".join(rf"{a}(?:(?!{_END})[^{b}])*+(?:{b}|{_END})" for a, b in ("“”", "„“", "«»", "「」"))
#: Quotes and comments. What begins first wins: no quote begins in a comment, no comment in quotes. An apostrophe before
#: a letter closes no quote, and one after a letter opens none.
_SCANNER = re.compile(
    rf"""
    (?P<quotes> "{{3}}(?:\\.|[^\\])*?(?:"{{3}}|\Z) | '{{3}}(?:\\.|[^\\])*?(?:'{{3}}|\Z)  # long strings in Python
      | "(?:\\[^\n]|(?!{_END})[^"\\])*+(?:"|{_END})
      | (?:(?<!\w)|(?<=\b[bfruBFRU])|(?<=\b[bfrBFR]{{2}}))'(?:\\[^\n]|[^'\\\n]|'(?=\w)){{0,300}}+'
      | `{{1,2}}[^`'\n]+`{{1,2}}                                               # code in Markdown
      | `{{1,2}}(?:(?!{_END})[^'`]|'(?=\w))*+(?:'{{1,2}}|{_END})               # quotes in old plain text, and in TeX
      | ‘(?:(?!{_END})[^’]|’(?=\w))*+(?:’|{_END})
      | {_PAIRS})
  | (?P<comment> (?<!\S)\#(?:[ \t!\#][^\n]*)?\n | (?:^|(?<=[;{{}},])[ \t])[ \t]*//[^\n]*\n
      | (?<![\w./*])/\*.*?(?:\*/|\Z) | <!--.*?(?:-->|\Z))
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
_LONG, _OPENING = re.compile(r"\"{3}|'{3}"), ":=([{,+"  # what a long string begins with, and what is before it
_BRACKETS = re.compile(rf"[(（]|[)）]|{_END}")
_URL = re.compile(r"(?:https?|ftp)://[^\s<>\"'`]*[^\s<>\"'`.,;:!?)\]]")
_WORD_END = re.compile(r"\w(?!\w)")


@dataclass(frozen=True)
class Property:
    """A property that each character of a text has or has not, or a number that each character has.

    Call it with a text of T characters to get its labels (T,): bool if the measure is "AUC", float64 if it is
    "correlation".

    name   as on the command line, or the regular expression
    what   which characters have it, or what the number counts
    """

    name: str
    what: str
    label: Callable[[str], Labels]
    measure: str = "AUC"

    def __call__(self, text: str) -> Labels:
        """Return the labels of a text (T,).

        Raises:  ConfigError if this is a regular expression that matches no character of the text.
        """
        return self.label(text)


def property_of(name: str) -> Property:
    """Return the property of this name, or that of the characters inside a match of a regular expression.

    The expression is one of Python's `re`, in which ^ and $ match at every line.
    Raises:  ConfigError if it is not valid.
    """
    if name in PROPERTIES:
        return PROPERTIES[name]
    try:
        matches = _matches(re.compile(name, re.MULTILINE))
    except re.error as error:
        hint = choice_hint(name, list(PROPERTIES))
        raise ConfigError(
            f"'{name}' is neither a property nor a regular expression ({error}){hint}: "
            f"give one of {', '.join(PROPERTIES)}, or a valid expression"
        ) from None

    def label(text: str) -> Labels:
        labels = matches(text)
        if not labels.any():
            raise ConfigError(
                f"the pattern '{name}' matches no character of the text{choice_hint(name, list(PROPERTIES))}"
            )
        return labels

    return Property(name, "inside a match of this regular expression", label)


def _inside(text: str, spans: Iterable[tuple[int, int]]) -> npt.NDArray[np.bool_]:
    """Return which characters are in one of the spans, given as (start, end)."""
    labels = np.zeros(len(text), bool)
    for start, end in spans:
        labels[start:end] = True
    return labels


def _scanned(kind: str) -> Callable[[str], Labels]:
    """Return the labels of the quotes or of the comments of a text, as a function of the text."""

    def spans(text: str) -> Iterator[tuple[int, int]]:
        start = _end_of_string(text)
        if start and kind == "quotes":
            yield 0, start - 1
        for found in _SCANNER.finditer(text + "\n", start):  # a last line without its end has one
            if found.lastgroup == kind:
                yield found.end() - len(found[0].lstrip()), found.end() - 1

    return lambda text: _inside(text, spans(text))


def _end_of_string(text: str) -> int:
    """Return where a long string of Python ends in which the text begins, as part of a program may; 0 if in none.

    If it began in one, its quotes would be taken for their opposites: strings would open behind prose, not code.
    """
    first = _LONG.search(text)
    return first.end() if first and _in_code(text, first.end()) > _in_code(text, 0) else 0


def _in_code(text: str, start: int) -> int:
    """Return how many long strings open behind code, less those that open behind a full stop."""
    opened = [found.start() for found in _SCANNER.finditer(text, start) if _LONG.match(found[0])]
    before = [text[max(0, at - 200) : at].rstrip()[-1:] for at in opened]
    return sum(char in _OPENING for char in before if char) - before.count(".")


def _parentheses(text: str) -> Labels:
    """Return which characters are in parentheses; those of an inner pair do not end the outer one."""

    def spans() -> Iterator[tuple[int, int]]:
        depth = start = 0
        for found in _BRACKETS.finditer(text + "\n"):
            if found[0] in "(（":
                start = start if depth else found.start()
                depth += 1
            elif depth:
                depth = depth - 1 if found[0] in ")）" else 0
                if not depth:
                    yield start, found.start()

    return _inside(text, spans())


def _matches(pattern: re.Pattern[str]) -> Callable[[str], Labels]:
    return lambda text: _inside(text, (found.span() for found in pattern.finditer(text)))


def _each(has: Callable[[str], bool]) -> Callable[[str], Labels]:
    """Return the labels that depend on the character alone, as a function of the text."""

    def label(text: str) -> Labels:
        points, at = np.unique(code_points(text), return_inverse=True)
        labels: Labels = np.array([has(chr(point)) for point in points], bool)[at]
        return labels

    return label


def _is_vowel(char: str) -> bool:
    return unicodedata.normalize("NFD", char)[0] in "aeiouAEIOU"


def _last(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """Return the newest index at which the mask was True, at each index; -1 before the first."""
    return np.maximum.accumulate(np.where(mask, np.arange(len(mask)), -1))


def _line_position(text: str) -> Labels:
    """Return how many characters of its line were read at each character: 0 at a line break, 1 after it."""
    return (np.arange(len(text)) - _last(code_points(text) == ord("\n"))).astype(float)


def _indentation(text: str) -> Labels:
    """Return how many blanks its line begins with at each character, as far as it was read; a tab counts as 8."""
    points = code_points(text)
    widths = np.where(points == ord("\t"), 8, points == ord(" "))
    start = _last(points == ord("\n"))
    leading = _last(widths == 0) <= start
    counted = np.append(0, np.cumsum(widths * leading, dtype=float))
    blanks: Labels = counted[1:] - counted[start + 1]
    return blanks


#: The properties that have a name, by name.
PROPERTIES = {
    found.name: found
    for found in (
        Property("quotes", "in quotes of any kind, or in a string of Python", _scanned("quotes")),
        Property("parentheses", "in round parentheses", _parentheses),
        Property("comment", "in a comment: # to the end of the line, //, /* */ or <!-- -->", _scanned("comment")),
        Property("indentation", "blanks at the beginning of the line, as far as read", _indentation, "correlation"),
        Property("line-position", "characters read since the line break", _line_position, "correlation"),
        Property("upper", "an upper-case letter", _each(str.isupper)),
        Property("vowel", "a, e, i, o or u, in upper or lower case, with or without an accent", _each(_is_vowel)),
        Property("digit", "a digit", _each(str.isdigit)),
        Property("url", "in an address that begins with http, https or ftp", _matches(_URL)),
        Property("word-end", "the last letter or digit of a word: a unit can only expect it", _matches(_WORD_END)),
    )
}

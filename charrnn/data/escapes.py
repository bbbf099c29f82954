r"""Write a text in one line of visible characters, with escapes such as \n and \u00e9, and read it back."""

from __future__ import annotations

import re

_ESCAPE = re.compile(r"\\([nrt\\]|u[0-9a-fA-F]{4})")
#: An escape, or a backslash with the next character.
_BACKSLASH = re.compile(rf"{_ESCAPE.pattern}|\\.?", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}
#: Control characters, line ends and lone surrogates.
_UNPRINTABLE = re.compile("[\x00-\x1f\\\\\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def unescaped(text: str) -> str:
    r"""Return the text with the escapes \n, \r, \t, \\ and \uXXXX replaced by their characters; others stay."""

    def char(match: re.Match[str]) -> str:
        name = match[1]
        return chr(int(name[1:], 16)) if name[0] == "u" else _ESCAPES[name]

    return _ESCAPE.sub(char, text)


def unknown_escape(text: str) -> str | None:
    """Return the first backslash that begins none of these escapes, and the character after it; None if all do."""
    found = (match[0] for match in _BACKSLASH.finditer(text) if not _ESCAPE.fullmatch(match[0]))
    return next(found, None)


def in_one_line(text: str) -> str:
    """Return the text with escapes for all but visible characters; backslashes stay."""
    return _UNPRINTABLE.sub(lambda match: match[0] if match[0] == "\\" else escaped(match[0]), text)


def escaped(text: str) -> str:
    """Return the text in one line that is safe to print; `unescaped` gives the text back."""
    names = {char: name for name, char in _ESCAPES.items()}
    return _UNPRINTABLE.sub(lambda match: "\\" + names.get(match[0], f"u{ord(match[0]):04x}"), text)

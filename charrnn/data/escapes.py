"""A text in one line: what ends lines or controls a terminal, written as escapes, and back."""

from __future__ import annotations

import re

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}
_UNSHOWN = re.compile("[\x00-\x1f\\\\\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # controls, line ends, halves of a pair


def unescaped(text: str) -> str:
    r"""Return the text with \\n, \\r, \\t, \\\\ and \\uXXXX for what they stand for."""

    def char(match: re.Match[str]) -> str:
        name = match[1]
        return chr(int(name[1:], 16)) if name[0] == "u" else _ESCAPES[name]

    return re.sub(r"\\([nrt\\]|u[0-9a-fA-F]{4})", char, text)


def escaped(text: str) -> str:
    r"""Return the text in one line: what ends lines, controls a terminal or is no character as `unescaped` reads it."""
    names = {char: name for name, char in _ESCAPES.items()}
    return _UNSHOWN.sub(lambda match: "\\" + names.get(match[0], f"u{ord(match[0]):04x}"), text)

r"""Texts on the command line, in which \n, \t, \r, \\ and \uXXXX are escapes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli._types import fail, name_of
from charrnn.errors import VocabError

if TYPE_CHECKING:
    from charrnn.data.vocab import Vocab

_TYPED = "charrnn.escapes"  # the key in a context's `meta`: what was typed, by option or argument
_NAMES = {"n": "a line end", "r": "a carriage return", "t": "a tab"}
#: Escapes whose letter may be meant; the first alternative takes pairs of backslashes out of the way.
_AMBIGUOUS = r"\\\\|\\([nrt])(?=[^\W_])"


class TextWithEscapes(click.types.StringParamType):
    """A text; its escapes are replaced, and what was typed is kept for `explaining_escapes`."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the text with its escapes replaced; fail for one that does not exist."""
        from charrnn.data.escapes import unescaped, unknown_escape

        typed: str = super().convert(value, param, ctx)
        if (unknown := unknown_escape(typed)) is not None:
            fail(
                param,
                ctx,
                f"has the unknown escape {unknown}: write \\\\ for a backslash (escapes: \\n, \\t, \\r, \\uXXXX)",
            )
        if ctx is not None and _ambiguous(typed):
            ctx.meta.setdefault(_TYPED, {}).setdefault(name_of(param), typed)
        return unescaped(typed)


text_with_escapes = TextWithEscapes()


@contextmanager
def explaining_escapes(vocab: Vocab) -> Iterator[None]:
    r"""Say how escapes were read that may be meant as a backslash and a letter, such as the \t of \textbf.

    On stderr if the model knows the backslash, and in an error about a character that the model does not know.
    """
    from charrnn.cli._console import note

    explained = [_explain(flag, typed) for flag, typed in click.get_current_context().meta.get(_TYPED, {}).items()]
    backslash = vocab.symbols.find("\\")
    if backslash >= 0 and (not vocab.counts or vocab.counts[backslash]):
        for explanation in explained:
            note(f"Note: {explanation}")
    try:
        yield
    except VocabError as error:
        raise VocabError("; ".join([str(error), *explained])) from error


def _ambiguous(typed: str) -> list[str]:
    """Return the letters of escapes that may be meant as they are, each once."""
    return [*dict.fromkeys(filter(None, re.findall(_AMBIGUOUS, typed)))]


def _explain(flag: str, typed: str) -> str:
    letters = _ambiguous(typed)
    read = " and ".join(f"\\{letter} is {_NAMES[letter]}" for letter in letters)
    return f"in {flag}, {read}: write \\\\{letters[0]} for a backslash and {letters[0]}"

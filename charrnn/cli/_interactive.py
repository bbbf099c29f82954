"""Suggestions while typing, with the package prompt_toolkit: a menu on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from charrnn.errors import ConfigError, VocabError

if TYPE_CHECKING:
    from charrnn.generation.completion import Completions


def typed_lines(complete: Callable[[str], Completions], begun: str) -> Iterator[str]:
    """Yield each line that the user enters, up to Ctrl-D, while suggesting completions.

    begun    the start of the first line
    Raises:  ConfigError if prompt_toolkit is not installed, or there is no terminal that can show a menu.
    """
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        raise ConfigError("--interactive needs a terminal for input: leave it out and pipe lines in")
    if os.environ.get("TERM") == "dumb":
        raise ConfigError("--interactive needs a terminal with menus, not TERM=dumb: leave it out")
    session = _session(complete)
    print("Tab takes a suggestion, Enter ends the line, Ctrl-D on an empty line quits.", file=sys.stderr)
    while True:
        try:
            yield session.prompt("> ", default=begun)
        except EOFError:
            return
        begun = ""


def _session(complete: Callable[[str], Completions]) -> Any:
    """Return a prompt that reads lines from the terminal, and erases itself."""
    try:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.completion import Completer, Completion
        from prompt_toolkit.output import create_output
    except ModuleNotFoundError:
        raise ConfigError("--interactive needs prompt_toolkit: install charrnn-numpy[interactive]") from None

    from charrnn.data.escapes import escaped

    class Suggestions(Completer):  # type: ignore[misc]
        def get_completions(self, document: Any, event: object) -> Iterator[Completion]:
            try:
                done = complete(document.text_before_cursor)
            except VocabError:  # a character that the model does not know
                return
            for one in done.completions:
                if one.text and "\n" not in one.text:
                    shown = escaped(one.text) + "…" * (one.ended == "length")
                    yield Completion(one.text, display=shown, display_meta=f"{one.probability:.1%}")

    return PromptSession(
        completer=Suggestions(),
        complete_in_thread=True,  # so that typing never waits for a suggestion
        erase_when_done=True,
        output=create_output(sys.stderr),
    )

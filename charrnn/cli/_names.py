"""Other names for commands and options: aliases that are accepted, and words of other tools that lead to a suggestion.

Aliases work and are hidden: help texts and printed commands show the one true name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from charrnn.wording import OTHER_WORDS, in_words, nearest

COMMAND_ALIASES = {"generate": "sample"}

#: What people who know other tools type, by what it means here.
_COMMANDS = {
    "train": "fit learn build run",
    "sample": "write gen predict text",
    "complete": "autocomplete suggest next",
    "eval": "evaluate test validate perplexity loss",
    "score": "rank rate anomaly logprob",
    "serve": "server api web http start",
    "list": "ls runs models",
    "info": "show inspect describe cat",
    "compare": "diff versus",
    "sweep": "search grid tune",
    "rm": "remove delete del",
    "vocab": "vocabulary chars alphabet characters",
    "doctor": "check benchmark bench system",
}
_NOT_NEEDED = {
    "gpu cuda device use-cuda gpuid gpus": "charrnn computes on the processor, so leave it out",
    "data data-path data-dir input corpus file text-file train-file dataset": "name the text without an option",
    "bidirectional": "a language model reads forwards only, so leave it out",
}


def meant_options(flag: str, known: Collection[str]) -> str:
    """Return a hint for an unknown option that other tools have; empty if there is none."""
    word = _word(flag)
    meant = [option for option, words in OTHER_WORDS.items() if option in known and word in words.split()]
    reasons = [why for words, why in _NOT_NEEDED.items() if word in words.split()]
    return _did_you_mean(meant) or next(iter(reasons), "")


def near_options(flag: str, known: Collection[str]) -> str:
    """Return a hint for an unknown option: the options that are spelled like it; empty if none is."""
    return _did_you_mean(nearest(f"--{_word(flag)}", [name for name in known if name.startswith("--")]))


def _word(flag: str) -> str:
    return flag.lstrip("-").lower().replace("_", "-")


def near_commands(name: str, known: Collection[str]) -> str:
    """Return a hint for an unknown command."""
    word = name.lower()
    meant = [command for command, words in _COMMANDS.items() if command in known and word in words.split()]
    return _did_you_mean(meant or nearest(word, known))


def _did_you_mean(names: Iterable[str]) -> str:
    found = list(dict.fromkeys(names))
    return f"did you mean {in_words(found, 'or')}?" if found else ""


def model_after_command(args: list[str]) -> list[str]:
    """Return the arguments with `-m MODEL`, where it precedes the command, moved behind the command."""
    moved, rest = list[str](), list(args)
    while rest and re.match(r"-m|--model(=|$)", rest[0]):
        takes = 2 if rest[0] in ("-m", "--model") else 1
        moved, rest = moved + rest[:takes], rest[takes:]
    return [*rest[:1], *moved, *rest[1:]]

"""Other names for commands and options: aliases that are accepted, and words of other tools that lead to a suggestion.

Aliases work and are hidden: help texts and printed commands show the one true name.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from charrnn.wording import did_you_mean, likely, meant, nearest, plain_word

COMMAND_ALIASES = {"generate": "sample"}

#: What people who know other tools type, by what it means here.
_COMMANDS = {
    "train": "fit learn build run",
    "sample": "write gen predict text",
    "complete": "autocomplete suggest next",
    "eval": "evaluate test validate perplexity loss",
    "score": "rank rate anomaly logprob",
    "classify": "label predict classifier categorize categorise sentiment",
    "predict": "label apply infer",
    "serve": "server api web http start",
    "list": "ls runs models",
    "info": "show inspect describe cat",
    "compare": "diff versus",
    "sweep": "search grid tune",
    "rm": "remove delete del",
    "vocab": "vocabulary chars alphabet characters",
    "plot": "curve curves draw chart graph learning-curve",
    "export-log": "tensorboard export wandb mlflow",
    "doctor": "check benchmark bench system",
}
#: What to do instead of giving an option that other tools have, where none here means it.
_INSTEAD = {
    "o out output output-file outfile save-to": "write what it prints to a file with `> FILE`",
    "gpu cuda device use-cuda gpuid gpus": "charrnn computes on the processor; for a GPU, train in PyTorch and import "
    "the model with `charrnn.from_torch`",
    "data data-path data-dir input corpus file text-file train-file dataset": "name the text without an option",
    "bidirectional": "a language model reads forwards only, so leave it out",
}


def meant_options(flag: str, known: Collection[str]) -> str:
    """Return a hint for an unknown option that other tools have; empty if there is none."""
    word = plain_word(flag)
    reasons = (why for words, why in _INSTEAD.items() if word in words.split())
    return did_you_mean(meant(flag, known)) or next(reasons, "")


def near_options(flag: str, known: Collection[str]) -> str:
    """Return a hint for an unknown option: the options that it may mean; empty if there are none."""
    return did_you_mean(likely(flag, [name for name in known if name.startswith("--")]))


def near_commands(name: str, known: Collection[str]) -> str:
    """Return a hint for an unknown command."""
    word = name.lower()
    if COMMAND_ALIASES.get(word) in known:
        return did_you_mean([COMMAND_ALIASES[word]])
    found = [command for command, words in _COMMANDS.items() if command in known and word in words.split()]
    return did_you_mean(found or nearest(word, known))


def model_after_command(args: list[str]) -> list[str]:
    """Return the arguments with `-m MODEL`, where it precedes the command, moved behind the command."""
    moved, rest = list[str](), list(args)
    while rest and re.match(r"-m|--model(=|$)", rest[0]):
        takes = 2 if rest[0] in ("-m", "--model") else 1
        moved, rest = moved + rest[:takes], rest[takes:]
    return [*rest[:1], *moved, *rest[1:]]

"""Other names for commands and options: aliases that are accepted, and words of other tools that lead to a suggestion.

Aliases work and are hidden: help texts and printed commands show the one true name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from charrnn.wording import in_words, nearest

COMMAND_ALIASES = {"generate": "sample"}
OPTION_ALIASES = {
    "--learning-rate": ("--lr",),
    "--num-layers": ("--layers",),
    "--hidden-size": ("--hidden",),
    "--batch-size": ("--batch",),
    "--out": ("-o",),
    "--prime": ("--prompt", "-p"),
    "--temp": ("-t",),
    "--version": ("-V",),
}

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
_OPTIONS = {
    "--minutes": "time max-time duration budget timeout hours",
    "--steps": "iterations iters max-iters max-steps num-steps n-iters updates",
    "--epochs": "epoch num-epochs n-epochs max-epochs passes",
    "--cell": "model type rnn-type cell-type arch architecture unit net",
    "--hidden-size": "units rnn-size size hidden-dim n-hidden hidden-units num-units width n-embd dim",
    "--num-layers": "n-layers depth n-layer",
    "--embed-size": "embedding embed embedding-size embedding-dim wordvec-size",
    "--learning-rate": "rate step-size alpha eta",
    "--batch-size": "bs minibatch",
    "--seq-len": "seq-length sequence-length bptt block-size context window context-length unroll",
    "--clip-norm": "clip grad-clip max-norm clip-grad gradient-clip",
    "--val-fraction": "val-split val-frac validation-split val valid dev-split",
    "--test-fraction": "test-split test-frac",
    "--val-file": "val-data validation-file valid-file dev",
    "--weight-decay": "wd l2 decay",
    "--patience": "early-stopping early-stop",
    "--threads": "workers num-workers num-threads cores cpus jobs processes nproc",
    "--seed": "random-seed rng random-state",
    "--out": "output save save-dir checkpoint-dir out-dir name dir save-to",
    "--resume": "continue restore resume-from restart",
    "--init-from": "finetune fine-tune pretrained from load base-model",
    "--force": "overwrite replace yes",
    "--eval-every": "eval-interval val-interval eval-steps",
    "--lowercase": "lower lc",
    "--split-documents": "documents split docs",
    "--model": "checkpoint path run load model-path restore",
    "--length": "max-tokens num-tokens chars characters max-length tokens num-chars",
    "--prime": "start start-text prefix text seed-text context input beginning primetext",
    "--temp": "heat randomness t",
    "--top-k": "topk k",
    "--top-p": "topp nucleus p",
    "--count": "num samples num-samples n-samples number how-many n",
    "--stop": "until end stop-string eos",
    "--no-echo": "hide-prime no-prime",
    "--quiet": "silent q no-progress",
    "--json": "format output-format as-json",
    "--host": "address bind ip",
    "--help": "usage man",
}
_NOT_NEEDED = {
    "gpu cuda device use-cuda gpuid gpus": "charrnn computes on the processor, so leave it out",
    "data data-path data-dir input corpus file text-file train-file dataset": "name the text without an option",
    "bidirectional": "a language model reads forwards only, so leave it out",
}


def meant_options(flag: str, known: Collection[str]) -> str:
    """Return a hint for an unknown option that other tools have; empty if there is none."""
    word = _word(flag)
    meant = [option for option, words in _OPTIONS.items() if option in known and word in words.split()]
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

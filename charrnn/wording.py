"""Words for messages: the limit that a number breaks, lists in a sentence, and the name meant by another or a typo."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

#: Aliases of options, which work and are hidden.
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
#: What people who know other tools type, by the option that it means here.
OTHER_WORDS = {
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
    "--out": "output output-dir output-path save save-dir checkpoint-dir out-dir name dir save-to",
    "--resume": "continue restore resume-from restart",
    "--init-from": "finetune fine-tune pretrained from load base-model",
    "--force": "overwrite replace yes",
    "--eval-every": "eval-interval val-interval eval-steps",
    "--lowercase": "lower lc",
    "--split-documents": "documents split docs",
    "--separator": "sep delimiter delim document-separator",
    "--model": "checkpoint path run load model-path restore",
    "--length": "max-tokens num-tokens chars characters max-length tokens num-chars",
    "--prime": "start start-text prefix text seed-text context input beginning primetext",
    "--temp": "heat randomness t",
    "--top-k": "topk k",
    "--top-p": "topp nucleus p",
    "--count": "num samples num-samples n-samples number how-many n",
    "--stop": "until end stop-string eos",
    "--top": "k topk head most worst",
    "--above": "threshold cutoff min",
    "--no-echo": "hide-prime no-prime",
    "--quiet": "silent q no-progress",
    "--json": "format output-format as-json",
    "--host": "address bind ip",
    "--help": "usage man",
    "--version": "v ver about",
    "--remove": "clear clean delete empty purge rm",
}


def broken_limit(
    number: float, low: float | None, high: float | None, *, open_low: bool = False, open_high: bool = False
) -> str | None:
    """Return in words what a number must be, if it is not finite or breaks a limit; else None.

    open_low, open_high: the limit itself is not allowed
    """
    if number != number or abs(number) == math.inf:
        return "a finite number"
    if low is not None and (number <= low if open_low else number < low):
        return f"greater than {_plain(low)}" if open_low else f"at least {_plain(low)}"
    if high is not None and (number >= high if open_high else number > high):
        return f"less than {_plain(high)}" if open_high else f"at most {_plain(high)}"
    return None


def _plain(number: float) -> str:
    return f"{int(number):,}" if number == int(number) else f"{number:g}"


def in_words(names: Sequence[str], last: str) -> str:
    """Return names as a list in a sentence; `last`, such as "or", joins the last two."""
    return f" {last} ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def choice_hint(value: str, choices: Sequence[str], otherwise: str = "") -> str:
    """Return the end of an error about a word that is none of the choices: what to give instead, if known.

    otherwise: what to do if the word resembles none of them, with {} where it comes
    """
    from shlex import quote

    by_lower_case = {choice.lower(): choice for choice in choices}
    if near := nearest(plain_word(value), by_lower_case):
        return f" (did you mean {by_lower_case[near[0]]}?)"
    return f": {otherwise.format(quote(value))}" if value and otherwise else ""


def meant(name: str, known: Iterable[str]) -> list[str]:
    """Return the known options or settings that a name means in other tools, or as an alias here."""
    word, by_word, found = plain_word(name), {plain_word(each): each for each in known}, list[str]()
    for flag in OTHER_WORDS | OPTION_ALIASES:
        if word in OTHER_WORDS.get(flag, "").split() or word in map(plain_word, OPTION_ALIASES.get(flag, ())):
            own = plain_word(flag)  # a setting may have a longer name than its flag, as temperature has
            found += [own] if own in by_word else sorted(each for each in by_word if _is_longer(each, own))
    return [by_word[own] for own in dict.fromkeys(found)]


def _is_longer(word: str, own: str) -> bool:
    return word.startswith(own) and "-" not in word[len(own) :]


def likely(name: str, known: Iterable[str]) -> list[str]:
    """Return the known options or settings that a name may mean: by meaning, else by their parts, else by spelling."""
    word, by_word = plain_word(name), {plain_word(each): each for each in known}
    if found := meant(name, by_word.values()):
        return found
    parts = [own for own in sorted(by_word) if word in own.split("-") or (len(word) > 2 and own.startswith(word))]
    return [by_word[own] for own in (parts[:3] or nearest(word, by_word, 1))]


def plain_word(name: str) -> str:
    """Return the name of an option or setting without its dashes, in lower case, with - for _."""
    return name.lstrip("-").lower().replace("_", "-")


def did_you_mean(names: Iterable[str]) -> str:
    """Return the end of an error about an unknown name: those that may be meant; empty if there are none."""
    found = list(names)
    return f"did you mean {in_words(found, 'or')}?" if found else ""


def nearest(word: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Return the known names that are spelled most like this one, the nearest first."""
    from difflib import get_close_matches  # it loads slowly, and only errors need it

    return get_close_matches(word, list(known), most, cutoff=0.6)

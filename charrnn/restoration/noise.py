"""The noise model: how likely a slip in a text is, and the settings of repairs. Imports no NumPy.

Each character of a text is spoilt with the same probability, in one of four ways that are alike likely: it is replaced
by a random character, left out, exchanged with the next one, or a random character is typed before it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import log

from charrnn.config import limit_of, setting
from charrnn.errors import ConfigError

#: The edits that undo the four kinds of slips.
KINDS = ("substitution", "insertion", "deletion", "transposition")


@dataclass(frozen=True)
class RepairConfig:
    """The settings of repairs.

    rate        the share of characters that are wrong: how easily a text is changed
    max_edits   edits of each line, at most; None: no limit
    only_words  True: change, insert and delete letters only
    Raises:     ConfigError for a value out of range.
    """

    rate: float = setting(
        0.01,
        "Repair",
        "The share of characters that are wrong; the higher, the more is changed.",
        low=0,
        high=0.5,
        open_ends=True,
    )
    max_edits: int | None = setting(
        None, "Repair", "Change each line in N places, at most. [default: no limit]", low=1, metavar="N"
    )
    only_words: bool = setting(
        False, "Repair", "Change letters only: never spaces, digits, punctuation or the number of words."
    )

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None and (limit := limit_of(value, item.metadata)):
                raise ConfigError(f"--{item.name.replace('_', '-')} must be {limit}, got {value}")


def log_odds(rate: float, entropy: float) -> dict[str, float]:
    """Return the logarithm of the odds of each slip against none, by the edit that undoes it.

    log(rate / (1 - rate)) - log 4; where a random character was typed, less the entropy of characters
    entropy  in nats per character
    Units:   nats.
    Source:  Kernighan, Church & Gale 1990 (spelling correction as a noisy channel with these four kinds).
    """
    one = log(rate / (1 - rate) / len(KINDS))
    return {kind: one - entropy * (kind in ("substitution", "deletion")) for kind in KINDS}

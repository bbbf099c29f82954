"""How good repairs are: the words of a text, of its repair, and of the text that was meant, counted.

A word is what is between spaces. The words of two lines are aligned by `difflib`, which finds long runs of equal words;
a word is right if it is in such a run of its line and of the line that was meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from charrnn.evaluation.statistics import wilson


class Repairs(NamedTuple):
    """Counts of words.

    wrong     words of the truth that the input lacks
    mended    those of them that the repaired text has
    right     words of the truth that the input has
    spoilt    those of them that the repaired text lacks
    new       words of the repaired text that the input lacks
    accurate  those of them that are in the truth
    """

    wrong: int = 0
    mended: int = 0
    right: int = 0
    spoilt: int = 0
    new: int = 0
    accurate: int = 0

    def plus(self, truth: str, line: str, repaired: str) -> Repairs:
        """Return the counts with those of one more line."""
        meant, given, made = truth.split(), line.split(), repaired.split()
        before, after = _found(meant, given), _found(meant, made)
        kept, true = _found(made, given), _found(made, meant)
        pairs, news = [*zip(before, after, strict=True)], [*zip(kept, true, strict=True)]
        more = (
            before.count(False),
            pairs.count((False, True)),
            before.count(True),
            pairs.count((True, False)),
            kept.count(False),
            news.count((False, True)),
        )
        return Repairs(*(own + count for own, count in zip(self, more, strict=True)))

    def shares(self) -> dict[str, tuple[int, int]]:
        """Return the counts of each share, by its name: recall, precision, and right words changed."""
        return {
            "recall": (self.mended, self.wrong),
            "precision": (self.accurate, self.new),
            "changed": (self.spoilt, self.right),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the figures that `repair --eval --json` prints: counts, and shares with 95 % Wilson intervals."""
        figures: dict[str, Any] = self._asdict()
        for name, (count, of) in self.shares().items():
            figures[name] = count / of if of else None
            figures[f"{name}_interval"] = wilson(count, of) if of else None
        return figures


def _found(words: Sequence[str], others: Sequence[str]) -> list[bool]:
    """Return of each word whether the other line has it in the same order."""
    found = [False] * len(words)
    for begin, _, size in SequenceMatcher(None, words, others, autojunk=False).get_matching_blocks():
        found[begin : begin + size] = [True] * size
    return found


def marked(line: str, repaired: str) -> str:
    """Return a repaired line with the marks of `git diff --word-diff`: [-what was there-]{+what is written+}."""
    pieces = []
    for kind, a, b, c, d in SequenceMatcher(None, line, repaired, autojunk=False).get_opcodes():
        if kind == "equal":
            pieces.append(line[a:b])
        else:
            pieces.append(f"[-{line[a:b]}-]" * (b > a) + f"{{+{repaired[c:d]}+}}" * (d > c))
    return "".join(pieces)

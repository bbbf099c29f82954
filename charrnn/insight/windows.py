"""Windows of a text, read side by side from any position."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Ids, Mask

#: Characters of a text, by number: (B,).
Positions: TypeAlias = npt.NDArray[np.intp]


def windows(ids: Ids, starts: Positions, steps: int, end: int | None = None) -> tuple[Ids, Mask]:
    """Return windows of a text, side by side, and where the state is zero before a step.

    That is before an end mark, which begins a document, and before the first id of the text. A window may begin before
    the text: what it has there does not matter.
    Shapes:  ids (N,) · starts (B,) · returns (steps, B) twice
    """
    at = starts + np.arange(steps)[:, None]
    found = ids[at.clip(0, len(ids) - 1)]
    reset = at <= 0
    if end is not None:
        reset |= found == end
    return found, reset

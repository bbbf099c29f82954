"""Reach: how far back the loss of a character feels what was read.

norms[k] = mean over positions t of |d loss_t / d x_{t-k}|

loss_t is that of the character after position t, x the input rows of the first layer, |.| the Euclidean norm. In a
plain recurrent net each step back multiplies the gradient by tanh' W_hh^T, and it vanishes (or explodes); the cell of
an LSTM, or a GRU's state, carries it further.

Source:  Hochreiter 1991; Bengio, Simard & Frasconi 1994; Pascanu, Mikolov & Bengio 2013.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Ids, Mask
from charrnn.config import ModelConfig
from charrnn.errors import ConfigError
from charrnn.insight.gradients import OwnScratch, loss_gradients, windows_at_once
from charrnn.insight.windows import Positions, windows
from charrnn.nn import model
from charrnn.parallel.plan import threads_to_use
from charrnn.parallel.threads import side_by_side

_WARM_UP = 500  # characters that are read before a window; with attention, at least as many as it looks back


@dataclass(frozen=True, eq=False)
class Reach:
    """How far back the loss feels a character.

    norms      (K + 1,), the mean norm of the gradient with respect to the input k characters back, in nats; k = 0 is
               the character just read; 0 where no position has a character so far back
    counts     (K + 1,), the positions that have one, in the same document
    positions  (P,), the characters of the text after which the loss was measured
    """

    norms: Array
    counts: npt.NDArray[np.intp]
    positions: Positions

    @property
    def relative(self) -> Array:
        """Return the norms as shares of that of the character just read."""
        shares: Array = self.norms / (self.norms[0] or 1)
        return shares

    def falls_to(self, share: float) -> int | None:
        """Return the distance from which on the norms stay below this share of the first; None if they never do."""
        above = np.flatnonzero(self.relative >= share)
        k = int(above[-1]) + 1 if len(above) else 0
        return k if k < len(self.norms) else None


def reach(
    weights: model.Weights,
    config: ModelConfig,
    ids: Ids,
    *,
    longest: int = 100,
    positions: int = 200,
    seed: int = 0,
    end: int | None = None,
) -> Reach:
    """Measure how far back the loss feels a character, at positions of a text drawn at random.

    Each is read after a warm-up of 500 characters, as the model would read it in the text.
    longest  characters back, K
    end      the id that begins a document, if the model learned documents: no gradient crosses it
    Shapes:  ids (N,)
    Raises:  ConfigError for a text of less than two characters, and numbers out of range.
    """
    if len(ids) < 2:
        raise ConfigError("the reach needs a text of at least two characters: give a longer one")
    if longest < 1 or positions < 1:
        raise ConfigError(f"longest and positions must be at least 1, got {longest} and {positions}")
    drawn = np.random.default_rng(seed).permutation(len(ids) - 1)[:positions]
    drawn.sort()
    warm_up, steps = max(_WARM_UP, config.attention), np.arange(longest + 1)[:, None]
    own = OwnScratch()

    def norms(last: Positions) -> tuple[Array, Mask]:
        state = model.zero_state(config, len(last))
        before, reset = windows(ids, last - longest - warm_up, warm_up, end)
        model.read(weights, before, state, reset=reset, scratch=own.scratch)
        read, reset = windows(ids, last - longest, longest + 1, end)
        _, grads = loss_gradients(weights, read, ids[last + 1], state, reset=reset, scratch=own.scratch)
        starts = np.where(reset, steps, 0).max(axis=0)  # of the document, in each window
        return np.linalg.norm(grads, axis=-1), steps >= starts

    at_once = windows_at_once(weights, config, longest + 1)
    blocks = (drawn[begin : begin + at_once] for begin in range(0, len(drawn), at_once))
    sums, counts = np.zeros(longest + 1), np.zeros(longest + 1, np.intp)
    for found, seen in side_by_side(norms, blocks, threads_to_use(None)):
        sums += (found * seen).sum(axis=1, dtype=np.float64)[::-1]
        counts += np.count_nonzero(seen, axis=1)[::-1]
    return Reach(sums / np.maximum(counts, 1), counts, drawn)

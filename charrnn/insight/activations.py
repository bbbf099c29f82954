"""What the units of a net do while it reads a text: outputs, cells and gates after each character.

"layer0.h" names the outputs h of the first layer, "layer0.c" its cells c if it has any, and "layer0.f" the gate f that
`Cell.gates` names. A single unit is written "layer0.c[123]".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from charrnn.arrays import Array, Ids, Mask, Scratch
from charrnn.config import ModelConfig
from charrnn.errors import ConfigError
from charrnn.evaluation.whole import WARM_UP
from charrnn.insight.windows import windows
from charrnn.nn import model
from charrnn.nn.cells import cell_of
from charrnn.wording import in_words

MOST_BYTES = 2**30  # of all arrays that one call returns
_WINDOW = 128  # characters that are read at once, unless the cells c are among the names: bounds memory


def kinds(config: ModelConfig) -> tuple[str, ...]:
    """Return the names of all activations of a model, from the first layer: h, c if its cell has two states, gates."""
    cell = cell_of(config.cell)
    own = dict.fromkeys((*("h", "c")[: cell.n_states], *cell.gates))
    return tuple(f"layer{layer}.{name}" for layer in range(config.num_layers) for name in own)


def activations(
    weights: model.Weights,
    config: ModelConfig,
    ids: Ids,
    names: Sequence[str],
    *,
    end: int | None = None,
    rows: int = 1,
) -> dict[str, Array]:
    """Read a text from a zero state, and return each of these activations after each character, by name.

    A gate is the one by which the character came in. Cells take about four times as long as the others: only the state
    has them, so the text is then read character by character.
    end   id of the end mark between documents, each of which is read from a zero state
    rows  batch rows that the text is split into, each after a warm-up of 512 characters, as by the protocol `lanes`:
          faster, and nearly the same
    Shapes:  ids (T,) · returns (T, H) for each name
    Raises:  ConfigError for a name that the model does not have, a single string, and arrays of more than 1 GiB.
    """
    _check(config, names, len(ids))
    rows = max(1, min(rows, len(ids)))
    length, warm_up = -(-len(ids) // rows), WARM_UP if rows > 1 else 0
    found = {name: np.empty((length, rows, config.hidden_size), config.dtype) for name in names}
    state, scratch = model.zero_state(config, rows), Scratch()
    window = 1 if any(name.endswith(".c") for name in names) else _WINDOW
    for begin in range(-warm_up, length, window):
        steps = np.arange(begin, min(begin + window, length))
        read, reset = windows(ids, begin + length * np.arange(rows), len(steps), end)
        for name, values in _read(weights, read, state, reset, scratch, found):
            if begin >= 0:
                found[name][steps] = values
    return {name: array.swapaxes(0, 1).reshape(-1, array.shape[-1])[: len(ids)] for name, array in found.items()}


def _check(config: ModelConfig, names: Sequence[str], chars: int) -> None:
    if isinstance(names, str):
        raise ConfigError(f"names must be a list, got {names!r}: write [{names!r}]")
    known = kinds(config)
    for name in names:
        if name not in known:
            raise ConfigError(f"the model has no activations {name!r}: choose from {in_words(known, 'and')}")
    each = config.hidden_size * np.dtype(config.dtype).itemsize * max(1, len(names))
    if chars * each > MOST_BYTES:
        raise ConfigError(
            f"the activations of {chars:,} characters would take {chars * each / 2**30:.1f} GiB: ask for fewer, or "
            f"read at most {MOST_BYTES // each:,} characters"
        )


def _read(
    weights: model.Weights, ids: Ids, state: Array, reset: Mask, scratch: Scratch, names: Collection[str]
) -> Iterator[tuple[str, Array]]:
    """Read a window, change the state, and yield those activations (T, B, H) that are among the names, with theirs.

    c is right for a window of one character only. Layers above the last name are not read.
    """
    hidden = model.hidden_state(weights, state)
    deepest = max((int(name.removeprefix("layer").partition(".")[0]) for name in names), default=-1)
    read = model.layers(weights, ids, state, scratch, reset=reset)
    for layer, (h, after, gates) in zip(range(deepest + 1), read, strict=False):
        hidden[layer] = after
        for kind, values in (gates | dict(zip("hc", (h, *after[1:2, None]), strict=False))).items():
            if (name := f"layer{layer}.{kind}") in names:
                yield name, values

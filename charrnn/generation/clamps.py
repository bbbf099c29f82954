"""Clamps: units of a model that keep a value while it writes, to see what they do.

A clamp begins with the last character of the prime and ends with the sample. After each character, the unit has its
value, whatever the model computed:

h   the output of a layer. The layer above, the readout, attention and the memory get the value at the same character.
c   the cell of an LSTM. The next character is read from it: c_t = f * value + i * g, and h_t = o * tanh(c_t). So the
    gates still act on what is held, for one character; then c has its value again.

A gate is computed anew for each character and cannot be held.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real

from charrnn.config import ModelConfig
from charrnn.errors import ConfigError
from charrnn.generation.ensemble import Member
from charrnn.nn.cells import cell_of
from charrnn.nn.model import Held
from charrnn.wording import in_words

MOST_VALUE = 1e6  # on either side of zero: far beyond what a cell reaches, and finite in every product
_NUMBER = r"(0|[1-9]\d{0,8})"
_UNIT = re.compile(rf"layer{_NUMBER}\.(\w+)\[{_NUMBER}\]", re.ASCII)
_STATES = ("h", "c")
_EXAMPLE = "layer0.h[5]=1"


def parse(texts: Iterable[str]) -> dict[str, float]:
    """Return units with their values, given texts such as "layer0.c[123]=2".

    Raises:  ConfigError for a text of another form, and a unit that comes twice.
    """
    clamp: dict[str, float] = {}
    for text in texts:
        unit, equals, value = (part.strip() for part in text.rpartition("="))
        try:
            number = float(value if equals else "")
        except ValueError:
            raise ConfigError(f"--clamp {text}: this is not UNIT=NUMBER: write it as in {_EXAMPLE}") from None
        if unit in clamp:
            raise ConfigError(f"--clamp: {unit} is given twice: give it one value")
        clamp[unit] = number
    return clamp


def held(clamp: Mapping[str, float], members: Sequence[Member]) -> tuple[Held, ...]:
    """Return the units that a model holds, given their names and values.

    Raises:  ConfigError for several models, a unit that the model does not have, and a value out of range.
    """
    if not isinstance(clamp, Mapping):
        raise ConfigError(f'clamp must be a dict of units and values, such as {{"layer0.h[5]": 1.0}}, got {clamp!r}')
    if len(members) > 1:
        raise ConfigError("--clamp holds units of a single model, and several are mixed: give one -m")
    return tuple(_held(unit, value, members[0].config) for unit, value in clamp.items())


def _held(name: str, value: float, config: ModelConfig) -> Held:
    found = _UNIT.fullmatch(str(name))
    if not found:
        raise ConfigError(f"--clamp {name}: this is not a unit: write it as in {_EXAMPLE}")
    layer, part, unit = int(found[1]), found[2], int(found[3])
    cell = cell_of(config.cell)
    states = _STATES[: cell.n_states]
    if layer >= config.num_layers:
        raise ConfigError(f"--clamp {name}: the model's last layer is layer{config.num_layers - 1}: choose a lower one")
    if part not in states:
        what = f"{part} is a gate, computed anew for each character" if part in cell.gates else f"there is no {part}"
        instead = in_words([f"layer{layer}.{state}[{unit}]" for state in states], "or")
        raise ConfigError(f"--clamp {name}: {what} in the cell {config.cell}: hold {instead}")
    if unit >= config.hidden_size:
        raise ConfigError(f"--clamp {name}: the layer has units 0 to {config.hidden_size - 1}: choose one of them")
    if not isinstance(value, Real) or not abs(value) <= MOST_VALUE:
        raise ConfigError(f"--clamp {name}: the value must be {-MOST_VALUE:,.0f} to {MOST_VALUE:,.0f}, got {value!r}")
    return Held(layer, states.index(part), unit, float(value))

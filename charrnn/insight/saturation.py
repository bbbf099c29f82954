"""How often each gate of each unit is open or closed: a forget gate that is always near 1 never forgets.

Source:  Karpathy, Johnson & Li 2016, whose plot has one point for each unit.
"""

from __future__ import annotations

import numpy as np

from charrnn.arrays import Array
from charrnn.config import ModelConfig
from charrnn.nn.cells import cell_of
from charrnn.nn.cells.base import saturated


def saturation(config: ModelConfig, activations: dict[str, Array]) -> dict[str, Array]:
    """Return, for the gates among the activations, each unit's shares of left- and right-saturated characters.

    Left means within 0.1 of the gate's lowest value, 0 or -1, and right within 0.1 of 1. For a cell that names no
    gates, the outputs h count as its gate. The states of a cell with gates are left out.
    Shapes:  activations (T, H) by name, such as "layer0.f" · returns (H, 2) by name, left and right
    """
    gates = cell_of(config.cell).gates
    lowest = {name: gates[gate] for name in activations if (gate := name.partition(".")[2]) in gates}
    return {
        name: np.stack([mask.mean(axis=0) for mask in saturated(activations[name], low)], axis=1)
        for name, low in lowest.items()
    }

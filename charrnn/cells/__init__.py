"""The registry of cells: a name is a file in this folder, a word of `CELL_NAMES` and a value of `--cell`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charrnn.cells.base import Cell

    CELLS: dict[str, Cell]

CELL_NAMES = ("rnn", "lstm", "gru", "lnlstm")


def __getattr__(name: str) -> Any:
    """Import the cells when `CELLS` is first asked for, so that the names alone cost nothing."""
    if name != "CELLS":
        raise AttributeError(name)
    cells = {cell: import_module(f"charrnn.cells.{cell}").CELL for cell in CELL_NAMES}
    globals()["CELLS"] = cells
    return cells

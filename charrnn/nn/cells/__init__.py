"""The recurrent cells, by name. A name is a file in this folder, a word of `CELL_NAMES` and a value of `--cell`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from charrnn.config import CELL_NAMES

if TYPE_CHECKING:
    from charrnn.nn.cells.base import Cell

    CELLS: dict[str, Cell]


def __getattr__(name: str) -> Any:
    """Import the cells when `CELLS` is first used, so that reading the names stays fast."""
    if name != "CELLS":
        raise AttributeError(name)
    cells = {cell: import_module(f"{__name__}.{cell}").CELL for cell in CELL_NAMES}
    globals()["CELLS"] = cells
    return cells

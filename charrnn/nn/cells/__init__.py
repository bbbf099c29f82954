"""The recurrent cells, by name: the built-in ones and those that `register_cell` adds.

A built-in cell is a file in this folder, a word of `CELL_NAMES` and a value of `--cell`. The names of all cells are in
`config`, so that reading them imports no NumPy.
"""

from __future__ import annotations

import pickle
import re
from base64 import b64decode, b64encode
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from charrnn.config import CELL_NAMES, OWN_CELLS
from charrnn.errors import ConfigError

if TYPE_CHECKING:
    from charrnn.nn.cells.base import Cell

    CELLS: dict[str, Cell]


@cache
def _cells() -> dict[str, Cell]:
    return {cell: import_module(f"{__name__}.{cell}").CELL for cell in CELL_NAMES}


def cell_of(name: str) -> Cell:
    """Return the cell of this name; of the built-in ones, only this one is imported."""
    cell: Cell = import_module(f"{__name__}.{name}").CELL if name in CELL_NAMES else _cells()[name]
    return cell


def __getattr__(name: str) -> Any:
    """Import the cells when `CELLS` is first used, so that reading the names stays fast."""
    if name != "CELLS":
        raise AttributeError(name)
    return _cells()


def register_cell(name: str, cell: Cell, *, replace: bool = False) -> None:
    """Add a cell of your own, so that models can be trained with `cell=name` and loaded again.

    A tiny layer is run to check the cell against the contract in `nn/cells/base.py`. `check_gradients` compares its
    backward pass with finite differences.
    name     letters, digits, "_", "-" and "."; or "module:NAME", as `--cell` names a cell in a module
    replace  True: replace another cell of this name, for example when a notebook runs the definition again
    Raises:  ConfigError if the name is taken or the cell does not keep the contract.
    """
    from charrnn.nn.cells.contract import check_contract  # it imports NumPy

    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]*(:\w+)?", name):
        raise ConfigError(f"{name!r} is not the name of a cell: use letters, digits, _, - and ., or module:NAME")
    if name in CELL_NAMES:
        raise ConfigError(f"{name!r} is a built-in cell: choose another name")
    cells = _cells()
    if cells.get(name) is cell:
        return
    if name in cells and not replace:
        raise ConfigError(f"a cell {name!r} is already registered: choose another name, or give replace=True")
    check_contract(name, cell)
    if cell.layer is not None:  # the compiled core would read it by the equations of a built-in cell
        raise ConfigError(f"cell {name!r}: layer is for built-in cells alone: set it to None")
    cells[name] = cell
    OWN_CELLS.add(name)


def packed(name: str) -> str | None:
    """Return a cell in the form that `unpack` reads in another process; None if that process could not import it.

    Functions are sent by name, so those of a cell must be at the top of a module: not in a notebook or in the script
    that was started, not lambdas, and not inside other functions.
    """
    if name in CELL_NAMES:
        return ""
    try:
        pickled = pickle.dumps(_cells()[name])
    except (pickle.PicklingError, AttributeError, TypeError):
        return None
    return None if b"__main__" in pickled else b64encode(pickled).decode()


def unpack(name: str, cell: str) -> None:
    """Register a cell from `packed`, which this process's parent or rank 0 sent; never one from a file."""
    if cell:
        register_cell(name, pickle.loads(b64decode(cell)), replace=True)  # a rank may have imported it by itself

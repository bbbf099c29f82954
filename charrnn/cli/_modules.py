"""A user's own modules: `--import MODULE` imports one that holds cells, and so does `--cell MODULE:NAME`.

Importing a module runs its code. So only the command line and the environment can name one: a checkpoint or a file of
settings may have come from somebody else, and a cell that they name must have been imported by the user.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click
from click.core import ParameterSource

from charrnn.cli._types import OneOf
from charrnn.errors import CharRNNError, ConfigError

_IMPORTED = "charrnn.imported"  # the key in a context's `meta`


def import_modules(ctx: click.Context, option: click.Parameter, names: tuple[str, ...]) -> None:
    """Import the modules that `--import` names."""
    if not ctx.resilient_parsing:  # a shell completes
        for name in names:
            _import_cells(ctx, name, f"--import {name}")


def _import_cells(ctx: click.Context, name: str, flag: str) -> None:
    """Import a module, also from the current folder, and register its cells as "module:NAME".

    Raises:  ConfigError if there is no such module, or it raises an error.
    """
    if os.sep in name or name.endswith(".py"):
        dotted = name.removesuffix(".py").replace(os.sep, ".").strip(".")
        raise ConfigError(f"{flag}: give the module's name, not its file: {dotted}")
    if (folder := os.getcwd()) not in sys.path:
        sys.path.append(folder)  # last, so that a file here never hides a module of Python or of a package
    try:
        module = import_module(name)
    except CharRNNError as error:
        raise ConfigError(f"{flag}: {error}") from error
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            raise ConfigError(
                f"{flag}: no module {error.name} in this folder or on Python's path: check the name"
            ) from None
        raise ConfigError(f"{flag}: the module raised {type(error).__name__}: {error}") from error
    from charrnn.nn.cells import register_cell
    from charrnn.nn.cells.base import Cell

    ctx.meta.setdefault(_IMPORTED, []).append(name)
    for attribute, value in vars(module).items():
        if isinstance(value, Cell):
            register_cell(f"{name}:{attribute}", value)


def import_options(ctx: click.Context) -> list[str]:
    """Return the options that import the same modules, for a command that is printed."""
    return [word for name in dict.fromkeys(ctx.meta.get(_IMPORTED, ())) for word in ("--import", name)]


class CellName(OneOf):
    """The name of a cell: built in, registered, or MODULE:NAME, whose module is imported."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the name; import its module if the command line or the environment names it."""
        from charrnn.config import OWN_CELLS

        module, colon, cell = str(value).partition(":")
        if value in OWN_CELLS:
            return value
        if not colon or ctx is None or param is None:
            return super().convert(value, param, ctx)
        if ctx.resilient_parsing:  # a shell completes
            return value
        if ctx.get_parameter_source(param.name or "") is ParameterSource.DEFAULT_MAP:
            raise ConfigError(
                f"--cell {value} needs a module, which a settings file cannot import: add --import {module}"
            )
        _import_cells(ctx, module, f"--cell {value}")
        if value not in OWN_CELLS:
            file = getattr(sys.modules[module], "__file__", module)
            raise ConfigError(f"--cell {value}: {cell} in {file} is not a charrnn.Cell")
        return value

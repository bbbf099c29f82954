"""Settings from a file, as Click's default map.

The file is charrnn.toml, or pyproject.toml with a table [tool.charrnn]: the nearest one, in this folder or above it.
Keys are the names of flags; a key in a command's own table overrides one outside of tables. Imports neither NumPy nor
rich.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from charrnn.cli._command import commands_of, groups_of, path_of
from charrnn.cli._names import near_commands
from charrnn.cli._origins import SETTINGS_FILE
from charrnn.cli._types import Values
from charrnn.errors import ConfigError
from charrnn.wording import did_you_mean, likely

OWN, SHARED = "charrnn.toml", "pyproject.toml"
_OUR_HEADING = rb"""(?m)^\s*\[\s*["']?tool["']?\s*\.\s*["']?charrnn\b"""


class SettingsFile(NamedTuple):
    """A file of settings and our table in it."""

    path: Path
    table: dict[str, Any]

    @classmethod
    def read(cls, path: Path, *, found: bool = False) -> SettingsFile | None:
        """Return the settings in a file; None for a pyproject.toml without a table of ours.

        found:  True: the user did not name the file; also None if it cannot be read and seems to be someone else's
        Raises: ConfigError if it cannot be read or is not valid TOML.
        """
        import tomllib

        data = b""
        try:
            data = path.read_bytes()
            if path.name == SHARED and b"charrnn" not in data:
                return None
            table: Any = tomllib.loads(data.decode("utf-8-sig"))
        except OSError as error:
            if found and path != Path(OWN):
                return None
            raise ConfigError.of(error, f"cannot read the settings in {path}") from error
        except (ValueError, RecursionError) as error:
            if found and path.name == SHARED and not re.search(_OUR_HEADING, data):
                return None
            raise ConfigError(f"{path} is not valid TOML: {error}: correct it") from error
        if path.name == SHARED:
            tools = table.get("tool")
            table = tools.get("charrnn") if isinstance(tools, dict) else None
        if table is not None and not isinstance(table, dict):
            raise ConfigError(f"{path}: tool.charrnn is not a table: write [tool.charrnn]")
        return None if table is None else cls(path, table)

    @classmethod
    def nearest(cls) -> SettingsFile | None:
        """Return the settings in the nearest file, in this folder or above it; None if there is none."""
        try:
            above = Path.cwd().parents
        except OSError:  # this folder has been removed
            return None
        paths = [folder / name for folder in (Path(), *above) for name in (OWN, SHARED)]
        files = (cls.read(path, found=True) for path in paths if os.path.isfile(path))
        return next(filter(None, files), None)

    def defaults(self, ctx: click.Context) -> dict[str, Any]:
        """Return the values in the file for the context's command, by the names of its parameters.

        Raises:  ConfigError if a key is not a setting, or its value has the wrong type.
        """
        options, path, values = _options(ctx.command, ctx), path_of(ctx), dict[str, Any]()
        for group in groups_of(ctx):
            self._check_names(group, ctx)
        for depth in range(len(path) + 1):
            own = self._table(path[:depth])
            if depth == len(path) and (unknown := [key for key in own if _flag(key) not in options]):
                raise self._unknown(f"[{self._heading(path)}] {unknown[0]}", unknown[0], [ctx.command], ctx)
            for key, value in own.items():
                if (option := options.get(_flag(key))) and not isinstance(value, dict):
                    values[option.name or ""] = _checked(value, option, self._place(key, path[:depth]))
        return values

    def _check_names(self, group: click.Context, ctx: click.Context) -> None:
        """Raise ConfigError for a group's table that is not named after a command, or a key that no command has."""
        assert isinstance(group.command, click.Group)
        path, names = path_of(group), group.command.list_commands(group)
        for key, value in self._table(path).items():
            if isinstance(value, dict) and key not in names:
                remedy = near_commands(key, names) or f"leave it out; `{group.command_path} --help` lists the commands"
                raise ConfigError(f"{self.path}: [{self._heading((*path, key))}] is not a command: {remedy}")
            if isinstance(value, dict) or _flag(key) in _options(ctx.command, ctx):
                continue
            commands = [command for _, command in commands_of(group)]
            if not any(_flag(key) in _options(command, ctx) for command in commands):
                shown = f"[{self._heading(path)}] {key}" if path else key
                raise self._unknown(shown, key, commands, ctx)

    def _table(self, path: Sequence[str]) -> dict[str, Any]:
        """Return the table of a command or a group, by the words that name it; empty if there is none."""
        table: Any = self.table
        for name in path:
            table = table.get(name, {}) if isinstance(table, dict) else {}
        return table if isinstance(table, dict) else {}

    def _heading(self, path: Sequence[str]) -> str:
        return ".".join(["tool.charrnn"] * (self.path.name == SHARED) + [*path])

    def _place(self, key: str, path: Sequence[str]) -> str:
        heading = self._heading(path)
        return f"{self.path}: {f'[{heading}] ' if heading else ''}{key}"

    def _unknown(self, shown: str, key: str, commands: Sequence[click.Command], ctx: click.Context) -> ConfigError:
        """Return the error for a key that none of these commands takes from a file."""
        known = [flag.removeprefix("--") for command in commands for flag in _options(command, ctx)]
        if any(_flag(key) in param.opts for command in commands for param in command.get_params(ctx)):
            remedy = "give it on the command line"
        else:
            remedy = did_you_mean(likely(key, known)) or "leave it out, or see `charrnn --help`"
        return ConfigError(f"{self.path}: {shown} is not a setting: {remedy}")


def _flag(key: str) -> str:
    """Return the flag that a key names, with or without its two dashes."""
    return "--" + key.removeprefix("--").replace("_", "-")


def _options(command: click.Command, ctx: click.Context) -> dict[str, click.Option]:
    """Return the options that a file may set, by their long flags; some must be on the command line."""
    options = [param for param in command.get_params(ctx) if isinstance(param, click.Option) and not param.is_eager]
    return {flag: option for option in options if option.allow_from_autoenv for flag in option.opts if flag[:2] == "--"}


def _checked(value: Any, option: click.Option, place: str) -> Any:
    """Return a value for Click, which checks its range; raise ConfigError if its type is wrong."""
    kinds, takes = _kinds(option)
    several = option.multiple or isinstance(option.type, Values)
    values = value if several and isinstance(value, list) else [value]
    if any(type(each) not in kinds for each in values):
        raise ConfigError(f"{place} is {value!r}: it takes {takes}{', or a list of these' if several else ''}")
    if isinstance(option.type, Values):
        return ",".join(map(str, values))
    return values if option.multiple else value if option.is_flag else str(value)


def _kinds(option: click.Option) -> tuple[tuple[type, ...], str]:
    """Return the TOML types that an option takes, and their name in errors."""
    kind = option.type.each if isinstance(option.type, Values) else option.type
    if option.is_flag:
        return (bool,), "true or false"
    if isinstance(kind, click.types.IntParamType):
        return (int,), "a whole number"
    if form := getattr(kind, "form", None):
        return (int, float, str), f"a number, or {form} in quotation marks"
    if isinstance(kind, click.types.FloatParamType):
        return (int, float), "a number"
    return (str,), "a string in quotation marks"


def read_settings(ctx: click.Context, name: str | None) -> None:
    """Use the settings in this file, or the nearest one, as defaults of the command."""
    if name is None:
        file = SettingsFile.nearest()
    elif (file := SettingsFile.read(Path(name))) is None:
        raise ConfigError(f"{name} has no table [tool.charrnn]: add one, or name another file with --config")
    if file is not None:
        ctx.meta[SETTINGS_FILE] = file.path
        ctx.default_map = file.defaults(ctx)

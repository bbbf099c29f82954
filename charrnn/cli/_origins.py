"""The place that each setting came from: the command line, a variable or a file. Errors name it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import click
from click.core import ParameterSource

from charrnn.errors import CharRNNError

SETTINGS_FILE = "charrnn.settings_file"  # the key in a context's `meta`


def variables(option: click.Option, ctx: click.Context) -> list[str]:
    """Return the environment variables that set an option; the first one that is set counts."""
    shared = [option.envvar] if isinstance(option.envvar, str) else []
    if not option.allow_from_autoenv or ctx.auto_envvar_prefix is None:
        return shared
    return [f"{ctx.auto_envvar_prefix}_{_long(option)[2:].replace('-', '_').upper()}", *shared]


@contextmanager
def naming_origins(ctx: click.Context) -> Iterator[None]:
    """Add to an error the origin of each setting that it names, unless that is the command line."""
    try:
        yield
    except click.UsageError as error:
        if origins := _origins(ctx, message := error.format_message()):
            raise click.UsageError(f"{message}{origins}", error.ctx) from error
        raise
    except CharRNNError as error:
        error.args = (f"{error}{_origins(ctx, str(error))}",)
        raise


def _origins(ctx: click.Context, message: str) -> str:
    """Return the origins of the settings whose flag or value a message names."""
    origins = []
    for option in ctx.command.get_params(ctx):
        if not isinstance(option, click.Option) or option.name is None:
            continue
        value = ctx.params.get(option.name)
        texts = [each for each in (value if isinstance(value, tuple) else (value,)) if isinstance(each, str) and each]
        if not any(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", message) for name in [*option.opts, *texts]):
            continue
        source = ctx.get_parameter_source(option.name)
        if source is ParameterSource.ENVIRONMENT:
            variable = next(name for name in variables(option, ctx) if os.environ.get(name))
            origins.append(f"{_long(option)} is set by {variable}")
        elif source is ParameterSource.DEFAULT_MAP:
            origins.append(f"{_long(option)} is set in {ctx.meta[SETTINGS_FILE]}")
    return f" ({', '.join(origins)})" if origins else ""


def _long(option: click.Option) -> str:
    """Return the longest flag of an option."""
    return max(option.opts, key=len)

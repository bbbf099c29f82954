"""Options that commands share, and options made from the fields of the settings. Imports neither NumPy nor rich."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field
from types import MappingProxyType
from typing import Any, TypeVar

import click

from charrnn.cli._command import Conflict, complete_files, complete_runs, section
from charrnn.cli._escapes import text_with_escapes
from charrnn.cli._modules import CellName
from charrnn.cli._types import Minutes, Number, OneOf, WholeNumber
from charrnn.config import MOST_MEMORY, UNKNOWN_POLICIES, TrainConfig, flag_of, setting_fields, setting_names

F = TypeVar("F", bound=Callable[..., Any])


def settings(
    *names: str, more: tuple[type[Any], ...] = (), helps: Mapping[str, str] = MappingProxyType({})
) -> Callable[[F], F]:
    """Add an option for each of these settings of model and training; None if it is not given.

    more   further dataclasses of settings
    helps  help texts, with their defaults, in place of those of the fields
    """

    def add(function: F) -> F:
        for item in reversed(setting_fields(*more)):
            if item.name in names:
                words = helps.get(item.name) or item.metadata["help"] + _default_in_words(item)
                function = _option(item, words, default=None)(function)
        return function

    return add


def options_of(config: type[Any], *names: str) -> Callable[[F], F]:
    """Add an option for each of these fields of a dataclass, in this order.

    An option that is not given has the field's default. If its least value differs from the field's (`flag_low`), it
    is None, and the command decides.
    """

    def add(function: F) -> F:
        for item in map(config.__dataclass_fields__.__getitem__, reversed(names)):
            several = str(item.type).startswith("tuple")
            hidden = several or "flag_low" in item.metadata or item.default is None
            default = {} if hidden else {"default": item.default, "show_default": item.type != "bool"}
            function = _option(item, item.metadata["help"], **default, **({"multiple": True} if several else {}))(
                function
            )
        return function

    return add


_METAVARS = {"int": "N", "float": "X", "str": "TEXT"}
_WIDEST = 28  # characters of a flag with its choices, so that its help begins on the same line


def _default_in_words(item: Field[Any]) -> str:
    """Return the default of a setting as the help shows it; under a time budget, the recipe may choose it."""
    chosen = item.metadata.get("recipe")
    if item.default is None or (item.type == "bool" and not chosen):
        return ""
    default = "off" if item.default is False else str(item.default).removesuffix(".0")
    return f" [default: {f'{chosen}; {default} with --steps' if chosen else default}]"


def _option(item: Field[Any], text: str, **more: Any) -> Callable[[F], F]:
    """Return a decorator that adds the option of a field, with the flags and metavar of its metadata if it has any."""
    meta = item.metadata
    flags = meta.get("flags", (flag_of(item.name),))
    name = flags[-1].removeprefix("--").replace("-", "_")
    if item.type == "bool":
        more["is_flag"] = True
        if item.default:
            flags = (f"{flags[0]}/--no-{flags[0][2:]}",)
    else:
        more["type"] = _type(item)
        more["metavar"] = meta.get("metavar", _METAVARS.get(str(item.type).split(" ")[0]))
    if meta["choices"]:
        several = "|".join(meta["choices"])
        fits = len(f"{flags[-1]} [{several}]") <= _WIDEST
        more["metavar"] = f"[{several}]" if fits else meta.get("metavar", "NAME")
        text = text if fits else _with_choices(text, meta["choices"])
    return section(meta["group"])(*flags, name, help=text, **more)


def _with_choices(text: str, choices: Sequence[str]) -> str:
    """Return a help text that also names the choices, before the default."""
    words, bracket, default = text.partition(" [")
    return f"{words} One of {', '.join(choices)}.{bracket}{default}"


def _type(item: Field[Any]) -> Any:
    """Return the type of an option; `flag_low` replaces the least value of the field."""
    meta = item.metadata
    if item.name == "cell":
        return CellName(meta["choices"])
    if meta["choices"]:
        return OneOf(meta["choices"], meta.get("otherwise", ""))
    if str(item.type).startswith("str"):
        return click.STRING
    if str(item.type).startswith("tuple"):
        return text_with_escapes
    kind = WholeNumber if str(item.type).startswith("int") else Minutes if item.name == "minutes" else Number
    open_low = meta["open_ends"] or meta.get("open_low", False)
    return kind(meta.get("flag_low", meta["low"]), meta["high"], min_open=open_low, max_open=meta["open_ends"])


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Return the settings among a command's options that the user gave."""
    return {name: options[name] for name in setting_names() if options.get(name) is not None}


def _model(name: str, more_help: str = "", newest: str = "run", **more: Any) -> Callable[[F], F]:
    return section("Model")(
        "-m",
        "--model",
        name,
        metavar="MODEL",
        shell_complete=complete_runs,
        help=f"A run's name, its folder, or a .npz file.{more_help} [default: newest {newest}]",
        **more,
    )


_SHARED: dict[str, Any] = {"envvar": "CHARRNN_MODEL", "show_envvar": True}


def model_option(function: F) -> F:
    """Add `-m`: which model a command uses."""
    return _model("model_path", **_SHARED)(function)


def classifier_option(function: F) -> F:
    """Add `-m`: which classifier a command uses. CHARRNN_MODEL does not set it, since that names a language model."""
    return _model("model_path", newest="classifier")(function)


def models_option(more_help: str) -> Callable[[F], F]:
    """Add `-m`, which may be given several times: the models that a command uses; `more_help` says how."""
    return _model("models", f" {more_help}", multiple=True, **_SHARED)


def run_argument(name: str = "run", *, several: bool = False) -> Callable[[F], F]:
    """Add the argument RUN, which names the model, or several ones, as `-m` does."""
    metavar, nargs = ("[RUN]...", -1) if several else ("[RUN]", 1)
    return click.argument(name, metavar=metavar, nargs=nargs, required=False, shell_complete=complete_runs)


def either(argument: str, option: str) -> Conflict:
    """Return the conflict between the argument RUN and `-m`, by their names in Python."""
    return Conflict("RUN and -m both name the model: give one of them", (argument, option))


def unknown_option(default: str) -> Callable[[F], F]:
    """Add `--unknown`: what to do with characters that the vocabulary lacks."""
    return section("Text")(
        "--unknown",
        type=OneOf(UNKNOWN_POLICIES),
        default=default,
        show_default=True,
        help="What to do with characters that the model does not know.",
    )


def memory_options(function: F) -> F:
    """Add `--memory` and `--memory-from`: how far back a model looks, and what it has read before."""
    add = section("Memory")
    function = add(
        "--memory-from",
        metavar="FILE",
        shell_complete=complete_files,
        help="A text that fills the memory first. [default: it starts empty]",
    )(function)
    return add(
        "--memory",
        type=WholeNumber(0, MOST_MEMORY),
        metavar="N",
        help="Look back at the last N characters for similar passages. 0: off. [default: as fitted in training]",
    )(function)


def ngram_options(function: F) -> F:
    """Add `--with-ngram` and `--adaptive`: n-gram models that are mixed with the model."""
    add = section("Memory")
    function = add("--adaptive", is_flag=True, help="With --with-ngram: also count what the model reads.")(function)
    return add("--with-ngram", is_flag=True, help="Mix the model with an n-gram model of its training text; slower.")(
        function
    )


def threads_option(group: str) -> Callable[[F], F]:
    """Add `--threads`, with the limits of `train --threads`, to this section of the help."""
    limits = TrainConfig.__dataclass_fields__["threads"].metadata
    return section(group)(
        "--threads",
        type=WholeNumber(limits["low"], limits["high"]),
        metavar="N",
        help="CPU cores; the output is the same for any number. [default: all]",
    )


def csv_option(function: F) -> F:
    """Add `--csv`: print CSV instead of a table."""
    return section("Output")("--csv", "as_csv", is_flag=True, help="Print CSV instead of a table.")(function)


def json_option(function: F) -> F:
    """Add `--json`: print one JSON object instead of a table."""
    return section("Output")("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")(
        function
    )

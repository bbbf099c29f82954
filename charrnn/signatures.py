"""Settings as keywords: their names for `help()` and completion in notebooks, and one error for a wrong name.

The fields of the settings' dataclasses are the keywords of `fit`, `sample` and others.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from inspect import Parameter
from typing import Any, TypeVar

from charrnn.config import unknown_setting

F = TypeVar("F", bound=Callable[..., Any])


def spell_out(*configs: type[Any]) -> Callable[[F], F]:
    """Give a function with `**settings` a signature that names the fields of these dataclasses, with their defaults.

    The function then also refuses any other keyword, and takes NumPy's numbers as Python's.
    Raises:  ConfigError, when it is called, for a keyword that it does not have.
    """

    def decorate(function: F) -> F:
        signature = inspect.signature(function)
        own = {name: item for name, item in signature.parameters.items() if item.kind is not Parameter.VAR_KEYWORD}
        spelled = {
            item.name: Parameter(item.name, Parameter.KEYWORD_ONLY, default=item.default, annotation=item.type)
            for config in configs
            for item in fields(config)
            if item.name not in ("vocab_size", "document_rules", "ranks")  # which text, version and `mpiexec` decide
        }
        parameters = own | {name: item for name, item in spelled.items() if name not in own}
        names = [name for name in parameters if name != "self"]

        @wraps(function)
        def call(*args: Any, **keywords: Any) -> Any:
            for name in keywords:
                if name not in names:
                    raise unknown_setting(name, names)
            return function(*map(plain, args), **{name: plain(value) for name, value in keywords.items()})

        call.__signature__ = signature.replace(parameters=list(parameters.values()))  # type: ignore[attr-defined]
        return call  # type: ignore[return-value]

    return decorate


def plain(value: Any) -> Any:
    """Return a number of NumPy, or of another library like it, as a number of Python; any other value unchanged."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value

"""What holds arrays is equal to itself alone, and has a hash: arrays have no single answer to `==`, and no hash."""

import dataclasses
import pkgutil
import typing
from collections.abc import Callable
from importlib import import_module

import numpy as np
import pytest
from fixtures_run import finish, start

import charrnn
from charrnn import checkpoint as ckpt
from charrnn.arrays import IdSource

pytestmark = pytest.mark.usefixtures("no_sync")


def test_two_loads_of_a_checkpoint_compare_and_have_a_hash(tmp_path):
    finish(start(tmp_path))
    for load in (ckpt.load, charrnn.load):
        one, other = load(tmp_path / "last.npz"), load(tmp_path / "last.npz")
        assert one == one
        assert one != other
        assert len({one, other, one}) == 2


def dataclasses_of():
    """Return every dataclass of the package."""
    modules = [import_module(module.name) for module in pkgutil.walk_packages(charrnn.__path__, "charrnn.")]
    return {
        value: module
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and dataclasses.is_dataclass(value) and value.__module__ == module.__name__
    }


def holds_arrays(kind, within=()):
    """Return whether `==` between values of this type would compare arrays; within: the types that it is a part of."""
    if typing.get_origin(kind) is Callable or kind in within:
        return False
    if kind is IdSource or np.ndarray in (kind, typing.get_origin(kind)):
        return True
    if typing.get_origin(kind) is not None or typing.get_args(kind):
        return any(holds_arrays(part, within) for part in typing.get_args(kind))
    if not isinstance(kind, type):
        return False
    if dataclasses.is_dataclass(kind) and not kind.__dataclass_params__.eq:
        return False
    if not (dataclasses.is_dataclass(kind) or hasattr(kind, "_fields")):
        return False
    return any(holds_arrays(part, (*within, kind)) for part in typing.get_type_hints(kind).values())


def test_the_search_finds_arrays_wherever_they_are():
    @dataclasses.dataclass(eq=False)
    class Identity:
        array: np.ndarray

    @dataclasses.dataclass
    class Compared:
        pairs: list[tuple[int, np.ndarray | None]]

    assert holds_arrays(Compared)
    assert holds_arrays(dict[str, Compared] | None)
    assert not holds_arrays(Identity)
    assert not holds_arrays(list[Identity])
    assert not holds_arrays(Callable[[np.ndarray], np.ndarray])


@pytest.mark.parametrize("kind", dataclasses_of(), ids=lambda kind: kind.__qualname__)
def test_no_dataclass_compares_arrays(kind):
    assert not holds_arrays(kind), f"{kind.__module__}.{kind.__qualname__} compares arrays: give it eq=False"

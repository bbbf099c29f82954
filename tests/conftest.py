"""What all tests share."""

import os

import pytest
from hypothesis import settings

from charrnn import config
from charrnn.nn import compiled
from charrnn.nn.cells import CELLS

pytest_plugins = ["fixtures_browser"]

VARIANTS = compiled.core().variants() if compiled.core() else []

# The same examples on every run and machine: a failure can be repeated, and no run fails by bad luck.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None, max_examples=50)
settings.load_profile("repeatable")


@pytest.fixture
def no_sync(monkeypatch):
    """Let nothing wait for the disk: that a save does is the matter of `test_files`."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def own_cells():
    """Forget, after the test, the cells that it registers."""
    yield
    for name in config.OWN_CELLS:
        del CELLS[name]
    config.OWN_CELLS.clear()


@pytest.fixture
def compute_by(monkeypatch):
    """Return a function that switches to "numpy", or to a variant of the compiled core, until the test ends."""
    core = compiled.core()
    chosen = core and core.variant()

    def switch(name):
        monkeypatch.setattr(compiled, "core", lambda: None if name == "numpy" else core)
        if name != "numpy":
            core.select(name)

    yield switch
    if core:
        core.select(chosen)


@pytest.fixture(params=["numpy", *VARIANTS[:1]])
def computed_by(request, compute_by):
    """Run a test by NumPy, and by the fastest variant of the compiled core that this processor can run."""
    compute_by(request.param)


@pytest.fixture(params=VARIANTS)
def variant(request, compute_by):
    """Run a test by each variant, and return its name."""
    compute_by(request.param)
    return request.param

"""Compute by NumPy, or by a variant of the compiled core."""

import pytest

from charrnn.nn import compiled

VARIANTS = compiled.core().variants() if compiled.core() else []


@pytest.fixture
def compute_by(monkeypatch):
    """Return a function that switches to "numpy" or to a variant until the test ends."""
    core = compiled.core()
    chosen = core and core.variant()

    def switch(name):
        monkeypatch.setattr(compiled, "core", lambda: None if name == "numpy" else core)
        if name != "numpy":
            core.select(name)

    yield switch
    if core:
        core.select(chosen)


@pytest.fixture(params=["numpy", *VARIANTS])
def computed_by(request, compute_by):
    """Run a test by NumPy, and by each variant of the compiled core that this processor can run."""
    compute_by(request.param)

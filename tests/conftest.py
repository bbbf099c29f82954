"""What all tests share."""

import os

import pytest
from hypothesis import settings

from charrnn import config
from charrnn.nn.cells import CELLS

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

"""Tests of `charrnn.restoration`."""

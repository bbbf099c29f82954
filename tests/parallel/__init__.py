"""Tests of `charrnn.parallel`."""

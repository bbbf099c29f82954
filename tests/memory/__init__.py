"""Tests of `charrnn.memory`."""

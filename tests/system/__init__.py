"""Tests of `charrnn.system`."""

"""Tests of `charrnn.data`."""

"""Tests of `charrnn.serve`."""

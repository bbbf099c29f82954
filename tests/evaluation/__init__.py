"""Tests of `charrnn.evaluation`."""

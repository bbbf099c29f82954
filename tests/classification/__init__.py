"""Tests of `charrnn.classification`."""

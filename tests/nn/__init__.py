"""Tests of `charrnn.nn`."""

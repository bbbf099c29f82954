"""Tests of `charrnn.training`."""

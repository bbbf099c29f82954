"""Tests of `charrnn.interop`."""

"""Measure speed against PyTorch, and against the matrix products alone, which no implementation can avoid."""

"""The machine: files that are never half-written, the BLAS, and the processor."""

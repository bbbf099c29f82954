"""The machine: files that are never half-written, the BLAS, the processor."""

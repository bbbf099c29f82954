"""How good models get in a given time: makes docs/results.md with the real commands."""

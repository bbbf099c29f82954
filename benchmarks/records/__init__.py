"""How good models get in so many minutes with nothing else chosen: docs/results.md, made by the real commands."""

"""Training runs, in memory and on disk."""

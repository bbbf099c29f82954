"""Samples from models of real texts, and how many are correct: makes docs/samples.md with the real commands."""

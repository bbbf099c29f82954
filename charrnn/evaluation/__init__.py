"""Evaluation: scores of a text, or of many lines."""

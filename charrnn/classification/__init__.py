"""Texts and their labels: reading and splitting them, training a classifier, its predictions and its metrics."""

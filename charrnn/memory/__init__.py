"""Predict characters from remembered text instead of learned weights.

`ngram` counts a text, and is the baseline that a network has to beat. Caches of recent hidden states and the mixing of
such models with a network belong here too.
"""

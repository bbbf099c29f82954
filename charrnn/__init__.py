"""Character-level language models in NumPy."""

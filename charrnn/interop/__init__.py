"""Models of other libraries: weights to and from PyTorch."""

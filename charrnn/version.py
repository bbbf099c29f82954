"""The version of the package, recorded in checkpoints and signatures."""

__version__ = "0.8.0"

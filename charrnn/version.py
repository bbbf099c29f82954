"""The version of the package, which checkpoints and signatures record."""

__version__ = "0.2.0"

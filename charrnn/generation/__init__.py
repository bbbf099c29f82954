"""Text that a model writes."""

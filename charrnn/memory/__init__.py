"""Models that remember a text by counting it."""

"""How well a model predicts a text, or many lines."""

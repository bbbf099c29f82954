"""Training on more cores: a model of its time, from parts that are measured here."""

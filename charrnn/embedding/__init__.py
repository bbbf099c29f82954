"""A vector for each line, from a model's hidden states, and the lines whose vectors are nearest."""

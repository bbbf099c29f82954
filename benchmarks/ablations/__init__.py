"""The gain and cost of each choice in the recipe, on real texts."""

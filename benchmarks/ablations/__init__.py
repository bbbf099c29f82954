"""What each choice of the recipe buys and costs, on real texts."""

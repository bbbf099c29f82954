"""What a model learns, as arrays and figures: learning curves, surprise, neurons, reach, and reports of runs."""

"""The mathematics of recurrent nets, in NumPy alone."""

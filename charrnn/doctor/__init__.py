"""Measure how fast this machine trains, or the ranks that `mpiexec` started, and say what would make it faster."""

"""The tests of the command line: one file for each command, and what they have in common."""

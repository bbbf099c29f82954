"""What all tests share."""

from hypothesis import settings

# The same examples on every run and machine: a failure can be repeated, and no run fails by bad luck.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None, max_examples=50)
settings.load_profile("repeatable")

"""The limits of requests, from which options of `charrnn serve` are made. Imports no NumPy."""

from __future__ import annotations

from dataclasses import dataclass

from charrnn.config import setting

_LIMITS = "Limits of a request"  # the section of their options in the help


@dataclass(frozen=True)
class Limits:
    """The limits of one request, and of how many are served at once.

    chars     characters of a prime or of a text to complete, and characters to draw
    seconds   time of a request; then a sample is cut off, and any other request is refused
    requests  requests at the same time, including those that wait
    """

    chars: int = setting(
        10_000,
        _LIMITS,
        "The most characters of a prime or text in a request, and of a sample that it asks for.",
        low=1,
        flags=("--max-chars",),
    )
    seconds: float = setting(
        60.0,
        _LIMITS,
        "The longest that a request may take; a sample is then cut off.",
        low=0,
        open_low=True,
        flags=("--max-seconds",),
    )
    requests: int = setting(
        256,
        _LIMITS,
        "The most requests at once, including those that wait; others are asked to retry.",
        low=1,
        flags=("--max-requests",),
    )

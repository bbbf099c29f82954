"""The limits of requests, from which options of `charrnn serve` are made. Imports no NumPy."""

from __future__ import annotations

from dataclasses import dataclass

from charrnn.config import setting

_LIMITS = "Limits"  # the section of their options in the help


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
        "Maximum characters of a prime, a text or a sample in one request.",
        low=1,
        flags=("--max-chars",),
    )
    seconds: float = setting(
        60.0,
        _LIMITS,
        "Maximum seconds for a request; a sample is then cut off.",
        low=0,
        open_low=True,
        flags=("--max-seconds",),
    )
    requests: int = setting(
        256,
        _LIMITS,
        "Maximum requests at a time, including waiting ones; more are refused with status 503.",
        low=1,
        flags=("--max-requests",),
    )

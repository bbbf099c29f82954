"""The end of a sample at a stop string, while its text is shown as it grows."""

from __future__ import annotations

from itertools import repeat


class StopBuffer:
    """Keeps back the end of a growing text while it may belong to a stop string."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops, self._held = stops, ""

    def push(self, text: str) -> str:
        """Add to the text, and return the characters that can no longer be part of a stop string."""
        if not self._stops:
            return text
        held = self._held + text
        certain = len(held) - max(map(self._overlap, self._stops, repeat(held)))
        self._held = held[certain:]
        return held[:certain]

    def finish(self, ended: str) -> str:
        """Return the rest, without the stop string if one ended the text."""
        cut = max(len(stop) for stop in self._stops if self._held.endswith(stop)) if ended == "stop" else 0
        return self._held[: len(self._held) - cut]

    @staticmethod
    def _overlap(stop: str, text: str) -> int:
        """Return how many characters at the text's end are the start of a stop string, or all of it."""
        sizes = range(min(len(stop), len(text)), 0, -1)
        return next((size for size in sizes if text.endswith(stop[:size])), 0)

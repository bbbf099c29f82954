"""Ctrl-C and SIGTERM: at once while there is nothing to save, at the next event of a run once there is."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any


class Interrupted(KeyboardInterrupt):
    """A signal that ends the command at once; the command's exit code is 128 + signum."""

    def __init__(self, signum: int) -> None:
        super().__init__()
        self.signum = signum


class StopSignals:
    """While entered, notes the first signal if `patient`, and raises `Interrupted` on any other.

    received  the signal that asked for a stop, or None
    patient   whether there is a run that wants to finish its step and save
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.patient = False

    def __enter__(self) -> StopSignals:
        self._earlier: dict[int, Any] = {
            number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *_: object) -> None:
        if self.received is None:
            for number, handler in self._earlier.items():
                signal.signal(number, handler)
        else:
            self._ignore()  # the command is ending: impatience must not cut that short

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        first = self.received is None
        self.received = self.received or signum
        if not (self.patient and first):
            self._ignore()
            raise Interrupted(signum)

    def _ignore(self) -> None:
        for number in self._earlier:
            signal.signal(number, signal.SIG_IGN)

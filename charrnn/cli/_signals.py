"""Handle Ctrl-C and SIGTERM: stop at once, or, while a run has something to save, at its next event."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any


class Interrupted(KeyboardInterrupt):
    """Raised by a signal to end the command at once, with exit code 128 + signum."""

    def __init__(self, signum: int) -> None:
        super().__init__()
        self.signum = signum


class StopSignals:
    """A context that raises `Interrupted` on a signal; while `patient`, it only notes the first one.

    received  the signal that was received, or None
    patient   True: a run is training, and should finish its step and save before it stops
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
            self._ignore()  # the command is ending: another signal must not cut that short

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        first = self.received is None
        self.received = self.received or signum
        if not (self.patient and first):
            self._ignore()
            raise Interrupted(signum)

    def _ignore(self) -> None:
        for number in self._earlier:
            signal.signal(number, signal.SIG_IGN)

"""Handle signals: stop at once, or, while a run has something to save, at its next event; or save and continue."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

from charrnn.system.signals import SAVING, STOPPING


class Interrupted(KeyboardInterrupt):
    """Raised by a signal to end the command at once, with exit code 128 + signum."""

    def __init__(self, signum: int) -> None:
        super().__init__()
        self.signum = signum


class StopSignals:
    """A context that raises `Interrupted` on a signal that stops; while `patient`, it only notes the first one.

    Signals that are ignored stay ignored: those that `nohup` or a background job in a script was started without.

    received   the signal that was received, or None
    patient    True: a run is training, and should finish its step and save before it stops
    saves_for  the newest signal since the last save that asks to save and continue; None where nothing is trained
    """

    def __init__(self, *, saves: bool = False) -> None:
        self.received: int | None = None
        self.patient = False
        self.saves_for: int | None = None
        self._saving = SAVING if saves else ()

    def __enter__(self) -> StopSignals:
        handlers = dict.fromkeys(STOPPING, self._stop) | dict.fromkeys(self._saving, self._save)
        self._earlier: dict[int, Any] = {
            number: signal.signal(number, handler)
            for number, handler in handlers.items()
            if signal.getsignal(number) is not signal.SIG_IGN
        }
        return self

    def __exit__(self, *_: object) -> None:
        if self.received is None:
            for number, handler in self._earlier.items():
                signal.signal(number, handler)
        else:
            self._ignore()  # the command is ending: another signal must not cut that short

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        first = self.received is None
        self.received = self.received or signum
        if not (self.patient and first):
            self._ignore()
            raise Interrupted(signum)

    def _save(self, signum: int, frame: FrameType | None) -> None:
        self.saves_for = signum

    def _ignore(self) -> None:
        for number in self._earlier:
            signal.signal(number, signal.SIG_IGN)

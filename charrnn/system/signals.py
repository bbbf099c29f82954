"""The signals that a training run answers, as far as the system has them: Windows has only the first two."""

from __future__ import annotations

import signal


def _existing(*names: str) -> tuple[signal.Signals, ...]:
    return tuple(signal.Signals[name] for name in names if name in signal.Signals.__members__)


#: Those with which a user, a scheduler or a lost terminal stops a program.
STOPPING = _existing("SIGINT", "SIGTERM", "SIGHUP", "SIGXCPU")
#: Those that make a run save and continue: schedulers send them some time before they end a job.
SAVING = _existing("SIGUSR1", "SIGUSR2")
#: That with which Ctrl-Z pauses a program.
PAUSING = _existing("SIGTSTP")

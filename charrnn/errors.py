"""Errors that a user can fix, and the exit codes of the command.

Every error that a user can cause is a `CharRNNError` with a one-line message: what is wrong, where, and what to do.
"""

from __future__ import annotations

import errno
from typing import Self

#: The exit code of an error that may pass: the same command can succeed later.
MAY_PASS = 1
#: The exit code of an error that recurs until the user changes the command or its input.
RECURS = 2

#: The message of a training that ran out of memory.
NO_MEMORY = "not enough memory: use a smaller --hidden-size, --batch-size or --seq-len"

#: Errors of the system that recur: the path is wrong or closed to the user, or the file cannot be there.
_RECURRING = {
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL),
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EFBIG),
    errno.EBADF,  # a standard stream that the program which started this one has closed
}


class CharRNNError(Exception):
    """A problem that the user can fix: bad input, a full disk, a run that diverged.

    exit_code  of the command: RECURS unless the error may pass
    """

    def __init__(self, message: str, exit_code: int = RECURS) -> None:
        super().__init__(message)
        self.exit_code = exit_code

    @classmethod
    def of(cls, error: OSError, what: str, alternative: str = "", comfort: str = "") -> Self:
        """Return the error for one of the system's: what cannot be done, the cause, and a remedy.

        alternative  as for `cause`; comfort: added at the end
        """
        return cls(f"{what}: {cause(error, alternative)}{comfort}", exit_code_of(error))


class ConfigError(CharRNNError):
    """A setting out of range, or two settings that conflict."""


class UnknownCellError(ConfigError):
    """A cell that is neither built in nor registered."""


class CorpusError(CharRNNError):
    """A text that cannot be read or cannot be trained on."""


class OtherTextError(CorpusError):
    """A text other than the one that a model was trained on."""


class VocabError(CharRNNError):
    """A character outside the vocabulary, or a vocabulary that is not valid."""


class CheckpointError(CharRNNError):
    """A checkpoint that is missing, damaged or of another format, or that cannot be written."""


class RunFolderError(CharRNNError):
    """A run folder that is in use, already has a run, or has nothing to resume from."""


class MissingExtraError(CharRNNError):
    """A feature whose packages are not installed.

    feature  what needs them; packages: their names; extra: of `pip install "charrnn-numpy[extra]"`
    """

    def __init__(self, feature: str, packages: str, extra: str) -> None:
        super().__init__(f'{feature} needs {packages}: pip install "charrnn-numpy[{extra}]"')


class DivergedError(CharRNNError):
    """Training that diverged.

    cause  what showed it, such as "the loss is no longer finite"
    step   the step that diverged
    tried  what did not help
    """

    def __init__(self, cause: str, step: int, tried: str = "") -> None:
        super().__init__(
            f"{cause} at step {step:,}{tried}: checkpoints saved before are intact; start again with a lower "
            "--learning-rate, and with --clip-norm 1 if it is 0"
        )
        self.cause, self.step = cause, step


#: What to do about errors of a process, whatever file they are about.
_REMEDIES = {
    errno.EMFILE: "raise the limit on open files (`ulimit -n`)",
    errno.ENFILE: "close other programs: the system has too many files open",
    errno.EAGAIN: "raise the limit on processes (`ulimit -u`)",
    errno.ENOMEM: "free memory",
}
#: What to do about errors of the place that a file is in.
_LOCAL_REMEDIES = {
    errno.ENOSPC: "free space there",
    errno.EDQUOT: "free space there",
    errno.EFBIG: "raise the limit on file sizes (`ulimit -f`)",
    errno.EACCES: "change the permissions there",
    errno.EPERM: "change the permissions there",
}


def cause(error: OSError, alternative: str = "") -> str:
    """Return the words of an operating-system error and, where one is known, a remedy.

    alternative: what else to do if the error is about the place of a file
    """
    words = error.strerror or str(error) or type(error).__name__
    if (number := error.errno) in _REMEDIES:
        return f"{words}: {_REMEDIES[number]}"
    remedies = filter(None, [_LOCAL_REMEDIES.get(number or 0), alternative])
    return ": ".join(filter(None, [words, ", or ".join(remedies)]))


def described(error: OSError) -> str:
    """Return the file that an operating-system error names, if it does, and the cause."""
    return cause(error) if error.filename is None else f"{error.filename}: {cause(error)}"


def exit_code_of(error: OSError) -> int:
    """Return the exit code of an operating-system error; one that is not known here may pass."""
    return RECURS if error.errno in _RECURRING else MAY_PASS


#: The exit codes of the command, shown by `charrnn --help`.
EXIT_CODES: dict[int, str] = {
    0: "done",
    MAY_PASS: "an error that may pass: a full disk, too little memory, a folder in use",
    RECURS: "an error that recurs: wrong usage, bad input, a run that diverged",
    129: "stopped by SIGHUP; `train` saves first",
    130: "stopped by Ctrl-C; `train` saves first",
    143: "stopped by SIGTERM; `train` saves first",
    152: "stopped by SIGXCPU; `train` saves first",
}

"""Errors that a user can fix, and the exit codes of the command.

Every error that a user can cause is a `CharRNNError` with a one-line message: what is wrong, where, and what to do.
"""

from __future__ import annotations


class CharRNNError(Exception):
    """A problem that the user can fix: bad input, a full disk, a run that diverged."""

    exit_code = 1


class ConfigError(CharRNNError):
    """A setting out of range, or two settings that contradict each other."""

    exit_code = 2


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


class DivergedError(CharRNNError):
    """A loss or gradient that is not a finite number."""


#: The exit codes of the command, shown by `charrnn --help`.
EXIT_CODES: dict[int, str] = {
    0: "done",
    1: "an error: bad input, a damaged file, a full disk, a run that diverged",
    2: "a usage error: an unknown option, a value out of range, options that contradict each other",
    130: "stopped by Ctrl-C; a training run has saved what it had",
    143: "stopped by SIGTERM; a training run has saved what it had",
}

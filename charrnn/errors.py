"""What can go wrong, and with which exit code the command then ends.

Every error that a user can cause is a `CharRNNError` whose text is one line: what is wrong, where, and what to do.
"""

from __future__ import annotations


class CharRNNError(Exception):
    """Something the user can mend: bad input, a full disk, a run that diverged."""

    exit_code = 1


class ConfigError(CharRNNError):
    """A setting that makes no sense, or two that contradict each other."""

    exit_code = 2


class CorpusError(CharRNNError):
    """A text that cannot be read or cannot be trained on."""


class OtherTextError(CorpusError):
    """A text that is not the one that a model was trained on."""


class VocabError(CharRNNError):
    """A character that the vocabulary lacks, or a vocabulary that is none."""


class CheckpointError(CharRNNError):
    """A checkpoint that is missing, damaged, of another kind, or cannot be written."""


class RunFolderError(CharRNNError):
    """A run's folder that is taken, locked, or holds nothing to go on from."""


class DivergedError(CharRNNError):
    """A loss or gradient that is no longer a finite number."""


#: The exit codes of the command: `charrnn --help` shows this table.
EXIT_CODES: dict[int, str] = {
    0: "done",
    1: "an error: bad input, a damaged file, a full disk, a run that diverged",
    2: "a usage error: an unknown option, a value out of range, options that contradict each other",
    130: "stopped by Ctrl-C; a training run has saved what it had",
    143: "stopped by SIGTERM; a training run has saved what it had",
}

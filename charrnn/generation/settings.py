"""The settings of samples, of beam search and of completions, from which the options of the commands are made.

This module imports no NumPy, so `--help` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from charrnn.config import limit_of, setting
from charrnn.errors import ConfigError

MOST_LENGTH = 10**12  # characters of a sample
MOST_WINDOW = 100_000  # characters that a penalty looks back on; each sample keeps them
MOST_WIDTH, MOST_NORM = 1000, 10  # hypotheses of a beam, and the power of the length in its score
MOST_COMPLETED = 10_000  # characters of a completion
MOST_COMPLETIONS = 1000  # completions of a text
#: The units that complete a text, with the default length at which a completion is cut off.
GOALS = {"char": 1, "word": 32, "line": 200}

_ENDS, _DRAWN = "Length", "Sampling"
_WHOLE, _SEVERAL, _FOUND = "Constraints", "Several samples", "Completions"
_TEMPERATURE = "temperature must be finite and at least 0; top_k must be at least 0"
_SHARES = "top_p must be greater than 0 and at most 1; min_p must be 0 to 1"
_PENALTY = f"repeat_penalty must be finite and greater than 0; repeat_window must be 1 to {MOST_WINDOW:,}"
_LENGTH = f"length must be 0 to {MOST_LENGTH:,} characters; lines must be at least 0"
_COUNTS = "count and best_of must be at least 1; novel must be at least 0"
_BEAM = f"a beam must be 1 to {MOST_WIDTH:,} wide; its length norm must be 0 to {MOST_NORM}"
_COMPLETION = f"--max-length must be 1 to {MOST_COMPLETED:,}, for words and lines only: change it, or leave it out"

#: Conflicting settings of a sample and of a completion, with the errors that report them.
SAMPLE_CONFLICTS = tuple(
    (
        ("regex", name),
        "--regex cannot be combined with --stop or --lines, which would cut off a match: give one of them",
    )
    for name in ("stop", "lines")
)
COMPLETION_CONFLICTS = ((("to=char", "max_length"), _COMPLETION),)


_KINDS: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,)}
_WORDS = {"int": "a whole number", "float": "a number", "str": "a string"}


def _check(config: Any) -> None:
    """Raise ConfigError if a value has the wrong type, or, with the rule of its field, if it is out of range."""
    for item in fields(config):
        value, meta, type_ = getattr(config, item.name), item.metadata, str(item.type)
        if value is None and type_.endswith("| None"):
            continue
        kind = type_.split(" ")[0]
        if kind in _KINDS and (isinstance(value, bool) or not isinstance(value, _KINDS[kind])):
            hint = ": give the text to continue as prime" if item.name == "length" and isinstance(value, str) else ""
            raise ConfigError(f"{item.name} must be {_WORDS[kind]}, got {value!r}{hint}")
        if "rule" not in meta:
            continue
        if value not in meta["choices"] if meta["choices"] else limit_of(value, meta):
            raise ConfigError(meta["rule"].format(value=value))


@dataclass(frozen=True)
class Filters:
    """The settings of the filters. By default, only the temperature has an effect.

    temperature     divides the logits; 0 keeps only the most likely id
    top_k           keep this many of the most likely ids, and ties with the last; 0: all
    top_p           keep the fewest most likely ids that have this share of the probability; 1: all
    min_p           drop ids with less than this share of the most likely id's probability
    repeat_penalty  divide by this the probability of ids among the last `repeat_window` characters
    Raises:         ConfigError for a value out of range.
    """

    temperature: float = setting(
        0.8,
        _DRAWN,
        "Randomness; 0 always takes the most likely character.",
        low=0,
        flags=("--temp", "--temperature"),
        rule=_TEMPERATURE,
    )
    top_k: int = setting(0, _DRAWN, "Keep the N most likely characters; 0: all.", low=0, rule=_TEMPERATURE)
    top_p: float = setting(
        1.0,
        _DRAWN,
        "Keep the fewest characters with total probability X.",
        low=0,
        high=1,
        open_low=True,
        rule=_SHARES,
    )
    min_p: float = setting(
        0.0,
        _DRAWN,
        "Drop characters with less than X times the highest probability.",
        low=0,
        high=1,
        rule=_SHARES,
    )
    repeat_penalty: float = setting(
        1.0,
        _DRAWN,
        "Divide the probability of recent characters by X.",
        low=0,
        open_low=True,
        rule=_PENALTY,
    )
    repeat_window: int = setting(
        64, _DRAWN, "Number of recent characters for --repeat-penalty.", low=1, high=MOST_WINDOW, rule=_PENALTY
    )

    def __post_init__(self) -> None:
        _check(self)

    @property
    def window(self) -> int:
        """Return how many of the last ids the filters need."""
        return self.repeat_window if self.repeat_penalty != 1 else 0


@dataclass(frozen=True)
class SampleConfig(Filters):
    """The settings of a sample: the filters, what ends it, and the constraints on all of it.

    length   characters to draw; None: unlimited
    lines    line ends to draw; 0: unlimited
    stop     strings that end a sample, and are not part of it
    regex    a regular expression that every sample matches in full
    charset  the characters that may be drawn, as between [ and ] in a regular expression
    unknown  what to do with characters of a prime that the vocabulary lacks: "error" or "skip"
    Raises:  ConfigError for a value out of range, or two that conflict.
    """

    length: int | None = setting(
        500,
        _ENDS,
        "Characters to generate; -1: unlimited. [default: 500]",
        low=0,
        high=MOST_LENGTH,
        flags=("-n", "--length"),
        flag_low=-1,
        rule=_LENGTH,
    )
    lines: int = setting(0, _ENDS, "Generate N lines; -n is then unlimited.", low=0, flag_low=1, rule=_LENGTH)
    stop: tuple[str, ...] = setting((), _ENDS, "Stop before this text. May be repeated.", metavar="STRING")
    regex: str | None = setting(
        None,
        _WHOLE,
        "Generate full matches of this regular expression.",
        metavar="PATTERN",
    )
    charset: str | None = setting(
        None,
        _WHOLE,
        "Generate only these characters, such as 'a-z .'",
        metavar="CHARS",
    )
    unknown: str = "error"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.stop, (tuple, list)) or not all(isinstance(stop, str) for stop in self.stop):
            raise ConfigError(f"stop must be a tuple of strings, got {self.stop!r}")
        if "" in self.stop:
            raise ConfigError("--stop must have at least one character: leave it out, or give a text")
        object.__setattr__(self, "stop", tuple(self.stop))
        for names, message in SAMPLE_CONFLICTS:
            if all(getattr(self, name) not in (None, (), 0) for name in names):
                raise ConfigError(message)


@dataclass(frozen=True, eq=False)
class DrawConfig:
    """The settings of drawing several samples and keeping some of them.

    count    samples for each prime
    best_of  draw this many for each sample, and keep the one with the fewest bits per character
    novel    redraw a sample that copies this many consecutive characters of a corpus; 0: redraw none
    Raises:  ConfigError for a value out of range.
    """

    count: int = setting(1, _SEVERAL, "Generate N samples, or N for each prime.", low=1, rule=_COUNTS)
    best_of: int = setting(1, _SEVERAL, "Draw N times for each sample and keep the most likely.", low=1, rule=_COUNTS)
    novel: int = setting(
        0,
        _WHOLE,
        "Redraw samples that copy N consecutive characters of the corpus.",
        low=0,
        flag_low=1,
        rule=_COUNTS,
    )

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, eq=False)
class BeamConfig:
    """The settings of a beam search.

    width        hypotheses that are kept at each step
    length_norm  the score is the log-probability divided by the length to this power
    Raises:      ConfigError for a value out of range.
    """

    width: int = setting(
        1,
        _SEVERAL,
        "Use beam search with K candidates instead of sampling.",
        low=1,
        high=MOST_WIDTH,
        flags=("--beam",),
        flag_low=1,
        metavar="K",
        rule=_BEAM,
    )
    length_norm: float = setting(
        1.0,
        _SEVERAL,
        "With --beam: divide log-probabilities by length ** X. [default: 1; 0 for a model of --context]",
        low=0,
        high=MOST_NORM,
        flag_low=0,
        rule=_BEAM,
    )

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, eq=False)
class CompletionConfig:
    """The settings of a completion.

    to          "char": the next character; "word" or "line": its rest
    count       completions, at most
    max_length  characters at which a completion is cut off; None: the default of `GOALS`
    Raises:     ConfigError for a value out of range, or two that conflict.
    """

    to: str = setting(
        "word",
        _FOUND,
        "What to complete.",
        choices=tuple(GOALS),
        rule=f"to must be one of {', '.join(GOALS)}, got {{value!r}}",
    )
    count: int = setting(
        5,
        _FOUND,
        "Show the K most likely completions.",
        low=1,
        high=MOST_COMPLETIONS,
        flags=("-k", "--count"),
        metavar="K",
        rule=f"count must be 1 to {MOST_COMPLETIONS:,}, got {{value}}",
    )
    max_length: int | None = setting(
        None,
        _FOUND,
        "Cut off after N characters. [default: 32; line: 200]",
        low=1,
        high=MOST_COMPLETED,
        rule=_COMPLETION,
    )

    def __post_init__(self) -> None:
        _check(self)
        if self.to == "char" and self.max_length is not None:
            raise ConfigError(_COMPLETION)

"""The settings of a model, of its text and of its training, as three frozen dataclasses.

Each field carries its help text and its limits as metadata. The options of the command are made from the fields, so a
flag and its field always agree. This module imports no NumPy, so `--help` is quick.
"""

from __future__ import annotations

import codecs
import inspect
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import Field, asdict, dataclass, field, fields
from itertools import combinations
from typing import Any, NamedTuple, TypeVar

from charrnn.errors import ConfigError, UnknownCellError
from charrnn.wording import broken_limit, choice_hint, did_you_mean, in_words, likely

STDIN = "-"  # the path that means standard input
AUTO = "auto"  # the default, in the help, of a setting that the recipe chooses by text and time
#: The built-in cells: each is the file of this name in `nn/cells`.
CELL_NAMES = ("rnn", "lstm", "gru", "lnlstm", "lnmlstm", "mlstm", "mingru")
#: The names of a user's own cells, which `register_cell` adds.
OWN_CELLS: set[str] = set()
INIT_NAMES = ("orthogonal", "glorot", "uniform", "he", "gaussian")
SCHEDULE_NAMES = ("constant", "exponential", "step", "cosine")
#: The optimizers, with their defaults for settings that are not given.
OPTIMIZER_DEFAULTS = {
    "sgd": {"learning_rate": 1.0, "weight_decay": 0.0},
    "rmsprop": {"learning_rate": 2e-3, "weight_decay": 0.0},
    "adagrad": {"learning_rate": 3e-2, "weight_decay": 0.0},
    "adam": {"learning_rate": 8e-3, "weight_decay": 0.0},
    "adamw": {"learning_rate": 8e-3, "weight_decay": 1e-2},
}
DTYPE_NAMES = ("float32", "float64")
UNKNOWN_POLICIES = ("error", "skip")
PROTOCOLS = ("whole", "windows", "lanes")
MOST_MEMORY = 10_000_000  # characters that a model can look back at
POOLS = ("max", "mean", "last")
NORMAL_FORMS = ("none", "NFC", "NFKC")
DOCUMENT_WAYS = ("lines", "blank-lines", "files")
DEFAULT_MINUTES = 5.0
LENGTHS = ("steps", "epochs", "minutes")
#: Settings that make no sense with bytes, and settings that need documents.
OF_CHARACTERS = ("encoding", "normalize", "lowercase", "min_count", "field")
_OF_DOCUMENTS = ("context", "shuffle_documents", "val_documents", "test_documents")

#: The sections of `charrnn train --help`, in their order.
SECTIONS = ("Model", "Length", "Training", "Text", "Files")

T = TypeVar("T")


def setting(
    default: Any,
    group: str,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    open_ends: bool = False,
    choices: tuple[str, ...] = (),
    decides: str = "characters",
    **more: Any,
) -> Any:
    """Return a dataclass field with its section in the help, its help text and the values it may take.

    group      "" for a field that checkpoints keep but no option sets
    open_ends  low and high themselves are not allowed
    decides    what a setting of a text decides: which "characters" a file has, how they are "split", the "symbols", or
               the "order" in which a model reads them, or the "targets", which are predicted
    more       recipe: the default under a time budget, in the help. open_low: low itself is not allowed. rule: the
               error for a value out of range. flags, metavar, flag_low: the option's flags, placeholder and least
               value, where they do not follow from the rest. otherwise: what to do instead of giving a value that
               resembles none of the choices
    """
    limits = {"low": low, "high": high, "open_ends": open_ends, "choices": choices}
    return field(default=default, metadata={"group": group, "help": help, "decides": decides, **limits, **more})


def _check(config: ModelConfig | ClassifierConfig | TextConfig | TrainConfig) -> None:
    """Raise ConfigError if a value is outside the limits of its field."""
    for item in fields(config):
        value: Any = vars(config)[item.name]
        meta = item.metadata
        if not meta or (value is None and str(item.type).endswith("| None")):
            continue
        flag = flag_of(item.name)
        if meta["choices"]:
            if item.name == "cell":
                _check_cell(value)
            elif value not in meta["choices"]:
                hint = choice_hint(str(value), meta["choices"], meta.get("otherwise", ""))
                raise ConfigError(f"{flag} must be {in_words(meta['choices'], 'or')}, got {value!r}{hint}")
            continue
        if item.type == "bool":
            if not isinstance(value, bool):
                raise ConfigError(f"{flag} must be True or False, got {value!r}")
            continue
        if item.type.startswith("str"):
            if not isinstance(value, str) or not value:
                raise ConfigError(f"{flag} must be a non-empty string, got {value!r}")
            continue
        wanted: tuple[type[int] | type[float], ...] = (int,) if item.type.split(" ")[0] == "int" else (int, float)
        if isinstance(value, bool) or not isinstance(value, wanted):
            raise ConfigError(f"{flag} must be {'a whole number' if wanted == (int,) else 'a number'}, got {value!r}")
        if limit := limit_of(value, meta):
            raise ConfigError(f"{flag} must be {limit}, got {value}")


def _check_cell(name: Any) -> None:
    """Raise UnknownCellError if a cell is neither built in nor registered."""
    if not isinstance(name, str):
        raise ConfigError("--cell takes a name: register the cell with charrnn.register_cell(name, cell)")
    if name not in CELL_NAMES and name not in OWN_CELLS:
        known = in_words((*CELL_NAMES, *sorted(OWN_CELLS)), "or")
        raise UnknownCellError(f"--cell must be {known}, got {name!r}; for a cell of your own, {how_to_register(name)}")


def how_to_register(cell: str) -> str:
    """Return what a user does so that a cell of this name is registered.

    The name may come from a file, so only the user imports a module: a checkpoint can never make charrnn run code.
    """
    module, colon, name = cell.partition(":")
    if colon:
        return f"give --import {module} (in Python: charrnn.register_cell({cell!r}, {module}.{name}))"
    return "import the module that calls charrnn.register_cell (on the command line: --import MODULE)"


def limit_of(value: float, meta: Any) -> str | None:
    """Return in words what a number must be, if it breaks the limits of a field; else None."""
    open_low = meta["open_ends"] or meta.get("open_low", False)
    return broken_limit(value, meta["low"], meta["high"], open_low=open_low, open_high=meta["open_ends"])


def _defaults_in_words(name: str) -> str:
    """Return each default of a setting with the optimizers that have it."""
    optimizers: dict[float, list[str]] = {}
    for optimizer, values in OPTIMIZER_DEFAULTS.items():
        optimizers.setdefault(values[name], []).append(optimizer)
    return ", ".join(f"{value:g} for {in_words(names, 'and')}" for value, names in optimizers.items())


def flag_of(name: str) -> str:
    """Return the option that sets the field of this name."""
    return "--" + name.replace("_", "-")


def option_words(name: str, value: object) -> list[str]:
    """Return the words of a command line that set the field of this name to this value."""
    flag = flag_of(name)
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    return [f"{flag}={value}"] if str(value).startswith("-") else [flag, str(value)]


def train_words(paths: Sequence[str], options: Mapping[str, object], *, classifier: bool = False) -> list[str]:
    """Return the words of a command line that trains on these paths with these options by name."""
    command = ["charrnn", "classify", "train"] if classifier else ["charrnn", "train"]
    words = [*command, *(f"./{path}" if path.startswith("-") and path != STDIN else path for path in paths)]
    return words + [word for name, value in options.items() for word in option_words(name, value)]


def exclusive(remedy: str, *names: str) -> list[tuple[tuple[str, ...], str]]:
    """Return the conflicts between any two or more of these settings, with their errors; larger ones first."""
    return [
        (some, f"{' and '.join(map(flag_of, some))} cannot be combined: {remedy}")
        for size in range(len(names), 1, -1)
        for some in combinations(names, size)
    ]


#: Settings that conflict if all of them are given, and the errors that say so.
CONFLICTS = (
    *exclusive("give one length", *LENGTHS),
    (("split_documents", "separator"), "--split-documents and --separator cannot be combined: give one of them"),
    *(
        (("field", name), f"--field makes each record a document: leave out {flag_of(name)}")
        for name in ("split_documents", "separator")
    ),
    *((("bytes", name), f"--bytes learns files unchanged: leave out {flag_of(name)}") for name in OF_CHARACTERS),
    (("context", "reverse"), "--context needs the source before its target: leave out --reverse"),
)


def refuse_conflicts(given: Collection[str]) -> None:
    """Raise ConfigError if settings that are given conflict."""
    for names, message in CONFLICTS:
        if all(name in given for name in names):
            raise ConfigError(message)


@dataclass(frozen=True)
class ModelConfig:
    """The settings of a model: the shapes of its parameters, their initial values, and dropout.

    Raises:  ConfigError if a value makes no sense.
    """

    vocab_size: int
    cell: str = setting(
        "lstm",
        "Model",
        "Recurrent cell; mlstm is a multiplicative LSTM, ln stands for layer normalisation, MODULE:NAME is a cell of "
        "your own.",
        choices=CELL_NAMES,
        recipe="lnlstm",
    )
    hidden_size: int = setting(384, "Model", "Units in each layer.", low=1, high=1_000_000, recipe=AUTO)
    num_layers: int = setting(1, "Model", "Number of layers.", low=1, high=1000)
    embed_size: int = setting(
        0, "Model", "Size of the character embedding; 0 feeds one-hot vectors.", low=0, high=1_000_000, recipe=AUTO
    )
    tied: bool = setting(
        False, "Model", "Use the embedding as the output weights: fewer weights for large alphabets.", recipe=AUTO
    )
    attention: int = setting(
        0,
        "Model",
        "Copy from this many past positions: attention to what followed similar ones; 0 for none.",
        low=0,
        high=1_000_000,
    )
    dropout: float = setting(
        0.4, "Model", "Share of layer outputs to drop in training.", low=0.0, high=0.95, recipe=AUTO
    )
    input_dropout: float = setting(0.0, "Model", "Share of the embedding to drop in training.", low=0.0, high=0.95)
    weight_drop: float = setting(
        0.0, "Model", "Share of the recurrent weights to drop in training.", low=0.0, high=0.95, recipe=AUTO
    )
    init: str = setting("orthogonal", "Model", "Initial weights.", choices=INIT_NAMES)
    dtype: str = setting("float32", "Model", "Precision of all arrays.", choices=DTYPE_NAMES)

    def __post_init__(self) -> None:
        if isinstance(self.vocab_size, bool) or not isinstance(self.vocab_size, int) or self.vocab_size < 1:
            raise ConfigError(f"vocab_size must be a whole number of at least 1, got {self.vocab_size!r}")
        _check(self)
        if self.input_dropout and not self.embed_size:
            raise ConfigError("--input-dropout drops values of an embedding: give --embed-size too")
        if self.tied and not self.embed_size:
            raise ConfigError("--tied uses an embedding as the output weights: give --embed-size too")


@dataclass(frozen=True)
class TextConfig:
    """The settings of a text: how it is read, split into training, validation and test, and made into symbols.

    Raises:  ConfigError if a value makes no sense or two conflict.
    """

    bytes: bool = setting(False, "Text", "Learn bytes (256 symbols) instead of characters, from files of any kind.")
    encoding: str = setting(
        "utf-8", "Text", "Encoding of the text. A byte order mark at the start of a file is dropped."
    )
    normalize: str = setting("none", "Text", "Convert the text to this Unicode normal form.", choices=NORMAL_FORMS)
    lowercase: bool = setting(False, "Text", "Convert the text to lower case.")
    reverse: bool = setting(
        False, "Text", "Read the text from its end to its beginning, as `charrnn fill` needs.", decides="order"
    )
    min_count: int = setting(
        1,
        "Text",
        "Learn one unknown symbol for all characters that occur fewer times than this in the training split.",
        low=1,
        decides="symbols",
    )
    split_documents: str | None = setting(
        None,
        "Text",
        "Treat each line, block or file as a document; the model learns where documents end. Blank lines separate "
        "blocks. Documents of only white space are left out.",
        choices=DOCUMENT_WAYS,
        metavar="WAY",
        otherwise="to split at a text of your own, use --separator {}",
    )
    separator: str | None = setting(
        None,
        "Text",
        "Split the text into documents at this string, such as '<|end|>'; blank lines around it are left out. \\n, "
        "\\t and \\uXXXX are escapes, and \\\\ is a backslash.",
        metavar="STRING",
    )
    field: str | None = setting(
        None,
        "Text",
        "Learn one column of a .csv or .tsv file, or one field of JSON Lines; each record is a document.",
        metavar="NAME",
    )
    context: bool = setting(
        False,
        "Text",
        "Learn only what follows the first tab of each document, given the text before it.",
        decides="targets",
    )
    shuffle_documents: bool = setting(
        False, "Text", "Shuffle the documents by the seed before the text is split.", decides="split"
    )
    val_documents: int | None = setting(
        None,
        "Text",
        "Number of documents in the validation split, instead of --val-fraction.",
        low=0,
        decides="split",
    )
    test_documents: int | None = setting(
        None, "Text", "Number of documents in the test split, instead of --test-fraction.", low=0, decides="split"
    )
    val_fraction: float = setting(
        0.1,
        "Files",
        "Share of the text in the validation split, which follows the training split; 0 for none.",
        low=0.0,
        high=0.9,
        decides="split",
    )
    test_fraction: float = setting(
        0.0,
        "Files",
        "Share of the text in the test split, which comes last and only `eval --test` uses; 0 for none.",
        low=0.0,
        high=0.9,
        decides="split",
    )
    document_rules: int = setting(2, "", "Version of the rules for documents; 1: charrnn 0.2.0.", low=1, high=2)

    def __post_init__(self) -> None:
        _check(self)
        if self.val_fraction + self.test_fraction >= 1:
            raise ConfigError("--val-fraction and --test-fraction leave nothing to train on: lower one of them")
        changed = [item.name for item in fields(self) if getattr(self, item.name) != item.default]
        refuse_conflicts(changed)
        if not self.has_documents and (wrong := [name for name in changed if name in _OF_DOCUMENTS]):
            raise ConfigError(
                f"{flag_of(wrong[0])} needs documents: give --split-documents, --separator or --field too"
            )
        if not _is_text_encoding(self.encoding):
            raise ConfigError(
                f"--encoding {self.encoding!r} is unknown: use a name such as utf-8, utf-16, latin-1, cp1252 or gb18030"
            )

    @property
    def has_documents(self) -> bool:
        """Return whether the text is split into documents."""
        return not (self.split_documents is self.separator is self.field is None)

    def settings_that_decide(self, what: str) -> dict[str, Any]:
        """Return the settings that decide which "characters" a file has, how they are "split", or the "symbols".

        Or their "order": that in which a model reads them.
        """
        return {item.name: getattr(self, item.name) for item in fields(self) if item.metadata["decides"] == what}


def _is_text_encoding(name: str) -> bool:
    """Return whether Python can decode bytes to text piece by piece in this encoding."""
    try:
        return isinstance(codecs.getincrementaldecoder(name)().decode(b"", True), str)
    except (LookupError, ValueError, TypeError):
        return False


@dataclass(frozen=True)
class TrainConfig:
    """The settings of a training run; if a value is None, the start of the run determines it.

    Raises:  ConfigError if a value makes no sense or two conflict.
    """

    steps: int | None = setting(None, "Length", "Train for this many steps.", low=1)
    epochs: int | None = setting(None, "Length", "Train for this many passes through the text.", low=1)
    minutes: float | None = setting(
        None,
        "Length",
        f"Train for this many minutes, start to exit; with --resume, this many more. [default: {DEFAULT_MINUTES:g}]",
        low=0.0,
        high=1e7,
        open_ends=True,
    )
    length_changes: str | None = setting(
        None,
        "Length",
        "Change the length during the run, to repeat a run whose length changed: 120:840,400:812 makes it 840 steps "
        "after step 120 and 812 after step 400.",
        metavar="STEP:TOTAL,…",
    )
    patience: int = setting(
        0, "Length", "Stop after this many evaluations without a better validation loss; 0 for never.", low=0
    )
    batch_size: int = setting(32, "Training", "Number of batch rows.", low=1, recipe=AUTO)
    seq_len: int = setting(100, "Training", "Window length: characters per batch row in each training step.", low=1)
    reset_rate: float = setting(
        0.0, "Training", "Share of batch rows that start a step from a zero state.", low=0.0, high=1.0, recipe=AUTO
    )
    optimizer: str = setting("adamw", "Training", "Optimizer.", choices=tuple(OPTIMIZER_DEFAULTS))
    learning_rate: float | None = setting(
        None,
        "Training",
        f"Base learning rate. [default: auto; with --steps: {_defaults_in_words('learning_rate')}]",
        low=0.0,
        open_ends=True,
        recipe=AUTO,
    )
    momentum: float = setting(0.9, "Training", "Momentum of sgd.", low=0.0, high=0.9999)
    beta1: float = setting(0.9, "Training", "Decay of the mean gradient in adam and adamw.", low=0.0, high=0.9999)
    beta2: float = setting(
        0.99, "Training", "Decay of the squared gradient in adam, adamw and rmsprop.", low=0.0, high=0.99999
    )
    weight_decay: float | None = setting(
        None,
        "Training",
        f"Weight decay of matrices. [default: {_defaults_in_words('weight_decay')}]",
        low=0.0,
        high=10.0,
    )
    average: float = setting(
        0.0,
        "Training",
        "Decay of a running mean of the weights, which is also validated; 0 for none.",
        low=0.0,
        high=0.99999,
        recipe=AUTO,
    )
    schedule: str = setting("cosine", "Training", "Learning-rate schedule.", choices=SCHEDULE_NAMES)
    warmup_steps: int = setting(100, "Training", "Warm-up steps of cosine, at most --warmup-share of the run.", low=0)
    warmup_share: float = setting(
        0.1, "Training", "Share of the run that the warm-up takes at most.", low=0.0, high=1.0, recipe=AUTO
    )
    final_rate: float = setting(
        0.02, "Training", "Final learning rate of cosine, as a share of the base rate.", low=0.0, high=1.0
    )
    decay_rate: float = setting(0.5, "Training", "Factor of each decay in exponential and step.", low=0.0, high=1.0)
    decay_steps: int | None = setting(
        None, "Training", "Steps between decays in exponential and step. [default: a quarter of the run]", low=1
    )
    clip_norm: float = setting(
        1.0, "Training", "Clip the gradient's global norm to this, after --clip-value; 0 for none.", low=0.0
    )
    clip_value: float = setting(0.0, "Training", "Clip each element of the gradient to this; 0 for none.", low=0.0)
    recover: bool = setting(
        True, "Training", "If training diverges, go back to the last good state and lower the rate."
    )
    threads: int | None = setting(
        None, "Training", "CPU cores, in each rank of MPI. [default: all, fewer for small windows]", low=1, high=4096
    )
    half_gradients: bool = setting(
        False, "Training", "Send gradients between ranks of MPI as bfloat16: half the bytes, for a slow network."
    )
    ranks: int = setting(1, "", "Ranks of MPI that share the batch rows.", low=1)
    seed: int | None = setting(None, "Training", "Random seed. [default: random; printed]", low=0, high=2**63 - 1)
    extend_vocab: bool = setting(False, "Text", "With --init-from: add the characters that the other model lacks.")
    val_chars: int = setting(0, "Files", "Validation characters per evaluation; 0 for all.", low=0, recipe=AUTO)
    eval_every: int | None = setting(
        None, "Files", "Steps between evaluations. [default: chosen so that evaluation takes little time]", low=1
    )
    log_every: int = setting(
        100, "Files", "Also write a line of log.jsonl every N steps; 0: only at evaluations.", low=0
    )
    save_every: int = setting(0, "Files", "Also save last.npz every N steps; 0: only at evaluations.", low=0)

    def __post_init__(self) -> None:
        _check(self)
        given = [name for name in LENGTHS if getattr(self, name) is not None]
        refuse_conflicts(given)
        _check_changes(self.steps, self.length_changes)
        if not given:
            object.__setattr__(self, "minutes", DEFAULT_MINUTES)
        for name, value in OPTIMIZER_DEFAULTS[self.optimizer].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)


@dataclass(frozen=True)
class ClassifierConfig:
    """The settings of a classifier beside those of its net, its text and its training.

    labels  in the order of the readout
    Raises:  ConfigError if a value makes no sense.
    """

    labels: tuple[str, ...] = ()
    bidirectional: bool = setting(True, "Model", "Read each text in both directions.")
    pool: str = setting(
        "max",
        "Model",
        "Pooling of the hidden states: their max or mean over all characters, or the last.",
        choices=POOLS,
        recipe="mean",
    )
    nets: int = setting(
        1,
        "Model",
        "Train this many nets side by side and average their probabilities: fewer errors, slower.",
        low=1,
        high=100,
        recipe=AUTO,
    )
    ngrams: int = setting(
        0,
        "Model",
        "Also count the n-grams of each class, up to this many characters, and add what they say; 0 for none.",
        low=0,
        high=10,
        recipe="5",
    )
    balance: float = setting(
        0.0,
        "Training",
        "Weight classes by inverse frequency to this power; 1 makes rare classes count as much as frequent ones.",
        low=0.0,
        high=1.0,
    )
    next_weight: float = setting(
        0.0,
        "Training",
        "Weight of an auxiliary loss: each direction also predicts the next character that it reads; 0 for none.",
        low=0.0,
        high=100.0,
        recipe=AUTO,
    )
    text_field: str | None = setting(
        None, "Text", "Column or field with the texts; the files are .csv, .tsv or JSON Lines.", metavar="NAME"
    )
    label_field: str | None = setting(None, "Text", "Column or field with the labels.", metavar="NAME")
    max_chars: int = setting(1000, "Text", "Read at most this many characters of each text.", low=1, high=1_000_000)
    net_factor: float | None = setting(
        None, "", "Factor of the nets' logits, fitted when training ends; None before that.", low=0.0, open_ends=True
    )
    ngram_factor: float | None = setting(
        None, "", "Factor of what the n-grams say, fitted when training ends.", low=0.0, open_ends=True
    )

    def __post_init__(self) -> None:
        _check(self)

    @property
    def directions(self) -> int:
        """Return D, the number of directions in which a text is read."""
        return 2 if self.bidirectional else 1

    @property
    def prefixes(self) -> tuple[str, ...]:
        """Return what the names of each net's parameters begin with."""
        return ("",) if self.nets == 1 else tuple(f"net{number}." for number in range(self.nets))


#: The settings of language models and their training that make no sense for a classifier.
NOT_OF_CLASSIFIERS = (
    *("tied", "attention", "seq_len", "reset_rate", "half_gradients", "extend_vocab", "val_chars"),
    *("split_documents", "separator", "field", "shuffle_documents", "val_documents", "test_documents"),
    *("context", "reverse"),
)


def classifier_settings() -> tuple[str, ...]:
    """Return the names of all settings of a classifier, in the order of the help."""
    return tuple(item.name for item in setting_fields(ClassifierConfig) if item.name not in NOT_OF_CLASSIFIERS)


def total_steps(steps: int | None, length_changes: str | None) -> int | None:
    """Return the length in steps that a run has after the changes of its length; None if it has none yet."""
    return changes_in(length_changes)[-1][1] if length_changes else steps


def _check_changes(steps: int | None, text: str | None) -> None:
    """Raise ConfigError if changes of the length make no sense for a run of this many steps."""
    if text is None:
        return
    if steps is None:
        raise ConfigError("--length-changes changes the length of --steps: give --steps too")
    before, total = -1, steps
    for step, changed in changes_in(text):
        if not before < step <= total or changed <= step:
            raise ConfigError(
                f"--length-changes {text}: {step}:{changed} is out of place: steps must rise, each within the "
                f"length so far ({total}), and be less than their new total"
            )
        before, total = step, changed


def changes_in(text: str) -> tuple[tuple[int, int], ...]:
    """Return the pairs (step, total) of a text such as 120:840,400:812.

    Raises:  ConfigError if it has another form.
    """
    if not re.fullmatch(r"\d{1,18}:\d{1,18}(,\d{1,18}:\d{1,18})*", text):
        raise ConfigError(f"--length-changes {text!r} is not a list of STEP:TOTAL: write it like 120:840,400:812")
    pairs = (map(int, pair.split(":")) for pair in text.split(","))
    return tuple((step, total) for step, total in pairs)


def setting_fields(*more: type[Any]) -> list[Field[Any]]:
    """Return the fields that a user may set, in the order of the help's sections.

    more: further dataclasses of settings
    """
    every = sum(map(fields, (ModelConfig, TextConfig, TrainConfig, *more)), ())
    found = [item for item in every if item.metadata.get("group")]
    return sorted(found, key=lambda item: SECTIONS.index(item.metadata["group"]))


def setting_names() -> tuple[str, ...]:
    """Return the names of all settings, in the order of the help."""
    return tuple(item.name for item in setting_fields())


def default_of(name: str) -> Any:
    """Return the default of a setting of the text or of training."""
    return (TextConfig.__dataclass_fields__ | TrainConfig.__dataclass_fields__)[name].default


def seeded(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings with a seed; a random one if none is given."""
    from secrets import randbelow  # it loads random and hashes, which `--help` does not need

    return settings if settings.get("seed") is not None else settings | {"seed": randbelow(2**32)}


class Settings(NamedTuple):
    """Settings sorted into those of the model, the text and the training.

    model  fields of `ModelConfig` that were given; the vocabulary's size is not known yet
    """

    model: dict[str, Any]
    text: TextConfig
    train: TrainConfig


def sort_settings(settings: dict[str, Any]) -> Settings:
    """Sort settings into those of the model, the text and the training.

    Raises:  ConfigError if a name is unknown, a value makes no sense, or two conflict.
    """
    kinds = (ModelConfig, TextConfig, TrainConfig)
    names = [{item.name for item in fields(kind)} - {"vocab_size"} for kind in kinds]
    known = set().union(*names)
    for name in settings:
        if name not in known:
            raise unknown_setting(name, sorted(known))
    model, text, train = ({name: value for name, value in settings.items() if name in own} for own in names)
    return Settings(model, TextConfig(**text), TrainConfig(**train))


def unknown_setting(name: str, known: Sequence[str]) -> ConfigError:
    """Return the error for a name that is not among the known ones; it says which one was probably meant."""
    return ConfigError(f"unknown setting {name!r}: {did_you_mean(likely(name, known)) or 'help() lists them'}")


def text_and_train_settings(text: TextConfig, train: TrainConfig) -> dict[str, Any]:
    """Return the settings of both as one dict, as checkpoints keep them under `train`."""
    values = asdict(text) | asdict(train)
    return {name: values[name] for name in (*setting_names(), "document_rules", "ranks") if name in values}


def text_and_train_configs(data: dict[str, Any]) -> tuple[TextConfig, TrainConfig]:
    """Return the configs that `text_and_train_settings` wrote.

    Raises:  ConfigError if a setting is unknown.
    """
    of_text = {item.name for item in fields(TextConfig)}
    text = {name: value for name, value in data.items() if name in of_text}
    if "separator" not in data:
        text |= _document_settings_of_before(text)
    return TextConfig(**text), from_dict(
        TrainConfig, {name: value for name, value in data.items() if name not in of_text}
    )


def _document_settings_of_before(text: dict[str, Any]) -> dict[str, Any]:
    """Return today's settings of documents for a checkpoint of charrnn 0.2.0 or earlier.

    There, `split_documents` was a keyword or a separator.
    """
    way = text.get("split_documents")
    if way is None and text.get("field") is None:
        return {}
    by_keyword = way is None or way in DOCUMENT_WAYS
    return {"document_rules": 1} | ({} if by_keyword else {"split_documents": None, "separator": way})


def build(factory: Callable[..., T], config: TrainConfig, **more: Any) -> T:
    """Call a factory with the config's fields, and those of `more`, that its parameters name."""
    values = vars(config) | more
    return factory(**{name: values[name] for name in inspect.signature(factory).parameters})


def from_dict(kind: type[T], data: dict[str, Any]) -> T:
    """Return the config that `dataclasses.asdict` turned into a dict.

    Raises:  ConfigError if a field is unknown.
    """
    unknown = data.keys() - {item.name for item in fields(kind)}  # type: ignore[arg-type]
    if unknown:
        raise ConfigError(f"unknown settings: {', '.join(sorted(unknown))}")
    return kind(**data)

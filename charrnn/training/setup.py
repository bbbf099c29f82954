"""Set up a new run before its first step: symbols, windows, weights, and settings that suit the text."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from charrnn.arrays import Params
from charrnn.checkpoint import Checkpoint
from charrnn.config import ModelConfig, TextConfig, TrainConfig, sort_settings
from charrnn.data.corpus import Corpus
from charrnn.data.stream import Stream, count_targets
from charrnn.data.text import END
from charrnn.data.vocab import Vocab
from charrnn.errors import ConfigError, CorpusError
from charrnn.nn import model
from charrnn.nn.cells import packed
from charrnn.parallel.plan import MIN_ROWS, available_threads, usual_threads
from charrnn.parallel.ranks import Ranks
from charrnn.system.load import cores
from charrnn.training import budget, recipe
from charrnn.training.finetune import adopt_text_form, pretrained
from charrnn.training.loop import Training
from charrnn.training.memory import Footprint, footprint
from charrnn.training.recipe import FOR_TRAINING, Recipe

_PROBE_UNITS, _PROBE_SECONDS = 256, 1.0  # size of the model that measures the machine's speed, and the time for it


class Setup(NamedTuple):
    """A new run before its first step.

    notes     sentences that the user should read; reasons: sentences about settings that the recipe chose
    measured  the memory that measuring the speed took; None if the recipe was not used
    """

    corpus: Corpus
    text_config: TextConfig
    vocab: Vocab
    training: Training
    params: Params
    notes: list[str]
    reasons: list[str]
    measured: Footprint | None


def set_up(
    corpus: Corpus, settings: dict[str, Any], earlier: Checkpoint | None, seconds: float, ranks: Ranks | None = None
) -> Setup:
    """Set up a new run with random weights, or with those of an earlier model.

    settings  fields of the configs by name, with a seed
    seconds   time left of a budget of minutes; with a budget, the recipe chooses the settings that are not given
    ranks     as in `Training`
    Raises:   ConfigError if settings conflict, also with the earlier model; CorpusError if the text is too short.
    """
    if earlier is not None:
        settings = adopt_text_form(settings, earlier.vocab)
    _, text_config, config = sort_settings(settings)
    corpus = corpus.read_as(text_config, config.seed)
    vocab, params, notes = vocab_for(corpus, text_config), None, list[str]()
    defaults: dict[str, Any] = {"vocab_size": vocab.size}
    if earlier is not None:
        vocab, inherited, params, notes = pretrained(earlier, vocab, settings)
        defaults = vars(inherited)
    notes += _context_notes(corpus, vocab) if text_config.context else []
    chosen, measured = Recipe({}, [], []), None
    if config.minutes is not None:
        chosen, measured = _recipe(corpus, vocab, defaults, settings, seconds, ranks)
    model_settings, _, config = sort_settings(settings | chosen.settings)
    model_config = ModelConfig(**defaults | model_settings)
    if params is None:
        params = model.init_params(model_config, np.random.default_rng(config.seed))
    config = with_threads(config, model_config, ranks)
    vocab = vocab.counted(corpus.train)
    training, more_notes = training_for(corpus, vocab, model_config, config, ranks, context=text_config.context)
    more_notes += thread_notes(training) if "threads" in settings or ranks else []
    if config.half_gradients and ranks is None:
        more_notes.append("--half-gradients has no effect without mpiexec: one process sends no gradients")
    if config.minutes is None and (chars := len(corpus.train)) < recipe.LEAST_CHARS:
        more_notes.append(f"{chars} characters are too few to learn from: give at least {recipe.LEAST_CHARS}")
    notes += chosen.notes + _unknown_notes(corpus, vocab, text_config) + more_notes
    return Setup(corpus, text_config, vocab, training, params, notes, chosen.reasons, measured)


def vocab_for(corpus: Corpus, config: TextConfig) -> Vocab:
    """Return the vocabulary of the whole text: training, validation and test, and a separate validation file.

    With a `min_count` above 1 it has the frequent characters of the training split, and an unknown symbol for the rest.
    Raises:  ConfigError if no character is frequent enough, or a `Text` is not split into documents as set.
    """
    train = corpus.train
    vocab = Vocab.from_text(train.symbols, corpus.val.symbols)
    if config.has_documents and vocab.end is None:
        raise ConfigError("the text has no marks between documents: read it with Corpus.read or reading.text_of")
    vocab = replace(vocab, reverse=config.reverse)
    if config.bytes:
        return replace(vocab, symbols="".join(map(chr, range(256))), kind="bytes")
    if config.min_count > 1:
        counts = zip(train.symbols, train.counts().tolist(), strict=True)
        frequent = sorted(symbol for symbol, count in counts if count >= config.min_count and symbol != END)
        if not frequent:
            raise ConfigError(f"--min-count {config.min_count} leaves no character to learn: lower it")
        vocab = replace(vocab, symbols="".join(frequent), specials=(*vocab.specials, "unknown"))
    return replace(vocab, normalize=config.normalize, lowercase=config.lowercase)


def with_threads(config: TrainConfig, model_config: ModelConfig, ranks: Ranks | None) -> TrainConfig:
    """Return the settings with the number of ranks, and with the threads of each if they were not given."""
    size, available = (ranks.size, ranks.threads) if ranks else (1, available_threads())
    rows = -(-config.batch_size // size)
    threads = config.threads or usual_threads(model_config, rows, config.seq_len, available)
    return replace(config, threads=threads, ranks=size)


def training_for(
    corpus: Corpus,
    vocab: Vocab,
    model_config: ModelConfig,
    config: TrainConfig,
    ranks: Ranks | None = None,
    *,
    context: bool = False,
) -> tuple[Training, list[str]]:
    """Return the training of this corpus, with batch and window made smaller if the text is short, and notes.

    context: True: only the predictions after the first tab of each document count
    Raises:  CorpusError if there is nothing to train on.
    """
    val = corpus.val[: config.val_chars + 1] if config.val_chars else corpus.val
    ids, val_ids = vocab.ids_of(corpus.train), vocab.ids_of(val)
    if len(ids) < 2:
        raise CorpusError(
            f"{corpus.name} is too short: fewer than two characters to train on; give a longer text or --val-fraction 0"
        )
    if model_config.attention >= len(ids):
        raise ConfigError(
            f"--attention {model_config.attention} looks back further than the {len(ids):,} characters to train on: "
            f"give at most {len(ids) - 1}"
        )
    config, notes = fit_to_text(config, len(ids) - 1)
    if corpus.wants_validation and len(val_ids) < 2:
        notes.append("the validation split is too short to score, so there will be no validation and no best.npz")
    if (config.threads or 1) > 1 and packed(model_config.cell) is None:
        notes.append(
            f"cell {model_config.cell!r} cannot be sent to other processes, so one process does all the work: "
            "define its functions at the top of a module that can be imported"
        )
    tab = vocab.tab if context else None
    stream = Stream(ids, config.batch_size, config.seq_len, config.seed or 0, config.reset_rate, vocab.end, tab)
    if ranks and config.batch_size < ranks.size:
        most, s = config.batch_size, "s" * (config.batch_size > 1)
        raise ConfigError(
            f"{ranks.size} ranks for {most} batch row{s}: start at most {most} rank{s}, or give a larger --batch-size"
        )
    return Training(model_config, config, stream, val_ids, ranks), notes


def thread_notes(training: Training) -> list[str]:
    """Return notes on a number of threads or ranks that the user chose: if cores or batch rows are too few for it."""
    plan, threads, ranks = training.workers().plan, training.config.threads or 1, training.ranks
    here = ranks.threads if ranks else cores()
    if threads > here:
        machine = "1 core" if here == 1 else f"{here} cores"
        each = " for each rank" if ranks else ""
        return [f"--threads {threads} on {machine}{each}: threads wait for one another; --threads {here} is faster"]
    if ranks and plan.batch_size < MIN_ROWS:
        return [
            f"{training.config.batch_size} batch rows are few for {ranks.size} ranks: --batch-size "
            f"{MIN_ROWS * ranks.size} would use them better, but learns differently"
        ]
    if plan.processes == max(1, plan.batch_size // MIN_ROWS) < threads:
        return [
            f"--threads {threads} with {plan.batch_size} batch rows: only {plan.processes} of the threads get rows of "
            f"their own, the others help with matrix products; --batch-size "
            f"{MIN_ROWS * threads * training.config.ranks} would occupy all"
        ]
    return []


def fit_to_text(config: TrainConfig, predictions: int) -> tuple[TrainConfig, list[str]]:
    """Return the config with window and batch made smaller if the text cannot fill one step, and a note if so."""
    seq_len = min(config.seq_len, predictions)
    batch_size = min(config.batch_size, max(1, predictions // seq_len))
    if (batch_size, seq_len) == (config.batch_size, config.seq_len):
        return config, []
    note = (
        f"the text has {predictions + 1:,} characters to train on, too few for a step of this size: "
        f"--batch-size is now {batch_size} and --seq-len {seq_len}"
    )
    return replace(config, batch_size=batch_size, seq_len=seq_len), [note]


def _unknown_notes(corpus: Corpus, vocab: Vocab, config: TextConfig) -> list[str]:
    if config.min_count == 1 or vocab.count_unknown(corpus.train):
        return []
    return [f"no character is rarer than --min-count {config.min_count}, so the unknown symbol cannot be learned"]


def _context_notes(corpus: Corpus, vocab: Vocab) -> list[str]:
    """Return notes on documents without a tab, in which no prediction counts.

    Raises:  CorpusError if all of the training split are such.
    """
    notes = []
    for text, split, use in ((corpus.train, "training", "learned"), (corpus.val, "validation", "scored")):
        _, found = (0, 0) if vocab.tab is None else count_targets(vocab.ids_of(text), vocab.end, vocab.tab)
        lacking = text.documents - found
        if split == "training" and not found:
            raise CorpusError(
                f"no document of {corpus.name} has a tab, and --context learns what follows the first one: write "
                "each as source, tab, target, or leave out --context"
            )
        if lacking:
            end = "" if found else ", so there will be no validation and no best.npz"
            share = f"{lacking:,} of {text.documents:,} documents of the {split} split"
            notes.append(f"{share} have no tab: nothing of them is {use}{end}")
    return notes


def _recipe(
    corpus: Corpus,
    vocab: Vocab,
    defaults: dict[str, Any],
    settings: dict[str, Any],
    seconds: float,
    ranks: Ranks | None,
) -> tuple[Recipe, Footprint]:
    """Return the recipe for this corpus, time and machine, and the memory that measuring the speed took.

    Raises:   CorpusError if the text is too short for any model to learn from it.
    defaults  the model's settings if none are given: the size of its vocabulary, or all settings of an earlier model
    """
    if (chars := len(corpus.train)) < recipe.LEAST_CHARS:
        raise CorpusError(
            f"{corpus.name} is too short to learn from: {chars} characters to train on; give at least "
            f"{recipe.LEAST_CHARS}, or set the length with --steps to train anyway"
        )
    given = {*settings, *defaults.keys() & set(recipe.KIND)}
    model_settings, text_config, config = sort_settings(
        settings | recipe.kind(vocab.size, len(corpus.train), given).settings
    )
    model_config = ModelConfig(**defaults | model_settings)
    probe = model_config if "hidden_size" in given else replace(model_config, hidden_size=_PROBE_UNITS)
    config = with_threads(config, probe, ranks)
    training, _ = training_for(corpus, vocab, probe, config, ranks, context=text_config.context)
    state = training.begin(model.init_params(probe, np.random.default_rng(0)))
    memory = footprint(training)
    with training.workers() as workers:
        char = budget.char_seconds(training, state, workers, min(_PROBE_SECONDS, seconds / 8), fmean)
    speed = recipe.work(probe, model.param_shapes) / char
    chosen = recipe.choose(
        model_config,
        model.param_shapes,
        len(corpus.train),
        len(corpus.val),
        training.stream.steps_per_epoch,
        speed * seconds * FOR_TRAINING,
        given,
        config.optimizer,
        config.schedule,
        minutes=config.minutes or 0.0,
    )
    return chosen, memory

"""What is settled before a run's first step: its text, sizes that fit it, and settings that agree with a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.arrays import Params
from charrnn.checkpoint import Checkpoint
from charrnn.config import STDIN, ModelConfig, TextConfig, TrainConfig, flag_of, sort_settings, usual
from charrnn.data.corpus import Corpus, Reading
from charrnn.data.stream import Stream
from charrnn.data.text import END
from charrnn.data.vocab import SPECIALS, Vocab
from charrnn.errors import CheckpointError, ConfigError, CorpusError, OtherTextError
from charrnn.nn import model
from charrnn.training.loop import Progress, Training

#: Of a model's settings, what changes no shape of it.
FREE = ("dropout", "input_dropout", "weight_drop", "init")
_SHOWN = 40  # characters that a note or an error names


def reread(
    saved: Checkpoint, paths: str | Sequence[str] = (), val_path: str | None = None, *, reading: Reading | None = None
) -> Corpus:
    """Return the corpus of a checkpoint, read again from where it says, or from the paths given.

    reading: as for `read_text`
    Raises:  CorpusError where it cannot be found, or is another text.
    """
    if not paths and (not saved.source.paths or STDIN in saved.source.paths):
        raise CorpusError("the model's corpus was not a file, so it cannot be read again: give the text")
    if saved.val_source is not None and not val_path and (val_path := saved.val_source.path) in (None, STDIN):
        raise CorpusError("the model's validation text was not a file, so it cannot be read again: give it")
    paths, learned = paths or saved.source.paths, (saved.source, saved.val_source)
    try:
        return Corpus.read(
            paths, saved.text_config, val_path, seed=saved.train_config.seed, learned=learned, reading=reading
        )
    except OtherTextError:
        raise
    except CorpusError as error:
        raise CorpusError(f"the corpus that the model was trained on cannot be read: {error}") from None


def training_for(
    corpus: Corpus, vocab: Vocab, model_config: ModelConfig, config: TrainConfig, notes: list[str]
) -> Training:
    """Return the training of this corpus, with batch and window made smaller where the text is short."""
    val = corpus.val[: config.val_chars + 1] if config.val_chars else corpus.val
    ids, val_ids = vocab.ids_of(corpus.train), vocab.ids_of(val)
    if len(ids) < 2:
        raise CorpusError(
            f"{corpus.name} is too short: less than two characters to train on; give a longer text, or --val-fraction 0"
        )
    config = fitted(config, len(ids) - 1, notes)
    if corpus.wants_validation and len(val_ids) < 2:
        notes.append("the validation part is too short to be scored: nothing is validated, and there is no best.npz")
    stream = Stream(ids, config.batch_size, config.seq_len, config.seed or 0, config.reset_rate, vocab.end)
    return Training(model_config, config, stream, val_ids)


def fitted(config: TrainConfig, predictions: int, notes: list[str]) -> TrainConfig:
    """Return the config with window and batch made smaller where a text has too few characters to fill one step."""
    seq_len = min(config.seq_len, predictions)
    batch_size = min(config.batch_size, max(1, predictions // seq_len))
    if (batch_size, seq_len) != (config.batch_size, config.seq_len):
        notes.append(
            f"the text has {predictions + 1:,} characters to train on, less than batch x window: "
            f"--batch-size is now {batch_size} and --seq-len {seq_len}"
        )
    return replace(config, batch_size=batch_size, seq_len=seq_len)


def going_on_from(
    earlier: Checkpoint, vocab: Vocab, settings: dict[str, Any], notes: list[str]
) -> tuple[Vocab, ModelConfig, Params]:
    """Return what a run begins with that goes on from a checkpoint: its symbols, its model's settings and weights.

    vocab: of the text
    Raises:  ConfigError where a setting contradicts the checkpoint, or the text has symbols that it lacks.
    """
    as_learned(settings, earlier.vocab)
    model_settings, _, config = sort_settings(settings)
    vocab = extended(earlier.vocab, vocab, config.extend_vocab, notes)
    model_config = same_model(earlier.model_config, vocab, model_settings)
    return vocab, model_config, grown_params(earlier, vocab, model_config, notes)


def same_model(earlier: ModelConfig, vocab: Vocab, settings: dict[str, Any]) -> ModelConfig:
    """Return the earlier model's settings for this vocabulary; only those that touch no shape may be set anew."""
    for name, value in settings.items():
        if name not in FREE and value != getattr(earlier, name):
            raise ConfigError(
                f"{flag_of(name)} {value} contradicts the model of --init-from, which has {getattr(earlier, name)}: "
                "leave the option out"
            )
    free = {name: value for name, value in settings.items() if name in FREE}
    return replace(earlier, vocab_size=vocab.size, **free)


def as_learned(settings: dict[str, Any], earlier: Vocab) -> dict[str, Any]:
    """Return the settings with the earlier model's form of the text; refuse those that name another.

    Raises:  ConfigError, naming the setting.
    """
    form = {"bytes": earlier.kind == "bytes", "normalize": earlier.normalize, "lowercase": earlier.lowercase}
    for name, value in form.items():
        if settings.get(name, value) != value:
            raise ConfigError(
                f"{flag_of(name)} contradicts the model of --init-from, which learned its text otherwise "
                f"({name} {value}): leave the option out; a corpus at hand has to be read so too"
            )
    return settings | {name: value for name, value in form.items() if value != usual(name)}


def vocab_for(corpus: Corpus, config: TextConfig) -> Vocab:
    """Return the vocabulary of the whole text, its test part too, and of a validation text of its own.

    With --min-count it is that of what stands so often in the training part, and an unknown symbol for the rest.
    Raises:  ConfigError where nothing stands so often, or a text at hand was not parted as the settings say.
    """
    train = corpus.train
    vocab = Vocab.from_text(train.symbols, corpus.val.symbols)
    if config.has_documents and vocab.end is None:
        raise ConfigError("the text at hand has no marks between documents: read it by Corpus.read, or corpus.text_of")
    if config.bytes:
        return replace(vocab, symbols="".join(map(chr, range(256))), kind="bytes")
    if config.min_count > 1:
        often = "".join(
            symbol
            for symbol, count in zip(train.symbols, train.counts().tolist(), strict=True)
            if count >= config.min_count and symbol != END
        )
        if not often:
            raise ConfigError(f"--min-count {config.min_count} leaves no character to learn: lower it")
        vocab = replace(vocab, symbols="".join(sorted(often)), specials=(*vocab.specials, "unknown"))
    return replace(vocab, normalize=config.normalize, lowercase=config.lowercase)


def extended(earlier: Vocab, wanted: Vocab, extend: bool, notes: list[str]) -> Vocab:
    """Return the earlier vocabulary with the symbols that a text wants, if it is to be extended.

    Without, an unknown symbol stands for those that are new, and a note names them.
    Raises:  ConfigError, naming the symbols that are new, where it is not; and where only the model knows documents,
             since it would go on to end texts by a mark that this one lacks.
    """
    if "end" in earlier.specials and "end" not in wanted.specials:
        raise ConfigError(
            "the model of --init-from learned where documents end, and this text is not parted into any: give "
            "--split-documents or --field; `--split-documents files` where each file is one"
        )
    fresh = sorted(set(wanted.symbols) - set(earlier.symbols))
    specials = tuple(name for name in SPECIALS if name in earlier.specials + wanted.specials)
    if extend:
        return replace(
            earlier, symbols="".join(sorted(fresh + list(earlier.symbols))), specials=specials, counts=(), starts=()
        )
    lacking = f"the text has {_counted(fresh)} that the model of --init-from lacks"
    if fresh and earlier.unknown is None:
        raise ConfigError(f"{lacking}: add what is new by --extend-vocab")
    if specials != earlier.specials:
        new = ", ".join(name for name in specials if name not in earlier.specials)
        raise ConfigError(f"the model of --init-from has no symbol for {new}: add it by --extend-vocab")
    if fresh:
        notes.append(f"{lacking}, learned as unknown: --extend-vocab adds what is new")
    return replace(earlier, counts=(), starts=())


def _counted(characters: list[str]) -> str:
    """Return how notes and errors name characters: how many, and the first of them."""
    return f"{len(characters):,} character{'s' * (len(characters) != 1)} ({''.join(characters)[:_SHOWN]!r})"


def grown_params(earlier: Checkpoint, vocab: Vocab, model_config: ModelConfig, notes: list[str]) -> Params:
    """Return the earlier weights, with those of symbols that are new in this vocabulary at the mean of the old ones.

    So k new symbols, of n in all, take the share k / n of the probability from the old ones, about, whatever their
    logits are: a random row may take nearly all of it.
    Source:  Hewitt 2021, Initializing New Word Embeddings for Pretrained Language Models.
    """
    before = earlier.vocab
    if (vocab.symbols, vocab.specials) == (before.symbols, before.specials):
        return earlier.params
    fresh = sorted(set(vocab.symbols) - set(before.symbols))
    new = [_counted(fresh)] if fresh else []
    new += [f"the {name} symbol" for name in vocab.specials if name not in before.specials]
    notes.append(f"new to the model, and begun at the mean of its other symbols: {', '.join(new)}")
    places = {symbol: place for place, symbol in enumerate([*vocab.symbols, *vocab.specials])}
    at = [places[symbol] for symbol in [*before.symbols, *before.specials]]
    params: Params = {}
    for name, shape in model.param_shapes(model_config).items():
        old = params[name] = earlier.params[name]
        if old.shape != shape:  # one axis is the vocabulary's
            axis = next(axis for axis in range(old.ndim) if old.shape[axis] != shape[axis])
            params[name] = np.broadcast_to(old.mean(axis, keepdims=True), shape).copy()
            params[name][(slice(None),) * axis + (at,)] = old
    return params


def progress_of(path: Path, saved: Checkpoint) -> Progress:
    """Return the progress in a checkpoint.

    Raises:  CheckpointError where it has other numbers than are known here.
    """
    try:
        return Progress(**saved.progress)
    except TypeError as error:
        raise CheckpointError(
            f"{path} is damaged: its progress does not make sense ({error}); use another copy"
        ) from error


def tell_of_changes(then: dict[str, str], now: dict[str, str], notes: list[str]) -> None:
    """Add a note where what the bits of a product depend on is not what the checkpoint was written with."""
    shared = [name for name in ("numpy", "blas", "kernel") if name in then and name in now]
    changed = [name for name in (*shared, "numba") if then.get(name) != now.get(name)]
    if changed:
        before, here = (
            ", ".join(f"{name} {versions[name]}" if name in versions else f"no {name}" for name in changed)
            for versions in (then, now)
        )
        notes.append(
            f"the run was on {before}, and from here on it is on {here}: results agree to rounding but not bit for bit"
        )


def agreed(saved: Checkpoint, corpus: Corpus, settings: dict[str, Any], notes: list[str]) -> TrainConfig:
    """Return the checkpoint's settings with the total that is asked for now; refuse any other difference."""
    config = saved.train_config
    stored = asdict(saved.model_config) | asdict(saved.text_config) | asdict(config)
    length = {name: settings[name] for name in ("steps", "epochs") if name in settings}
    if "minutes" in settings:
        notes.append(f"the run's length was settled when it began: {config.steps:,} steps, which --steps can raise")
    if settings.get("threads", config.threads) != config.threads:
        notes.append("with another number of threads, results agree to rounding but not bit for bit")
        config = replace(config, threads=settings["threads"])
    free = ("steps", "epochs", "minutes", "threads")
    asked = {name: value for name, value in settings.items() if name not in free}
    shrunk: list[str] = []
    predictions = len(corpus.train) - 1
    for name, value in asked.items():
        if name in ("batch_size", "seq_len") and value != stored[name]:
            value = getattr(fitted(replace(config, **{name: value}), predictions, shrunk), name)
        if value != stored[name]:
            raise ConfigError(
                f"{flag_of(name)} {value} contradicts the run, which has {stored[name]}: leave it out to resume, "
                "or start a new run with --out"
            )
    if not length:
        return config
    if len(length) > 1:
        raise ConfigError("--steps and --epochs contradict each other: give one length")
    steps = length.get("steps")
    if steps is None:
        steps = length["epochs"] * Stream(corpus.train.ids, config.batch_size, config.seq_len).steps_per_epoch
    if steps < (config.steps or 0):
        raise ConfigError(f"the run has {config.steps:,} steps: --steps or --epochs may raise that, not lower it")
    return replace(config, steps=steps, epochs=None, minutes=None)

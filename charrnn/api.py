"""The library: `train` and `fit` train a model on a text, `load` returns one to sample, score and evaluate with.

import charrnn

model = charrnn.train("corpus.txt", out="checkpoints/corpus", minutes=1)
print(model.sample(200, temperature=0.8, seed=1))
print(model.evaluate("a text to score").bpc)
for event in charrnn.fit("corpus.txt", out="checkpoints/again", minutes=1):
    if isinstance(event, charrnn.Report) and event.val_loss is not None:
        print(event.step, event.val_loss)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from inspect import GEN_CREATED, getgeneratorstate
from itertools import chain
from os import PathLike, fspath
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from charrnn import checkpoint as ckpt
from charrnn.arrays import Array
from charrnn.checkpoint import Checkpoint
from charrnn.config import PROTOCOLS, STDIN, ModelConfig, TextConfig, TrainConfig, seeded, sort_settings
from charrnn.errors import ConfigError, CorpusError
from charrnn.generation.ensemble import Ensemble, Member
from charrnn.generation.settings import SampleConfig
from charrnn.generation.writer import Writer
from charrnn.memory.cache import Cache, check_memory
from charrnn.memory.memory import Memory, Remembered
from charrnn.nn import model
from charrnn.signatures import spell_out
from charrnn.training.folder import RUNS, RunFolder, find_model
from charrnn.version import __version__

# What sampling does not need is imported by the functions that use it, so that `charrnn sample` starts quickly.
if TYPE_CHECKING:
    from charrnn.data.corpus import Corpus
    from charrnn.data.reading import ReadProgress
    from charrnn.data.text import Text
    from charrnn.data.vocab import Vocab
    from charrnn.evaluation.baselines import Baselines
    from charrnn.evaluation.packing import Line
    from charrnn.evaluation.recall import Recall
    from charrnn.evaluation.scoring import Progress as ScoreProgress
    from charrnn.evaluation.scoring import Scored
    from charrnn.evaluation.statistics import Evaluation
    from charrnn.evaluation.trace import Trace
    from charrnn.generation.completion import Completions
    from charrnn.generation.sample import Sample
    from charrnn.insight.reading import Reading
    from charrnn.keywords import FilterSettings, TrainSettings
    from charrnn.memory.grams import Grams
    from charrnn.restoration.filling import Fills
    from charrnn.restoration.pair import Pair
    from charrnn.restoration.repair import Repaired
    from charrnn.training.run import Event, Run

_MOST_SHARE = 1e9  # limit of a model's weight in a mean, so that the sum of the weights is finite


def load(
    path: str | PathLike[str] | None = None,
    *,
    memory: int | None = None,
    memory_from: str | Text | None = None,
    with_ngram: bool = False,
    adaptive: bool = False,
) -> LanguageModel:
    """Return the model in a checkpoint.

    path         a `.npz` file, a run's folder (its best.npz, else its last.npz), a run's name under ./checkpoints, or
                 None for the newest run there
    memory       how many characters back its memory reaches; None: as fitted when training ended; 0: no memory
    memory_from  a text that fills the memory before the model reads another; without one, the memory starts empty
    with_ngram   True: mix the model with an n-gram model of its training text, which is read again
    adaptive     True: and with one that counts what the model reads
    Raises:  CheckpointError if there is none, it is damaged, or its cell is not registered; ConfigError if the memory
             is out of range.
    """
    if not isinstance(path, (str, PathLike, NoneType)):
        raise ConfigError(f"load needs a path or the name of a run, got {path!r}")
    file = find_model(None if path is None else Path(path))
    return LanguageModel(ckpt.load_model(file), file, memory, memory_from, with_ngram, adaptive)


def from_torch(
    weights: Mapping[str, Any], characters: str | Sequence[str] | Vocab, corpus: Corpus | None = None
) -> LanguageModel:
    """Return a model with weights from PyTorch; `save` writes it to a file that all commands take.

    weights     `net.state_dict()` of an nn.Embedding (without it, inputs are one-hot), an nn.RNN (tanh), nn.LSTM or
                nn.GRU, and an nn.Linear, under any names
    characters  the character of each row of the nn.Linear, in order; a `Vocab` also has bytes and special symbols
    corpus      what the net was trained on: what `evaluate` and others read again if they get no text
    Raises:     CheckpointError if weights are missing, unknown, of a wrong shape or not finite; VocabError if the
                characters do not match the rows, are not single ones or occur twice.
    """
    from charrnn.interop.pytorch import checkpoint_of

    return LanguageModel(checkpoint_of(weights, characters, corpus))


@spell_out(ModelConfig, TextConfig, TrainConfig)
def train(
    corpus: str | PathLike[str] | Sequence[str | PathLike[str]] | Corpus,
    out: str | PathLike[str] | None = None,
    *,
    force: bool = False,
    progress: bool = True,
    **settings: Unpack[TrainSettings],
) -> LanguageModel:
    """Train a model on a text and return the one with the lowest validation loss; `fit` yields each step.

    If it is interrupted, the folder keeps the best model so far and, from the last evaluation, a run to resume.
    corpus      the path of a text, several paths, or a `Corpus`
    out         the run's folder; ./checkpoints/<corpus name> if None
    force       True: remove an earlier run in the folder
    progress    True: show a progress bar, in a terminal or a notebook
    settings    fields of `ModelConfig`, `TextConfig` and `TrainConfig`; with minutes, the recipe chooses the others
    Raises:     CharRNNError for anything that the caller can fix.
    """
    with closing(_starter(corpus, out, force, settings)()) as run:
        _train(run, progress)
    return load(run.folder.path)


def _train(run: Run, progress: bool) -> None:
    """Train to the end, with a progress bar."""
    from tqdm.auto import tqdm

    from charrnn.training.loop import Report, Stepped

    with tqdm(desc=run.folder.path.name, unit=" steps", total=run.state.course.total, disable=not progress) as bar:
        for event in run.events():
            if isinstance(event, Stepped):
                bar.total = run.state.course.total
                bar.update(event.step - bar.n)
            elif isinstance(event, Report) and event.val_loss is not None:
                bar.set_postfix(loss=f"{event.loss:.4f}", val=f"{event.val_loss:.4f}")


@spell_out(ModelConfig, TextConfig, TrainConfig)
def fit(
    corpus: str | PathLike[str] | Sequence[str | PathLike[str]] | Corpus,
    out: str | PathLike[str] | None = None,
    *,
    force: bool = False,
    **settings: Unpack[TrainSettings],
) -> Events:
    """Return an iterator that trains a model on a text and yields an event for each step and report.

    The events are `Stepped`, `Evaluating`, `Report`, `Recovered`, `LengthChanged`, `Saved` and `MemoryFitted`. Training
    begins with the first `next` and stops when no more is called; before that, the text is read, and nothing is
    written.
    corpus      the path of a text, several paths, or a `Corpus`
    out         the run's folder; ./checkpoints/<corpus name> if None
    force       True: remove an earlier run in the folder
    settings    fields of `ModelConfig`, `TextConfig` and `TrainConfig`; with minutes, the recipe chooses the others
    Raises:     CharRNNError for any problem that the caller can fix; at once for settings, corpus and folder.
    """
    return Events(_starter(corpus, out, force, settings))


class Events(Iterator["Event"]):
    """The events of a run, which starts when the first one is requested; `close` leaves it."""

    def __init__(self, start: Callable[[], Run]) -> None:
        self._events = _events(start)

    def __next__(self) -> Event:
        return next(self._events)

    def close(self) -> None:
        """Stop training and release the run's folder."""
        self._events.close()

    def __del__(self) -> None:
        if getgeneratorstate(self._events) == GEN_CREATED:
            from warnings import warn

            warn("charrnn.fit trained nothing: loop over its events, or call charrnn.train", RuntimeWarning, 2)


def _events(start: Callable[[], Run]) -> Generator[Event, None, None]:
    with closing(start()) as run:
        yield from run.events()


def _starter(
    corpus: str | PathLike[str] | Sequence[str | PathLike[str]] | Corpus,
    out: str | PathLike[str] | None,
    force: bool,
    settings: TrainSettings,
) -> Callable[[], Run]:
    """Check the arguments, read the corpus, and return a function that starts the run.

    A budget of minutes includes the time that reading takes, and not the time until the run starts.
    """
    from charrnn.data.corpus import Corpus
    from charrnn.training.run import Run

    began = time.monotonic()
    given: dict[str, Any] = seeded({**settings})
    model_settings, text_config, _ = sort_settings(given)
    ModelConfig(1, **{"embed_size": 1} | model_settings)  # its values are checked; the recipe may choose an embedding
    if not isinstance(corpus, Corpus):
        corpus = Corpus.read(_paths(corpus), text_config, seed=given["seed"])
    sort_settings(corpus.merge_settings(given))
    if not isinstance(out, (str, PathLike, NoneType)):
        raise ConfigError(f"out must be the path of a folder, got {out!r}")
    folder = None if out is None else Path(out)
    if not force:
        RunFolder(folder or RUNS / corpus.name).refuse_taken()
    seconds = time.monotonic() - began
    return lambda: Run.start(corpus, folder, settings=given, force=force, began=time.monotonic() - seconds)


def _paths(corpus: str | PathLike[str] | Sequence[str | PathLike[str]]) -> list[str]:
    """Return the paths of a corpus as strings."""
    if isinstance(corpus, str) and "\n" in corpus:
        raise ConfigError(
            "corpus is a path, not the text itself: to train on a string, pass charrnn.Corpus.from_text(text)"
        )
    paths = [corpus] if isinstance(corpus, (str, PathLike)) else corpus
    if not isinstance(paths, Sequence) or not paths or not all(isinstance(path, (str, PathLike)) for path in paths):
        raise ConfigError(f"corpus must be a path, a list of paths or a charrnn.Corpus, got {type(corpus).__name__}")
    return [fspath(path) for path in paths]


def _checked(lines: Iterable[Line]) -> Iterator[Line]:
    """Yield the lines; raise ConfigError at one that is neither a string nor a pair of strings."""
    for line in lines:
        pair = line if isinstance(line, tuple) and len(line) == 2 else (line,)
        if not all(isinstance(text, str) for text in pair):
            raise ConfigError(f"score needs strings, or pairs of a context and a text, got {line!r}")
        yield line


def _strings(lines: Iterable[str], use: str = "embed") -> Iterator[str]:
    """Yield the lines; raise ConfigError at one that is no string."""
    for line in lines:
        if not isinstance(line, str):
            raise ConfigError(f"{use} needs strings, got {line!r}")
        yield line


def mixed(models: Sequence[tuple[LanguageModel, float]]) -> Writer:
    """Return a writer that draws from the weighted mean of several models' probabilities.

    models: each with its weight in the mean; the weights are divided by their sum
    Raises:  ConfigError if the vocabularies differ, or a weight is not above 0 and below 1e9.
    """
    if not models or not all(isinstance(pair, tuple) and isinstance(pair[0], LanguageModel) for pair in models):
        raise ConfigError("mixed needs models with weights: mixed([(model, 0.7), (other, 0.3)])")
    first, total = models[0][0].checkpoint.vocab, sum(share for _, share in models)
    vocab = replace(first, counts=(), starts=())
    for other, share in models:
        if replace(other.checkpoint.vocab, counts=(), starts=()) != vocab:
            names = f"{models[0][0].path} and {other.path}"
            if other.checkpoint.vocab.reverse != vocab.reverse:
                raise ConfigError(
                    f"{names} read in different directions: mix models that all read forwards or backwards"
                )
            raise ConfigError(f"{names} have different vocabularies: mix models trained on the same text")
        if not 0 < share < _MOST_SHARE:
            raise ConfigError(
                f"{other.path}: its weight must be greater than 0 and less than {_MOST_SHARE:g}, got {share}"
            )
    members = tuple(Member(each.weights, each.checkpoint.model_config, share / total) for each, share in models)
    if len(models) > 1 and any(each.memory or each.memory_from is not None or each.with_ngram for each, _ in models):
        raise ConfigError("models that are mixed have no memory: leave out --memory and --with-ngram, or mix none")
    alone = models[0][0]
    memory = () if len(models) > 1 else (alone._memory, alone._first)
    return Writer(
        Ensemble(members, *memory), first, lambda: [_corpus_for("copies", each.checkpoint).train for each, _ in models]
    )


def _corpus_for(use: str, saved: Checkpoint, reading: ReadProgress | None = None) -> Corpus:
    """Return the corpus that a model was trained on, read again for something that one can do without.

    use: what it is
    Raises:  CorpusError if the corpus was not a file, cannot be found, or has changed.
    """
    if not saved.source.paths or STDIN in saved.source.paths:
        raise CorpusError(
            f"the model's corpus was not a file, so it cannot be read again for {use}: do without, or train on a file"
        )
    from charrnn.training.resume import corpus_of

    return corpus_of(saved, reading=reading)


@dataclass(frozen=True, eq=False, repr=False)
class LanguageModel:
    """A trained model. It keeps no state between calls.

    checkpoint   its parameters, settings, vocabulary and history
    path         the file it came from; None for the model of a run in memory
    memory       how many characters back its memory reaches; None: as fitted when training ended; 0: no memory
    memory_from  a text that fills the memory before the model reads another; None: the memory starts empty
    with_ngram   True: mix the model with an n-gram model of its training text, which is read again at the first use
    adaptive     True: and with one that counts what the model reads
    Raises:  ConfigError if the memory is out of range, or larger than what the machine has free.
    """

    checkpoint: Checkpoint
    path: Path | None = None
    memory: int | None = None
    memory_from: str | Text | None = None
    with_ngram: bool = False
    adaptive: bool = False

    def __post_init__(self) -> None:
        if self.adaptive and not self.with_ngram:
            raise ConfigError("--adaptive adds to --with-ngram: give that too")
        if self.memory is not None:
            check_memory(self.memory, self.checkpoint.model_config)

    def __repr__(self) -> str:
        origin = "in memory" if self.path is None else repr(str(self.path))
        return f"LanguageModel({origin}: {self.checkpoint.summary})"

    @cached_property
    def weights(self) -> model.Weights:
        """Return the weights in the form that forward passes read."""
        return model.prepare(self.checkpoint.params, self.checkpoint.model_config)

    @cached_property
    def cache(self) -> Cache | None:
        """Return the memory's settings, with the requested size; None for a model without a memory."""
        saved = self.checkpoint
        fitted = saved.cache or Cache.unfitted(saved.model_config.hidden_size, saved.model_config.dtype)
        cache = fitted if self.memory is None else fitted.with_size(self.memory)
        return cache if cache.size else None

    @cached_property
    def _memory(self) -> Memory | None:
        """Return all that is mixed with the net; None if nothing is."""
        grams = self._grams() if self.with_ngram else None
        return Memory(self.cache, grams) if self.cache or grams else None

    def _grams(self) -> Grams:
        """Return n-gram models of the model's corpus, with fitted gates."""
        from charrnn.training.fitting import fit_grams

        saved = self.checkpoint
        corpus, ids_of = _corpus_for("--with-ngram", saved), saved.vocab.ids_of
        train, val = ids_of(corpus.train), ids_of(corpus.val)
        return fit_grams(
            saved.params,
            saved.model_config,
            self.cache,
            train,
            val,
            end=saved.vocab.end,
            tab=saved.tab,
            adaptive=self.adaptive,
        )

    @cached_property
    def _first(self) -> Remembered | None:
        """Return what the memory begins with."""
        if self._memory is None or self.memory_from is None:
            return None
        from charrnn.data.reading import text_of
        from charrnn.evaluation.recall import remembered_after

        text = text_of(self.memory_from, self.checkpoint.text_config)
        vocab = self.checkpoint.vocab
        ids = vocab.ids_of(text, "skip")
        return remembered_after(self.weights, self.checkpoint.model_config, self._memory, ids, vocab.end)

    def _recall(self, *, across: bool = False, is_fitted: bool = False) -> Recall | None:
        """Return how the memory is used in scoring."""
        from charrnn.evaluation.recall import Recall

        return None if self._memory is None else Recall(self._memory, self._first, across, is_fitted)

    @cached_property
    def writer(self) -> Writer:
        """Return the writer of this model alone; `mixed` returns one of several models."""
        return mixed([(self, 1.0)])

    @spell_out(SampleConfig)
    def stream(
        self,
        length: int | None = 500,
        *,
        prime: str = "",
        seed: int | None = None,
        clamp: Mapping[str, float] | None = None,
        **settings: Unpack[FilterSettings],
    ) -> Iterator[str]:
        """Return an iterator of `length` characters that continue the prime, which is not repeated.

        length    None: endless
        prime     the text to continue; without it, the sample starts like a line of the training text. A model that
                  reads backwards writes what leads to the prime, and yields it at once when it is finished
        seed      random if None
        clamp     units to hold at a value while the model writes: {"layer0.c[123]": 2.0}; see `generation.clamps`
        settings  fields of `SampleConfig`: temperature=0.8, top_k, top_p, min_p, repeat_penalty, repeat_window, lines,
                  stop, regex, charset, unknown
        Raises:   VocabError for a character that the vocabulary lacks; ConfigError for numbers out of range, and for
                  settings or units that the model does not have.
        """
        return self.writer.clamped(clamp).stream(prime=prime, seed=seed, length=length, **settings)

    @spell_out(SampleConfig)
    def sample(
        self,
        length: int | None = 500,
        *,
        prime: str = "",
        seed: int | None = None,
        clamp: Mapping[str, float] | None = None,
        **settings: Unpack[FilterSettings],
    ) -> str:
        """Return the prime and `length` characters that continue it; arguments as for `stream`.

        If the model reads backwards, the characters lead to the prime.
        """
        return "".join(self.writer.clamped(clamp).text(prime=prime, seed=seed, length=length, **settings))

    @spell_out(SampleConfig)
    def samples(
        self,
        count: int = 1,
        length: int | None = 500,
        *,
        primes: Iterable[str] = ("",),
        seed: int | None = None,
        best_of: int = 1,
        novel: int = 0,
        threads: int | None = None,
        clamp: Mapping[str, float] | None = None,
        **settings: Unpack[FilterSettings],
    ) -> Iterator[Sample]:
        """Return an iterator of `count` samples for each prime, generated in batches; as for `Writer.samples`.

        clamp  as for `stream`
        """
        return self.writer.clamped(clamp).samples(
            count, length=length, primes=primes, seed=seed, best_of=best_of, novel=novel, threads=threads, **settings
        )

    def save(self, path: str | PathLike[str]) -> None:
        """Write the model to a `.npz` file, which replaces an earlier one; its memory keeps the size that was fitted.

        Raises:  ConfigError if the name does not end in .npz; CharRNNError if the file cannot be written.
        """
        if not isinstance(path, (str, PathLike)) or Path(path).suffix != ".npz":
            raise ConfigError(f"save needs the path of a .npz file, got {path!r}")
        ckpt.save(Path(path), self.checkpoint, "name another file")

    def to_torch(self) -> dict[str, Array]:
        """Return the weights for `load_state_dict` of a PyTorch module, by name; its memory is left out.

        The names are those of a module with an nn.Embedding `embedding`, unless inputs are one-hot, an nn.RNN, nn.LSTM
        or nn.GRU `rnn`, and an nn.Linear `readout`. The arrays are copies.
        Raises:  ConfigError, naming the setting, if PyTorch has no such recurrent net.
        """
        from charrnn.interop.pytorch import to_torch

        return to_torch(self.checkpoint.model_config, self.checkpoint.params)

    @spell_out()
    def read(self, text: str, *, state: Array | None = None, unknown: str = "error") -> Trace:
        """Read a text and return the hidden states and the log-probabilities after each character as arrays.

        A model of documents first reads its end mark: its trace has one id more than the text, and the first
        log-probabilities are those of the first character. The trace is in the order of reading: that of a model that
        reads backwards begins with the last character.
        state    the `state` of an earlier trace, to continue from there; from the start of a text if None
        unknown  what to do with characters that the vocabulary lacks: "error" or "skip"
        Raises:  VocabError for an unknown character under "error"; ConfigError if the arrays would take over 1 GiB.
        """
        from charrnn.evaluation.trace import trace

        saved, vocab = self.checkpoint, self.checkpoint.vocab
        ids = vocab.encode(text, unknown)
        if state is None:
            state = model.zero_state(saved.model_config, 1)
            if vocab.end is not None:
                ids = np.append(np.array([vocab.end], ids.dtype), ids)
        symbols = (*vocab.symbols, *(f"<{name}>" for name in vocab.specials))
        return trace(saved.model_config, self.weights, ids, symbols, state)

    @spell_out()
    def inspect(self, text: str | Text, *, top: int = 5, unknown: str = "skip") -> Reading:
        """Read a text; return the surprise of each character, what was expected instead, and where the model looked.

        The predictions are those that `evaluate` scores, with the model's memory if it has one. A model of documents
        reads its end mark first; the mark is not in the result, and the first character is predicted.
        top      how many of the most likely symbols to return in the place of each character
        unknown  what to do with characters that the vocabulary lacks: "skip" or "error"
        Raises:  VocabError for an unknown character under "error"; ConfigError if top is less than 0.
        """
        from charrnn.data.reading import text_of
        from charrnn.insight.reading import ids_of, read

        saved, text = self.checkpoint, text_of(text, self.checkpoint.text_config)
        recall = self._recall(is_fitted=self._is_fitted_to(text))
        ids = ids_of(saved.vocab, text, unknown)
        return read(self.weights, saved.model_config, saved.vocab, ids, top=top, recall=recall)

    @spell_out()
    def activations(
        self, text: str | Text, names: Sequence[str], *, unknown: str = "skip", rows: int = 1
    ) -> dict[str, Array]:
        """Read a text; return each of these activations after each of the T characters that `inspect` returns.

        names    such as "layer0.h" and "layer1.f"; `charrnn.insight.activations.kinds` lists those of a model
        unknown  as for `inspect`
        rows     batch rows that the text is split into: faster, and nearly the same
        Shapes:  returns (T, H) for each name
        Raises:  VocabError as for `inspect`; ConfigError for a name that the model does not have, and for arrays of
                 more than 1 GiB.
        """
        from charrnn.data.reading import text_of
        from charrnn.insight.activations import activations
        from charrnn.insight.reading import ids_of

        saved, end = self.checkpoint, self.checkpoint.vocab.end
        ids = ids_of(saved.vocab, text_of(text, saved.text_config), unknown)
        found = activations(self.weights, saved.model_config, ids, names, end=end, rows=rows)
        turn = -1 if saved.vocab.reverse else 1
        return {name: array[int(end is not None) :][::turn] for name, array in found.items()}

    @spell_out()
    def complete(
        self,
        text: str,
        *,
        to: str = "word",
        count: int = 5,
        max_length: int | None = None,
        unknown: str = "error",
    ) -> Completions:
        """Return the most likely completions of a text with their probabilities; only the end of a long text is read.

        to          "char": the next character; "word" or "line": up to its end, without the character that ends it
        count       number of completions, at most
        max_length  characters after which a completion is cut off; if None, 32 for a word and 200 for a line
        unknown     what to do with characters that the vocabulary lacks: "error" or "skip"
        Raises:     VocabError for an unknown character under "error"; ConfigError for options that make no sense.
        """
        from charrnn.generation.completion import complete

        return complete(self.writer, text, to=to, count=count, max_length=max_length, unknown=unknown)

    @spell_out()
    def evaluate(
        self,
        text: str | Text,
        *,
        unknown: str = "skip",
        protocol: str = "whole",
        dynamic: bool = False,
        across_documents: bool = False,
        batch_size: int = 32,
        threads: int | None = None,
    ) -> Evaluation:
        """Score a text: return the model's loss, bits per character and accuracy on it, without and with its memory.

        If the memory's gate was fitted to this text, each part of the text is scored by a gate fitted to others.
        unknown     what to do with characters that the vocabulary lacks: "skip" and count them, or "error"
        protocol    "whole": the hidden state is carried through the whole text. "windows": it is zero at the start of
                    every 256 characters. "lanes": the text is split into batch rows, each read after a warm-up; faster
                    than "whole", and within about 0.002 nats of it
        dynamic     True: also score the text with a model that learns as it reads
        across_documents  True: the memory outlasts the end of a document
        batch_size  batch rows or windows read at once, at most
        threads     CPU cores to use; if None, as many as suit the model. The figures are the same for any number
        Raises:     VocabError for an unknown character under "error".
        """
        from charrnn.data.reading import text_of
        from charrnn.evaluation.statistics import COLD_WINDOW, Evaluation, Sums
        from charrnn.evaluation.whole import dynamic_predictions, predictions, rows_for, warm_up_of, workers_for

        if protocol not in PROTOCOLS:
            raise ConfigError(f"protocol {protocol!r} is not one of {', '.join(PROTOCOLS)}")
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ConfigError(f"batch_size must be a whole number of at least 1, got {batch_size!r}")
        config, vocab, tab = self.checkpoint.model_config, self.checkpoint.vocab, self.checkpoint.tab
        text = text_of(text, self.checkpoint.text_config)
        ids = vocab.ids_of(text, unknown)
        total, params, cold = max(0, len(ids) - 1), self.checkpoint.params, protocol == "windows"
        fitted = self._is_fitted_to(text)
        recall = self._recall(across=across_documents, is_fitted=fitted)
        rows = (
            1
            if protocol == "whole"
            else rows_for(config, len(ids) - 1, batch_size, recall if protocol == "lanes" else None)
        )
        begin = time.perf_counter()
        sums = [Sums(total) for _ in range(1 if recall is None else 2)]
        with workers_for(config, params, len(ids), rows, threads, recall) as workers:
            for scored in predictions(params, workers, ids, rows, cold=cold, end=vocab.end, tab=tab):
                for own, found in zip(sums, scored.each, strict=True):
                    own.add(found)
        seconds = time.perf_counter() - begin
        adapted = [Sums(total) for _ in sums]
        adapting = dynamic_predictions(params, config, ids, vocab.end, tab, threads, recall)
        for scored in adapting if dynamic else ():
            for own, found in zip(adapted, scored.each, strict=True):
                own.add(found)
        skipped = len(text) - len(ids)
        learned = vocab.count_unknown(text) if vocab.unknown is not None else 0
        how = {"whole": "", "lanes": f"-{rows}x{warm_up_of(config, recall)}", "windows": f"-{COLD_WINDOW}"}
        chars = sums[0].tally.chars
        signature = {
            "cell": config.cell,
            "layers": config.num_layers,
            "hidden": config.hidden_size,
            **({"attention": config.attention} if config.attention else {}),
            **({"order": "reverse"} if vocab.reverse else {}),
            "protocol": protocol + how[protocol],
            "chars": chars,
            **({} if tab is None else {"scored": "targets"}),
            "unknown": f"skipped-{skipped}" if skipped else f"learned-{learned}" if learned else 0,
            "text": f"sha256-{text.sha256[:8]}",
            "charrnn": __version__,
        }

        def result(sums: Sums, adapted: Sums) -> Evaluation:
            return Evaluation(
                chars=chars,
                nats_per_char=sums.tally.nats_per_char,
                interval=sums.interval(),
                accuracy=sums.tally.accuracy,
                dynamic=adapted.tally.nats_per_char,
                by_position=sums.by_position,
                unknown=skipped + learned,
                chars_per_second=chars / seconds if chars else None,
                signature="|".join(f"{key}:{value}" for key, value in signature.items()),
            )

        alone, *both = (result(*pair) for pair in zip(sums, adapted, strict=True))
        if recall is None:
            return alone
        memory = str(recall.memory.size) + "-out-of-fold" * fitted + "-across-documents" * across_documents
        if self.memory_from is not None:
            memory += f"-from-{text_of(self.memory_from, self.checkpoint.text_config).sha256[:8]}"
        if recall.memory.grams is not None:
            memory += f"|ngram:{recall.memory.grams.trie.n}" + "-adaptive" * self.adaptive
        return replace(alone, memory=replace(both[0], signature=f"{both[0].signature}|memory:{memory}"))

    def _is_fitted_to(self, text: Text) -> bool:
        """Return whether gates were fitted to this text: that of the cache, or that of n-gram models."""
        if self.cache is not None and self.cache.fitted_to:
            return self.cache.fitted_to == text.sha256
        return self.with_ngram and self.validation_text().sha256 == text.sha256

    @spell_out()
    def score(self, lines: Iterable[Line], *, per_char: bool = False, threads: int | None = None) -> Iterator[Scored]:
        """Return an iterator of the scores of lines, in their order; `score_blocks` does not wait for more lines.

        lines     strings, each scored by itself: as a document if the model learned documents, else between line ends;
                  or pairs of a context and the text that continues it, of which the text is scored, without an end; if
                  the model learned only targets, of a source and its target, which is scored with its end. Of a model
                  that reads backwards, the context is what follows the text
        per_char  True: with the bits of each character
        threads   CPU cores to use; all if None. The scores are the same for any number
        Raises:   ConfigError if lines is a string, or threads out of range; VocabError if a bytes model gets half a
                  surrogate pair.
        """
        from charrnn.evaluation.scoring import in_blocks

        if isinstance(lines, str) or not isinstance(lines, Iterable):
            raise ConfigError("score needs a list of lines: for one line, call score([line])")
        blocks = in_blocks(_checked(lines))
        return chain.from_iterable(self.score_blocks(blocks, per_char=per_char, threads=threads, ahead=True))

    def score_blocks(
        self,
        blocks: Iterable[Sequence[Line]],
        *,
        per_char: bool = False,
        progress: ScoreProgress | None = None,
        threads: int | None = None,
        ahead: bool = False,
    ) -> Generator[list[Scored], None, None]:
        """Return an iterator of the scores of each block of lines, yielded before the next block is taken.

        Otherwise as for `score`.
        progress  called with the number of a block's different lines that are scored, and that of all of them
        ahead     True: blocks are taken while those before them are scored, so that no core waits
        """
        from charrnn.evaluation.scoring import score_blocks

        saved = self.checkpoint
        return score_blocks(
            saved.model_config,
            saved.params,
            saved.vocab,
            blocks,
            per_char=per_char,
            progress=progress,
            threads=threads,
            ahead=ahead,
            recall=self._recall(),
            targets=saved.text_config.context,
        )

    @spell_out()
    def embed(
        self, lines: Iterable[str], *, layer: int | str = "all", pooling: str = "mean", threads: int | None = None
    ) -> Array:
        """Return a vector for each line: the model's hidden states at the line's characters, pooled.

        Each line is read by itself, as `score` reads it, without the model's memory. A line without characters has the
        state after the start mark.
        layer    the layer of the states, from 0; "top"; or "all": the vectors of all layers side by side
        pooling  "mean", "last" or "max" of the states
        threads  CPU cores to use; all if None. The vectors are the same for any number
        Shapes:  returns (N, D) of float32; D is the hidden size, times the number of layers for "all"
        Raises:  ConfigError if lines is a string, and for a layer that the model does not have.
        """
        from charrnn.embedding.settings import EmbedConfig
        from charrnn.embedding.vectors import in_blocks

        if isinstance(lines, str) or not isinstance(lines, Iterable):
            raise ConfigError("embed needs a list of lines: for one line, call embed([line])")
        blocks = in_blocks(_strings(lines), len)
        size = EmbedConfig(str(layer), pooling).size(self.checkpoint.model_config)
        vectors = self.embed_blocks(blocks, layer=layer, pooling=pooling, threads=threads)
        return np.concatenate([np.empty((0, size), np.float32), *vectors])

    def embed_blocks(
        self,
        blocks: Iterable[Sequence[str]],
        *,
        layer: int | str = "all",
        pooling: str = "mean",
        threads: int | None = None,
    ) -> Generator[Array, None, None]:
        """Return an iterator of the vectors of each block of lines; otherwise as for `embed`.

        With one thread, a block is taken when its vectors are needed; with more, some are taken ahead.
        """
        from charrnn.embedding.settings import EmbedConfig
        from charrnn.embedding.vectors import embed_blocks

        config, settings = self.checkpoint.model_config, EmbedConfig(str(layer), pooling)
        return embed_blocks(config, self.weights, self.checkpoint.vocab, blocks, settings, threads=threads)

    def fill(
        self,
        text: str,
        backward: LanguageModel | None = None,
        *,
        mark: str = "_",
        max_gap: int = 10,
        top: int = 1,
        unknown: str = "error",
    ) -> Fills:
        """Return the most probable fills of the gaps of a text, given the text on both sides.

        backward  a model of the same text that was trained with `reverse=True`; without it, fewer fills are right
        mark      stands for one unknown character; followed by *, for any number of them up to max_gap
        top       fills, at most
        unknown   what to do with characters that the vocabulary lacks: "error" or "skip"
        Raises:   ConfigError for a bad setting, or models that do not fit together; VocabError for an unknown character
                  under "error"; CorpusError if a gap is too long.
        """
        from charrnn.restoration.filling import fill
        from charrnn.restoration.gaps import FillConfig

        return fill(self._pair(backward), text, FillConfig(mark, max_gap, top), unknown)

    def repair(
        self,
        lines: Iterable[str],
        backward: LanguageModel,
        *,
        rate: float = 0.01,
        max_edits: int | None = None,
        only_words: bool = False,
    ) -> list[Repaired]:
        """Return each line with its typing errors undone, and the edits.

        backward    a model of the same text that was trained with `reverse=True`
        rate        the share of characters that are wrong; the higher, the more is changed
        max_edits   edits of each line, at most; all if None
        only_words  True: change letters only
        Raises:     ConfigError if lines is a string, for a bad setting, or models that do not fit together.
        """
        from charrnn.restoration.noise import RepairConfig
        from charrnn.restoration.repair import Repairer

        if isinstance(lines, str) or not isinstance(lines, Iterable):
            raise ConfigError("repair needs a list of lines: for one line, call repair([line], backward)")
        repairer = Repairer(self._pair(backward), RepairConfig(rate, max_edits, only_words))
        return repairer.repair([*_strings(lines, "repair")])

    def _pair(self, backward: LanguageModel | None) -> Pair:
        """Return this model and a backward one."""
        from charrnn.restoration.pair import Pair

        return Pair.of(self.checkpoint, None if backward is None else backward.checkpoint)

    def baselines(self, text: str | Text, *, unknown: str = "skip", reading: ReadProgress | None = None) -> Baselines:
        """Return the scores of an n-gram model and of compressors on the characters that `evaluate` scores.

        They learn from the training split of the model's corpus. The order of the n-gram model is chosen on the
        validation split, or on the text itself if there is none or the text is that split.
        unknown: as for `evaluate`
        reading: as for `read_text`
        Raises:  CorpusError if the corpus cannot be found or has changed; VocabError as for `evaluate`; ConfigError if
                 the model learned only targets.
        """
        from charrnn.data.reading import text_of
        from charrnn.evaluation.baselines import measure

        saved = self.checkpoint
        if saved.tab is not None:
            raise ConfigError(
                "baselines score every character, and this model only what follows a tab (--context): leave them out"
            )
        text = text_of(text, saved.text_config)
        corpus = _corpus_for("baselines", saved, reading)
        val = corpus.val[:0] if corpus.val.sha256 == text.sha256 else corpus.val
        ids_of = saved.vocab.ids_of
        return measure(ids_of(corpus.train), ids_of(val), ids_of(text, unknown), saved.vocab)

    def validation_text(self, *, reading: ReadProgress | None = None) -> Text:
        """Return the validation split of the model's corpus, read again and checked by its hash.

        reading: as for `read_text`
        Raises:  CorpusError if the corpus cannot be found, has changed, or has no validation split.
        """
        from charrnn.training.resume import corpus_of

        text = corpus_of(self.checkpoint, reading=reading).val
        if not len(text):
            raise CorpusError(
                "the model was trained on its whole corpus and has no validation split: give a text to score"
            )
        return text

    def test_text(self, *, reading: ReadProgress | None = None) -> Text:
        """Return the test split, on which nothing was chosen; otherwise as `validation_text`.

        reading: as for `read_text`
        Raises:  CorpusError if the corpus cannot be found, has changed, or has no test split.
        """
        from charrnn.training.resume import corpus_of

        text = corpus_of(self.checkpoint, reading=reading).test
        if not len(text):
            raise CorpusError("the model has no test split: train with --test-fraction, or give a text to score")
        return text

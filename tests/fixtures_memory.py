"""Models with a memory, and texts that repeat themselves, for the tests of what uses it."""

from dataclasses import replace

import numpy as np

from charrnn.api import LanguageModel
from charrnn.checkpoint import Checkpoint
from charrnn.config import ModelConfig, TextConfig, TrainConfig
from charrnn.data.corpus import Source
from charrnn.data.text import END
from charrnn.data.vocab import Vocab
from charrnn.memory.adaptive import Adaptive
from charrnn.memory.cache import FEATURES, Cache
from charrnn.memory.gate import FOLDS
from charrnn.memory.grams import FEATURES as GRAM_FEATURES
from charrnn.memory.grams import Grams
from charrnn.memory.ngram import NGrams
from charrnn.memory.trie import Trie
from charrnn.nn import model
from charrnn.nn.functional import log_softmax

SYMBOLS = "\nabcdefgh"
SIZE = 60  # characters that the memory reaches back


def text_of(length, seed=2, phrases=12):
    """Return a text of few phrases that come again and again, so that a memory sees them again."""
    rng = np.random.default_rng(seed)
    some = ["".join(rng.choice(list(SYMBOLS), rng.integers(3, 12))) for _ in range(phrases)]
    return "".join(rng.choice(some, length // 3 + 1))[:length]


def some_cache(config, size=SIZE, seed=5, fitted_to="00"):
    """Return a cache that looks fitted: each of its gates is another one, and all of them vary with the features."""
    rng = np.random.default_rng(seed)
    gates = 0.2 * rng.standard_normal((1 + FOLDS, FEATURES + 1))
    gates[:, 1] = 0.05 * rng.random(1 + FOLDS)  # of the logarithm of the mass, which is about 10
    cache = Cache.unfitted(config.hidden_size, config.dtype)
    mean = 0.1 * rng.standard_normal(config.hidden_size).astype(config.dtype)
    return replace(cache, size=size, sharpness=12.0, mean=mean, gates=gates, fitted_to=fitted_to)


def some_grams(ids, vocab_size, adaptive=True, seed=3):
    """Return n-gram models of a text, with gates that vary with the features, another one for each fold."""
    gates = 0.3 * np.random.default_rng(seed).standard_normal((2, 1 + FOLDS, GRAM_FEATURES + 1))
    trie = Trie.of(NGrams.of(np.asarray(ids), vocab_size, 4))
    return Grams(trie, Adaptive(vocab_size, 6) if adaptive else None, tuple(gates[: 1 + adaptive]))


def memory_model(*, documents=False, seed=1, size=SIZE, fitted_to="00", memory=None, symbols=SYMBOLS, **settings):
    """Return a model with random weights, large enough that what was read before matters, and with a memory.

    documents  True: it knows where documents end
    size       of the memory that is in the checkpoint; the others are settings of `LanguageModel` and `ModelConfig`
    """
    vocab = Vocab(symbols, specials=("end",) if documents else ())
    own = {name: settings.pop(name) for name in ("memory_from", "with_ngram", "adaptive") if name in settings}
    config = ModelConfig(vocab.size, **{"hidden_size": 8, "dtype": "float64", **settings})
    params = model.init_params(config, np.random.default_rng(seed))
    params["out.W_hy"] *= 5
    saved = Checkpoint(
        config,
        TrainConfig(steps=1, seed=1),
        vocab,
        params,
        0,
        Source((), "00" * 32),
        text_config=TextConfig(split_documents="lines" if documents else None),
        cache=some_cache(config, size, fitted_to=fitted_to),
    )
    return LanguageModel(saved, memory=memory, **own)


def in_documents(*texts):
    """Return these texts as the documents of one text."""
    return END + END.join(texts) + END


def by_hand(lm, ids, *, reset=None, forget=None, folds=None, first=None, cache=None):
    """Return the log-probabilities (N - 1, V) after each id but the last: by the net, and with its memory.

    All is read in one go: by one forward pass, and one call of the cache.
    reset, forget  where the state is zero, and where the memory is as in the beginning; (N - 1,)
    folds          of the predictions; None: the first gate is used
    first          ids that were read before, from a zero state, as are its documents, and are remembered
    """
    saved, cache, weights = lm.checkpoint, cache or lm.cache, lm.weights
    config = saved.model_config
    before = None
    if first is not None:
        before = cache.entries(1)
        begins = first[:, None] == saved.vocab.end
        h, _, _ = model.hidden(weights, first[:, None], model.zero_state(config, 1), reset=begins)
        cache.recall(before, first[:, None], h)
    inputs = ids[:-1, None]
    reset, forget = (None if mask is None else np.asarray(mask)[:, None] for mask in (reset, forget))
    h, _, _ = model.hidden(weights, inputs, model.zero_state(config, 1), reset=reset)
    logits, _ = model.readout(weights, h)
    q = logits.copy()
    features = cache.recall(cache.entries(1, before), inputs, h, q, reset=forget, fitting=True)
    alone = log_softmax(logits)
    both = cache.mixed(alone, q, features, None if folds is None else folds[:, None])
    return alone[:, 0], both[:, 0]


def loss_of(log_probs, ids):
    """Return the mean loss of ids[1:], given the log-probabilities after each one before."""
    return -log_probs[np.arange(len(ids) - 1), ids[1:]].mean()

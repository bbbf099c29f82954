"""Random models for the tests of restoration."""

import numpy as np

from charrnn.checkpoint import Checkpoint
from charrnn.config import ModelConfig, TrainConfig
from charrnn.data.source import UNKNOWN
from charrnn.nn import model


def model_of(vocab, seed, scale=3.0, **settings):
    """Return a random model of this vocabulary, whose predictions differ."""
    config = ModelConfig(vocab_size=vocab.size, hidden_size=8, **settings)
    params = model.init_params(config, np.random.default_rng(seed))
    params["out.W_hy"] *= scale
    return Checkpoint(config, TrainConfig(), vocab, params, 0, UNKNOWN)

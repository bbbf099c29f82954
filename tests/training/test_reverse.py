"""A model that reads backwards is a forward model of the reversed text: the same weights, scores and samples."""

import numpy as np
import pytest
from fixtures_run import assert_same_run, finish, start, stop_at, write_text

import charrnn
from charrnn import Corpus
from charrnn.api import mixed
from charrnn.config import TextConfig
from charrnn.errors import ConfigError
from charrnn.insight.looks import Looks
from charrnn.training.finetune import adopt_text_form
from charrnn.training.loop import Stepped
from charrnn.training.run import Run

TRAIN, VAL = "the quick brown fox\njumps over\r\nThe lazy Dog ä.\n" * 9, "a brown dog\nquick jumps over it\n" * 2
SMALL = {"hidden_size": 8, "steps": 6, "seed": 3, "threads": 1, "batch_size": 4, "seq_len": 9, "reset_rate": 0.2}
WAYS = {
    "characters": {},
    "bytes": {"bytes": True},
    "lowercase": {"lowercase": True},
    "documents": {"split_documents": "lines"},
    "rare characters": {"min_count": 10},
}


@pytest.fixture(scope="module", params=WAYS.values(), ids=WAYS)
def pair(request, tmp_path_factory):
    """Return a model that reads backwards, and a forward model of the reversed text."""
    way, folder = request.param, tmp_path_factory.mktemp("pair")
    for name, text in (("train", TRAIN), ("val", VAL)):
        (folder / name).write_bytes(text.encode())
    config = TextConfig(**way)
    corpus = Corpus.read(str(folder / "train"), config, str(folder / "val"), seed=3)
    turned = Corpus(
        *(type(text)(np.ascontiguousarray(text.ids[::-1]), text.symbols) for text in (corpus.train, corpus.val)),
        corpus.test,
        corpus.source,
        corpus.val_source,
        settings=corpus.settings,
    )
    backward = charrnn.train(corpus, folder / "backward", progress=False, reverse=True, **SMALL, **way)
    return backward, charrnn.train(turned, folder / "forward", progress=False, **SMALL, **way)


def test_the_weights_are_those_of_the_reversed_text(pair):
    backward, forward = pair
    assert backward.checkpoint.vocab.reverse
    assert not forward.checkpoint.vocab.reverse
    assert backward.checkpoint.text_config.reverse
    for name, array in forward.checkpoint.params.items():
        np.testing.assert_array_equal(backward.checkpoint.params[name], array)
    assert [each["val_loss"] for each in backward.checkpoint.history] == [
        each["val_loss"] for each in forward.checkpoint.history
    ]
    assert backward.checkpoint.vocab.counts == forward.checkpoint.vocab.counts
    assert backward.checkpoint.vocab.starts == forward.checkpoint.vocab.starts


def test_scores_are_those_of_the_reversed_line_and_bits_are_in_its_order(pair):
    backward, forward = pair
    line = "the ZAP over"
    (own,) = backward.score([line], per_char=True)
    (other,) = forward.score([backward.checkpoint.vocab.in_form(line)[::-1]], per_char=True)
    assert (own.text, own.logprob, own.chars, own.unknown) == (line, other.logprob, other.chars, other.unknown)
    assert own.bits[: len(line)] == other.bits[: len(line)][::-1]
    assert own.bits[len(line) :] == other.bits[len(line) :]
    (given,) = backward.score([("fox", "the ")])
    (turned,) = forward.score([("xof", " eht")])
    assert (given.text, given.logprob) == ("the ", turned.logprob)


def test_a_reading_is_in_the_order_of_the_text(pair):
    backward, forward = pair
    text = "the brown fox" if forward.checkpoint.vocab.end is not None else "the fox\nover"
    own, other = backward.inspect(text, top=2), forward.inspect(text[::-1], top=2)
    if forward.checkpoint.vocab.unknown is None:
        assert own.text.strip("␄") == text
    assert own.text == other.text[::-1]
    for name in ("ids", "bits", "top_ids", "top_probs"):
        np.testing.assert_array_equal(getattr(own, name), getattr(other, name)[::-1])
    states = backward.activations(text, ["layer0.h"])["layer0.h"]
    np.testing.assert_array_equal(states, forward.activations(text[::-1], ["layer0.h"])["layer0.h"][::-1])
    assert backward.evaluate(text).nats_per_char == forward.evaluate(text[::-1]).nats_per_char


def test_looks_are_in_the_order_of_the_text():
    looks = Looks(np.array([[-1, -1], [0, -1], [1, 0]]), np.array([[0, 0], [0.5, 0], [0.3, 0.1]])).backwards()
    assert looks.at.tolist() == [[1, 2], [2, -1], [-1, -1]]
    assert looks.share.tolist() == [[0.3, 0.1], [0.5, 0], [0, 0]]


def test_samples_lead_to_the_prime(pair):
    backward, forward = pair
    own = next(backward.samples(1, 12, primes=[" fox"], seed=5))
    other = next(forward.samples(1, 12, primes=["xof "], seed=5))
    assert (own.logprob, own.prime) == (other.logprob, " fox")
    if forward.checkpoint.vocab.kind == "chars":
        assert own.text == other.text[::-1]
        assert backward.sample(12, prime=" fox", seed=5) == forward.sample(12, prime="xof ", seed=5)[::-1]
    assert backward.sample(9, prime=" fox", seed=5).endswith(" fox")


def test_ids_are_in_the_order_of_reading_and_decode_to_the_text(pair):
    backward, forward = pair
    ids = backward.checkpoint.vocab.encode("the fox ä.")
    np.testing.assert_array_equal(ids[-3:], forward.checkpoint.vocab.encode("eht"))
    if forward.checkpoint.vocab.unknown is None:
        assert backward.checkpoint.vocab.decode(ids) == "the fox ä."


@pytest.mark.usefixtures("no_sync")
def test_a_resumed_run_ends_with_the_weights_of_one_that_was_not_interrupted(tmp_path):
    path = write_text(tmp_path)
    finish(start(tmp_path / "whole", path, reverse=True))
    going = start(tmp_path / "parts", path, reverse=True)
    stop_at(going, lambda event: isinstance(event, Stepped) and event.step == 9, save=True)
    finish(Run.resume(tmp_path / "parts"))
    assert_same_run(tmp_path / "parts", tmp_path / "whole")
    with pytest.raises(ConfigError, match="reverse contradicts the run"):
        Run.resume(tmp_path / "parts", settings={"reverse": False})


def test_the_validation_split_is_that_of_a_forward_model():
    corpus = Corpus.from_text(TRAIN)
    assert str(corpus.train) + str(corpus.val) == TRAIN
    model = charrnn.Vocab.from_text(TRAIN)
    backward = type(model)(model.symbols, reverse=True)
    ids = backward.ids_of(corpus.val)
    assert ids[np.arange(len(ids))].tolist() == model.ids_of(corpus.val)[np.arange(len(ids))[::-1]].tolist()


def test_directions_do_not_mix(pair):
    backward, forward = pair
    with pytest.raises(ConfigError, match="--reverse contradicts the model of --init-from"):
        adopt_text_form({"reverse": True}, forward.checkpoint.vocab)
    assert adopt_text_form({}, backward.checkpoint.vocab)["reverse"]
    with pytest.raises(ConfigError, match="read in different directions"):
        mixed([(forward, 0.5), (backward, 0.5)])


def test_what_cannot_be_done_backwards_is_said(pair):
    backward, _ = pair
    with pytest.raises(ConfigError, match="reads backwards"):
        backward.complete("the ")
    with pytest.raises(ConfigError, match="--regex needs a model that reads forwards"):
        backward.sample(5, regex="a+")
    if backward.checkpoint.vocab.end is None:
        with pytest.raises(ConfigError, match="unlimited length"):
            backward.sample(None)


def test_stop_strings_and_line_ends_are_those_of_the_text(pair):
    backward, forward = pair
    if forward.checkpoint.vocab.kind == "bytes":
        return
    for seed in range(3):
        own = backward.sample(80, prime="x", seed=seed, stop=("ro", "e "))
        assert own == forward.sample(80, prime="x", seed=seed, stop=("or", " e"))[::-1]
        assert "ro" not in own
        assert "e " not in own
    if "\n" in forward.checkpoint.vocab.symbols:
        own = backward.sample(2000, prime="x", seed=1, lines=2)
        assert own == forward.sample(2000, prime="x", seed=1, lines=2)[::-1].removeprefix("\n")
        assert own.count("\n") == 1
        assert not own.startswith("\n")

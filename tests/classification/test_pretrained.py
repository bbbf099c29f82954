"""Classifiers that begin with language models: each direction computes at first exactly what its model does."""

from dataclasses import replace

import numpy as np
import pytest
from fixtures_run import start as start_model

from charrnn import checkpoint as ckpt
from charrnn.classification import pretrained
from charrnn.classification.run import ClassifierRun
from charrnn.data.corpus import Corpus
from charrnn.errors import CharRNNError
from charrnn.nn import encoder, model
from charrnn.nn.cells import CELLS
from charrnn.nn.classifier import own_params

from .test_run import TEXTS, write

pytestmark = pytest.mark.usefixtures("no_sync")

PLAIN = "".join(f"{line.split(chr(9))[1]}\n" for line in TEXTS.splitlines())
WORDS = "12 pink boats\n"


def language_model(folder, text=PLAIN, **settings):
    """Train a language model for a few steps; return the path of its checkpoint."""
    settings = {"steps": 2, "eval_every": 2, "learning_rate": 0.05} | settings
    run = start_model(folder, Corpus.from_text(text), **settings)
    for _ in run.events():
        pass
    run.close()
    return folder / "last.npz"


def classifier(tmp_path, *models, **settings):
    """Return the run of a classifier that begins with these models, before its first step."""
    settings = {"steps": 2, "seed": 3, "threads": 1, "val_fraction": 0.2} | settings
    path = write(tmp_path)
    run = ClassifierRun.start([path], tmp_path / "classifier", settings=settings, init_from=models, force=True)
    run.close()
    return run


def states(saved, ids):
    """Return the outputs of the last layer of a language model (T, H)."""
    weights = model.prepare(saved.params, saved.model_config)
    zero = model.zero_state(saved.model_config, 1)
    return model.outputs(weights, ids[:, None], zero)[:, 0].copy()


def outputs(run, ids):
    """Return the outputs of the last layer of the classifier (T, D H)."""
    params = own_params(run.state.params, run.training.settings.prefixes[-1])
    net = encoder.prepare(params, run.training.model_config, run.training.settings.directions)
    return encoder.read(net, ids[:, None], np.array([len(ids)]))[-1][:, 0]


NETS = [*((cell, 2, 3) for cell in CELLS), ("lstm", 1, 0), ("mlstm", 2, 0), ("gru", 1, 3)]


@pytest.mark.parametrize(("cell", "num_layers", "embed_size"), NETS)
def test_each_direction_computes_what_its_language_model_does(tmp_path, cell, num_layers, embed_size):
    settings = {"cell": cell, "num_layers": num_layers, "embed_size": embed_size, "hidden_size": 5, "dtype": "float64"}
    forwards = language_model(tmp_path / "f", **settings)
    backwards = language_model(tmp_path / "b", reverse=True, seed=6, **settings)
    run = classifier(tmp_path, backwards, forwards)
    ids = run.vocab.encode(WORDS)
    found = outputs(run, ids)
    one, two = states(ckpt.load(forwards), ids), states(ckpt.load(backwards), ids[::-1])[::-1]
    np.testing.assert_allclose(found[:, :5], one, rtol=1e-12)
    np.testing.assert_allclose(found[:, 5:], two, rtol=1e-12)
    assert np.ptp(found) > 0.01


@pytest.mark.parametrize(("reverse", "part"), [(False, slice(0, 8)), (True, slice(8, 16))])
def test_one_model_gives_one_direction(tmp_path, reverse, part):
    path = language_model(tmp_path / "model", reverse=reverse, embed_size=3, num_layers=2)
    run = classifier(tmp_path, path)
    ids, step = run.vocab.encode(WORDS), -1 if reverse else 1
    np.testing.assert_allclose(outputs(run, ids)[:, part], states(ckpt.load(path), ids[::step])[::step], rtol=1e-5)
    assert run.training.model_config.embed_size == 3


def test_several_nets_begin_with_the_same_model_and_end_apart(tmp_path):
    path = language_model(tmp_path / "model")
    run = classifier(tmp_path, path, nets=2, next_weight=0.5)
    params = run.state.params
    for name, array in ckpt.load(path).params.items():
        if name.startswith("layer"):
            np.testing.assert_array_equal(params[f"net0.{name}"], array)
            np.testing.assert_array_equal(params[f"net1.{name}"], array)
    assert not np.array_equal(params["net0.out.W_hy"], params["net1.out.W_hy"])
    assert not np.array_equal(params["net0.reverse0.W_hh"], params["net1.reverse0.W_hh"])
    for _ in run.events():
        pass
    assert not np.array_equal(params["net0.layer0.W_hh"], params["net1.layer0.W_hh"])


def test_the_vocabulary_and_the_form_of_the_text_are_those_of_the_model(tmp_path):
    path = language_model(tmp_path / "model", lowercase=True, reverse=True)
    run = classifier(tmp_path, path)
    assert run.vocab == replace(ckpt.load(path).vocab, reverse=False)
    assert run.text_config.lowercase
    again = ClassifierRun.resume(tmp_path / "classifier", settings={"lowercase": True})
    again.close()
    assert ckpt.load(tmp_path / "classifier/last.npz").init_from == str(path)


def test_a_tied_embedding_is_read_as_its_model_reads_it(tmp_path):
    path = language_model(tmp_path / "model", embed_size=4, tied=True)
    run = classifier(tmp_path, path)
    ids = run.vocab.encode(WORDS)
    np.testing.assert_allclose(outputs(run, ids)[:, :8], states(ckpt.load(path), ids), rtol=1e-5)


@pytest.mark.parametrize("num_layers", [1, 2])
def test_a_readout_of_the_first_layer_comes_from_a_model_of_one(tmp_path, num_layers):
    path = language_model(tmp_path / "model", num_layers=num_layers)
    run, saved = classifier(tmp_path, path, next_weight=0.5), ckpt.load(path)
    for name in ("W_hy", "b_y"):
        same = np.array_equal(run.state.params[f"next0.{name}"], saved.params[f"out.{name}"])
        assert same == (num_layers == 1)
    assert not run.state.params["next1.b_y"].any()


def test_a_model_that_shares_its_embedding_gives_no_readout(tmp_path):
    path = language_model(tmp_path / "model", embed_size=4, tied=True)
    assert not classifier(tmp_path, path, next_weight=0.5).state.params["next0.b_y"].any()


def test_several_nets_begin_alike_and_part(tmp_path):
    path = language_model(tmp_path / "model", embed_size=3)
    run = classifier(tmp_path, path, nets=2, next_weight=0.5, dropout=0.3)
    params = run.state.params
    shared = [name for name in params if (name.startswith("net0.") and "layer0" in name) or "embed" in name]
    assert all(np.array_equal(params[name], params[name.replace("net0", "net1")]) for name in shared)
    for _ in run.events():
        pass
    for name in ("embed.W_e", "layer0.W_hh", "next0.W_hy"):
        assert not np.array_equal(params[f"net0.{name}"], params[f"net1.{name}"]), name


def test_training_leaves_the_models_as_they_are(tmp_path):
    path = language_model(tmp_path / "model")
    before = path.read_bytes()
    run = classifier(tmp_path, path)
    for _ in run.events():
        pass
    assert path.read_bytes() == before


def refusal(call, *args, **options):
    with pytest.raises(CharRNNError) as caught:
        call(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_refused(tmp_path):
    first, second = language_model(tmp_path / "1"), language_model(tmp_path / "2", seed=7)
    backwards = language_model(tmp_path / "3", reverse=True)
    other = language_model(tmp_path / "4", text=PLAIN + "€", reverse=True)
    larger = language_model(tmp_path / "5", hidden_size=9, reverse=True)
    lower = language_model(tmp_path / "6", lowercase=True, reverse=True)

    def told(*models, **settings):
        return refusal(classifier, tmp_path, *models, **settings)

    assert "read in the same direction: give one forwards, one of --reverse" in told(first, second)
    assert "different vocabularies" in told(first, other)
    assert "differ in --hidden-size, 8 and 9" in told(first, larger)
    assert "differ in --lowercase, False and True" in told(first, lower)
    assert "reads backwards: leave out --no-bidirectional" in told(backwards, bidirectional=False)
    assert told(first, hidden_size=9) == "--hidden-size 9 contradicts --init-from, with which it is 8: leave it out"
    assert "--cell gru contradicts --init-from" in told(first, backwards, cell="gru")
    assert "--lowercase contradicts --init-from, with which it is False" in told(first, lowercase=True)
    classifier(tmp_path, first, hidden_size=8)
    own = tmp_path / "classifier/last.npz"
    assert f"{own} is a classifier, not a language model" in told(own)


def test_settings_are_those_of_the_first_model(tmp_path):
    saved = ckpt.load(language_model(tmp_path / "1", embed_size=2))
    other = ckpt.load(language_model(tmp_path / "2", embed_size=2, reverse=True))
    assert pretrained.settings_of([saved], {"seed": 1}, 2)["embed_size"] == 2
    found = pretrained.settings_of([saved, other], {"embed_size": 4}, 2)
    assert found == {
        "cell": "lstm", "hidden_size": 8, "num_layers": 1, "embed_size": 4, "dtype": "float32",
        "bytes": False, "normalize": "none", "lowercase": False,
    }  # fmt: skip

"""The library as a notebook uses it."""

import ast
import inspect
import json
import os
import re
import textwrap
from dataclasses import fields

import numpy as np
import pytest
from fixtures_memory import text_of
from fixtures_run import SETTINGS, TEXT, finish, output_of, start, stop_at, write_text

import charrnn
from charrnn import api, keywords
from charrnn import checkpoint as ckpt
from charrnn.api import LanguageModel
from charrnn.checkpoint import Checkpoint
from charrnn.config import ModelConfig, TextConfig, TrainConfig, sort_settings
from charrnn.data.corpus import Corpus, Source
from charrnn.data.vocab import Vocab
from charrnn.errors import (
    CharRNNError,
    CheckpointError,
    ConfigError,
    CorpusError,
    DivergedError,
    RunFolderError,
    VocabError,
)
from charrnn.generation.settings import SampleConfig
from charrnn.generation.writer import Writer
from charrnn.nn import model
from charrnn.training.loop import Evaluating, Report, Stepped

pytestmark = pytest.mark.usefixtures("no_sync")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return the folder of a short run on a file."""
    folder = tmp_path_factory.mktemp("run")
    finish(start(folder / "run", write_text(folder), steps=40))
    return folder / "run"


@pytest.fixture(scope="module")
def lm(folder):
    """Return the model of that run."""
    return charrnn.load(folder)


# The example, the names


def test_the_documented_example_runs(tmp_path, monkeypatch, capsys):
    example = inspect.getdoc(api).split("\n\n", 1)[1]
    assert example.startswith("import charrnn\n")
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path, name="corpus.txt")
    # As it is written, but for a training of seconds and not of a minute.
    assert "minutes=1)" in example
    quick = ", ".join(f"{name}={value!r}" for name, value in (SETTINGS | {"eval_every": 10}).items())
    exec(compile(example.replace("minutes=1)", f"{quick})"), "the example", "exec"), {})
    out = capsys.readouterr().out
    *sample, bpc, first, last = out.splitlines()
    assert len("\n".join(sample)) == 200
    assert set("\n".join(sample)) <= set(TEXT)
    assert float(bpc) > 0
    assert re.fullmatch(r"10 \d\.\d+", first)
    assert re.fullmatch(r"20 \d\.\d+", last)


def test_the_lists_of_public_names_agree():
    assert charrnn.__all__ == sorted(set(charrnn.__all__), key=sorting_key)
    assert {*charrnn._HOMES, "__version__"} == set(charrnn.__all__)
    tree = ast.parse(inspect.getsource(charrnn))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    typed = {name.name: f"{node.module}" for node in block.body for name in node.names}
    assert typed == {name: f"charrnn.{home}" for name, home in charrnn._HOMES.items()}
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = charrnn.nonsense


def sorting_key(name):
    """Return what ruff sorts `__all__` by: constants, classes, functions."""
    return (not name.isupper(), not name[0].isupper(), name)


@pytest.mark.parametrize("name", sorted(charrnn._HOMES))
def test_every_public_name_can_be_the_first_thing_asked_for(name):
    """In a fresh process, so that no other import hides a wrong home or a circle of imports."""
    home = charrnn._HOMES[name]
    code = f"import charrnn\nvalue = charrnn.{name}\nimport charrnn.{home}\nassert value is charrnn.{home}.{name}"
    assert output_of(code) == ""


def test_the_package_alone_imports_next_to_nothing():
    code = """
    import json, sys
    import charrnn
    charrnn.__version__
    alone = sorted(name for name in sys.modules if name.split(".")[0] in {"numpy", "click", "rich", "tqdm", "charrnn"})
    charrnn.TrainConfig
    settings = sorted(name for name in sys.modules if name.split(".")[0] in {"numpy", "click", "rich", "tqdm"})
    charrnn.load
    print(json.dumps([alone, settings, "numpy" in sys.modules]))
    """
    alone, settings, later = json.loads(output_of(textwrap.dedent(code)))
    assert alone == ["charrnn", "charrnn.version"]
    assert settings == []
    assert later


# load


def test_a_model_is_loaded_from_a_folder_a_file_or_the_newest_run(folder, tmp_path, monkeypatch):
    by_folder, by_text, by_file = charrnn.load(folder), charrnn.load(str(folder)), charrnn.load(folder / "last.npz")
    assert by_folder.path == by_text.path == folder / "best.npz"
    assert by_file.path == folder / "last.npz"
    assert by_file.checkpoint.step == 40
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="no model under"):
        charrnn.load()
    list(charrnn.fit(Corpus.from_text(TEXT), **SETTINGS))
    assert charrnn.load().path.parts == ("checkpoints", "text", "best.npz")
    assert charrnn.load().checkpoint.source.path is None


def test_what_cannot_be_loaded_is_a_charrnn_error(tmp_path):
    (tmp_path / "text.npz").write_bytes(b"text")
    for path in (tmp_path, tmp_path / "absent", tmp_path / "absent.npz", tmp_path / "text.npz"):
        with pytest.raises(CharRNNError):
            charrnn.load(path)


# fit


def test_fit_yields_what_happens_and_gives_the_lock_back(tmp_path):
    events = charrnn.fit(write_text(tmp_path), tmp_path / "run", **SETTINGS)
    kinds = {type(event) for event in events}
    assert kinds == {Stepped, Evaluating, Report, charrnn.Saved}
    charrnn.Run.resume(tmp_path / "run", settings={"steps": 25}).close()


def test_fit_is_the_same_as_a_run(tmp_path):
    path = write_text(tmp_path)
    list(charrnn.fit(path, str(tmp_path / "one"), **SETTINGS))
    finish(start(tmp_path / "other", path))
    assert (tmp_path / "one" / "last.npz").read_bytes() == (tmp_path / "other" / "last.npz").read_bytes()


def test_fit_can_be_left_and_gone_on_with(tmp_path):
    path = write_text(tmp_path)
    events = charrnn.fit(path, tmp_path / "run", **SETTINGS | {"save_every": 1})
    next(event for event in events if event.step == 5)
    events.close()
    finish(charrnn.Run.resume(tmp_path / "run"))
    finish(start(tmp_path / "whole", path, save_every=1))
    assert (tmp_path / "run" / "last.npz").read_bytes() == (tmp_path / "whole" / "last.npz").read_bytes()


def test_fit_gives_the_lock_back_where_training_fails(tmp_path):
    path, settings = write_text(tmp_path), SETTINGS | {"optimizer": "sgd", "learning_rate": 1e38}
    with pytest.raises(DivergedError) as caught:
        list(charrnn.fit(path, tmp_path / "run", **settings))
    charrnn.Run.resume(tmp_path / "run").close()
    assert caught.value.__traceback__ is not None  # with the error still at hand, and all that it refers to


def test_fit_refuses_a_taken_folder_unless_forced(tmp_path):
    path = write_text(tmp_path)
    list(charrnn.fit(path, tmp_path / "run", **SETTINGS))
    with pytest.raises(RunFolderError):
        charrnn.fit(path, tmp_path / "run", **SETTINGS)
    list(charrnn.fit(path, tmp_path / "run", force=True, **SETTINGS))


def test_fit_holds_back_the_share_that_is_asked_for(tmp_path):
    path = write_text(tmp_path)
    events = list(charrnn.fit(path, tmp_path / "run", **SETTINGS | {"val_fraction": 0.5}))
    assert {event.of for event in events if isinstance(event, Evaluating)} == {len(TEXT) // 2 - 1}
    assert str(charrnn.load(tmp_path / "run").validation_text()) == TEXT[len(TEXT) // 2 :]


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"hidden": 8}, ConfigError),
        ({"vocab_size": 8}, ConfigError),
        ({"cell": "none"}, ConfigError),
        ({"steps": 0}, ConfigError),
        ({"steps": 3, "epochs": 2}, ConfigError),
        ({"out": "folder", "steps": 3, "batch_size": 1.5}, ConfigError),
    ],
)
def test_settings_that_make_no_sense_are_refused_before_anything_is_made(tmp_path, monkeypatch, settings, kind):
    monkeypatch.chdir(tmp_path)
    path = write_text(tmp_path)
    with pytest.raises(kind) as caught:
        charrnn.fit(path, **settings)
    assert os.listdir(tmp_path) == ["boats.txt"]
    if "hidden" in settings:
        assert "unknown setting 'hidden': did you mean hidden_size?" == str(caught.value)


def test_settings_are_sorted_to_where_they_belong():
    assert sort_settings({"cell": "gru", "steps": 3, "bytes": True, "dropout": 0.1}) == (
        {"cell": "gru", "dropout": 0.1},
        TextConfig(bytes=True),
        TrainConfig(steps=3),
    )


def test_a_text_that_cannot_be_read_is_a_charrnn_error(tmp_path):
    with pytest.raises(CorpusError, match="does not exist"):
        charrnn.fit(tmp_path / "absent.txt", tmp_path / "run")


# sample


def test_a_sample_has_its_prime_and_the_length_asked_for(lm):
    text = lm.sample(40, prime="12 red", seed=1)
    assert text.startswith("12 red")
    assert len(text) == 46
    assert set(text) <= set(TEXT)
    assert lm.sample(0, prime="12 red") == "12 red"
    assert lm.sample(0) == ""
    assert len(lm.sample(seed=1)) == 500


def test_a_stream_yields_the_same_characters_without_the_prime(lm):
    characters = list(lm.stream(40, prime="12 red", seed=1))
    assert "".join(characters) == lm.sample(40, prime="12 red", seed=1)[6:]
    assert all(len(character) == 1 for character in characters)


def test_a_sample_is_decided_by_its_seed(lm):
    assert lm.sample(50, seed=1) == lm.sample(50, seed=1)
    assert len({lm.sample(50, seed=seed) for seed in range(5)}) == 5
    assert len({lm.sample(50) for _ in range(3)}) == 3
    assert lm.sample(50, seed=0, temperature=0) == lm.sample(50, seed=9, temperature=0)


def test_a_sample_without_a_prime_begins_as_lines_begin(lm):
    assert {lm.sample(1, seed=seed, temperature=1.0) for seed in range(60)} == {"1", "2"}


def test_a_sample_takes_no_more_than_the_likeliest(lm):
    greedy = lm.sample(50, prime="1", temperature=0)
    assert lm.sample(50, prime="1", temperature=5.0, top_k=1, seed=3) == greedy
    assert lm.sample(50, prime="1", temperature=5.0, top_k=2, seed=3) != greedy


def test_unknown_characters_of_a_prime_are_refused_or_skipped(lm):
    with pytest.raises(VocabError, match="Q"):
        lm.sample(5, prime="Quay")
    assert lm.sample(30, prime="Q12 Xred", unknown="skip", seed=2)[8:] == lm.sample(30, prime="12 red", seed=2)[6:]


@pytest.mark.parametrize(
    "options",
    [
        {"length": -1},
        {"temperature": -0.1},
        {"temperature": float("inf")},
        {"temperature": float("nan")},
        {"top_k": -1},
    ],
)
def test_numbers_out_of_range_are_refused_at_once(lm, options):
    with pytest.raises(ConfigError):
        lm.stream(**options)
    with pytest.raises(ConfigError):
        lm.sample(**options)


@pytest.mark.parametrize("call", ["sample", "evaluate"])
def test_a_policy_that_is_none_is_refused(lm, call):
    arguments = {"sample": {"prime": "1"}, "evaluate": {"text": "12 red"}}[call]
    with pytest.raises(CharRNNError):
        getattr(lm, call)(unknown="ignore", **arguments)


def test_a_protocol_that_is_none_is_refused(lm):
    with pytest.raises(CharRNNError):
        lm.evaluate("12 red", protocol="hole")


# evaluate


def test_a_model_evaluates_its_own_validation_text_as_training_did(lm):
    text = lm.validation_text()
    assert str(text) == TEXT[-112:]
    assert lm.evaluate(text).nats_per_char == pytest.approx(lm.checkpoint.history[-1]["val_loss"], rel=1e-6)


def test_a_text_of_another_kind_is_predicted_worse(lm):
    assert lm.evaluate(TEXT[:300]).bpc < lm.evaluate(TEXT[:300][::-1]).bpc


def test_a_validation_text_that_cannot_be_found_is_refused(tmp_path):
    path = write_text(tmp_path)
    finish(start(tmp_path / "run", path))
    lm = charrnn.load(tmp_path / "run")
    write_text(tmp_path, TEXT + "1")
    with pytest.raises(CorpusError, match="is not the text"):
        lm.validation_text()
    os.unlink(path)
    with pytest.raises(CorpusError, match="does not exist"):
        lm.validation_text()
    finish(start(tmp_path / "memory"))
    with pytest.raises(CorpusError, match="not a file"):
        charrnn.load(tmp_path / "memory").validation_text()


def test_a_model_trained_without_validation_has_no_validation_text(tmp_path):
    finish(start(tmp_path / "run", write_text(tmp_path), val_fraction=0.0))
    with pytest.raises(CorpusError):
        charrnn.load(tmp_path / "run").validation_text()


# read


def test_a_trace_has_what_the_model_computes(lm):
    trace = lm.read("12 red boats\n")
    assert trace.states.shape == (13, 1, 2, 8)
    assert trace.log_probs.shape == (13, len(trace.symbols))
    assert "".join(trace.symbols[id_] for id_ in trace.ids) == "12 red boats\n"
    np.testing.assert_allclose(np.exp(trace.log_probs).sum(axis=1), 1, rtol=1e-5)
    likelihood = trace.log_probs[np.arange(12), trace.ids[1:]]
    assert -likelihood.mean() == pytest.approx(lm.evaluate("12 red boats\n").nats_per_char, rel=1e-5)


def test_a_trace_shows_the_states_that_the_layers_pass_on(tmp_path):
    finish(start(tmp_path / "run", num_layers=2, cell="gru"))
    two = charrnn.load(tmp_path / "run")
    trace, weights = two.read("12 red"), two.weights
    assert trace.states.shape == (6, 2, 1, 8)
    h, state, _ = model.hidden(weights, trace.ids[:, None], model.zero_state(two.checkpoint.model_config, 1))
    np.testing.assert_allclose(trace.states[:, 1, 0], h[:, 0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(trace.states[-1], state[:, :, 0], rtol=1e-4, atol=1e-6)


def test_a_trace_can_be_continued(lm):
    whole, first = lm.read("12 red boats"), lm.read("12 re")
    before = first.state.copy()
    rest = lm.read("d boats", state=first.state)
    assert np.array_equal(np.concatenate([first.log_probs, rest.log_probs]), whole.log_probs)
    assert np.array_equal(rest.state, whole.state)
    assert np.array_equal(first.state, before)
    assert len(lm.read("", state=first.state)) == 0


def test_a_trace_of_documents_begins_with_their_mark(tmp_path):
    path = write_text(tmp_path, "ab\ncd\nad\n" * 30)
    list(charrnn.fit(path, tmp_path / "run", **SETTINGS, split_documents="lines"))
    trace = charrnn.load(tmp_path / "run").read("ab")
    assert [trace.symbols[id_] for id_ in trace.ids] == ["<end>", "a", "b"]
    assert trace.log_probs.shape == (3, 5)
    again = charrnn.load(tmp_path / "run").read("cd", state=trace.state)
    assert len(again) == 2


def test_a_trace_that_memory_cannot_hold_is_refused(lm, monkeypatch):
    per_id = 4 * (2 * 8 + lm.checkpoint.vocab.size)
    monkeypatch.setattr("charrnn.evaluation.trace.MOST_BYTES", 5 * per_id)
    assert len(lm.read("12 re")) == 5
    with pytest.raises(ConfigError, match="in pieces of at most 5 characters"):
        lm.read("12 red")


@pytest.mark.parametrize("state", [5, np.zeros((1, 2, 8)), "state"])
def test_a_state_of_another_model_is_refused(lm, state):
    with pytest.raises(ConfigError, match=r"the state must have shape \(1, 2, 1, 8\), got"):
        lm.read("12", state=state)


# train


def test_train_returns_the_best_model(tmp_path, capsys):
    path = write_text(tmp_path)
    lm = charrnn.train(path, tmp_path / "run", progress=False, **SETTINGS)
    assert lm.path == tmp_path / "run" / "best.npz"
    list(charrnn.fit(path, tmp_path / "again", **SETTINGS))
    assert lm.path.read_bytes() == (tmp_path / "again" / "best.npz").read_bytes()
    assert capsys.readouterr() == ("", "")
    charrnn.Run.resume(tmp_path / "run", settings={"steps": 25}).close()  # the lock was given back


def test_train_shows_its_progress(tmp_path, capsys):
    charrnn.train(Corpus.from_text(TEXT), tmp_path / "run", **SETTINGS)
    out, err = capsys.readouterr()
    assert out == ""
    assert "20/20" in err
    assert "val=" in err


# fit


def test_fit_that_is_never_iterated_warns_and_leaves_no_trace(tmp_path):
    events = charrnn.fit(write_text(tmp_path), tmp_path / "run", **SETTINGS)
    with pytest.warns(
        RuntimeWarning, match=r"charrnn.fit trained nothing: loop over its events, or call charrnn.train"
    ):
        del events
    assert os.listdir(tmp_path) == ["boats.txt"]
    charrnn.fit(write_text(tmp_path), tmp_path / "run", **SETTINGS).close()  # closed on purpose


# Names, types, and how things are shown


FUNCTIONS = {
    charrnn.fit: (ModelConfig, TextConfig, TrainConfig),
    charrnn.train: (ModelConfig, TextConfig, TrainConfig),
    LanguageModel.sample: (SampleConfig,),
    LanguageModel.stream: (SampleConfig,),
    LanguageModel.samples: (SampleConfig,),
    Writer.stream: (SampleConfig,),
    Writer.samples: (SampleConfig,),
    Writer.beam_search: (SampleConfig,),
}


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__qualname__)
def test_a_signature_names_every_setting(function):
    shown = inspect.signature(function).parameters
    assert not [name for name, item in shown.items() if item.kind is item.VAR_KEYWORD]
    for item in settings_of(*FUNCTIONS[function]).values():
        assert shown[item.name].default == item.default, item.name


@pytest.mark.parametrize(
    ("kinds", "typed"),
    [((ModelConfig, TextConfig, TrainConfig), keywords.TrainSettings), ((SampleConfig,), keywords.SampleSettings)],
)
def test_editors_see_the_settings_that_there_are(kinds, typed):
    """`charrnn.keywords` lists the fields of the settings for editors: a new field belongs there too."""
    annotated = {name: hint.__forward_arg__ for name, hint in typed.__annotations__.items()}
    assert annotated == {name: str(item.type) for name, item in settings_of(*kinds).items()}


NOT_SET = ("vocab_size", "document_rules", "ranks")


def settings_of(*kinds):
    return {item.name: item for kind in kinds for item in fields(kind) if item.name not in NOT_SET}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda lm: lm.sample(5, temp=0.5), "unknown setting 'temp': did you mean temperature?"),
        (lambda lm: lm.stream(5, prompt="1"), "unknown setting 'prompt': did you mean prime?"),
        (lambda lm: lm.samples(5, n=3), "unknown setting 'n': did you mean count?"),
        (lambda lm: lm.writer.stream(topk=3), "unknown setting 'topk': did you mean top_k?"),
        (lambda lm: lm.complete("1", max_len=3), "unknown setting 'max_len': did you mean max_length?"),
        (lambda lm: lm.evaluate("12 red", zzz=3), "unknown setting 'zzz': help() lists them"),
        (lambda lm: charrnn.train("a.txt", lr=3), "unknown setting 'lr': did you mean learning_rate?"),
        (lambda lm: charrnn.fit("a.txt", layers=3), "unknown setting 'layers': did you mean num_layers?"),
        (lambda lm: lm.sample("12"), "length must be a whole number, got '12': give the text to continue as prime"),
        (lambda lm: lm.sample(5, temperature="high"), "temperature must be a number, got 'high'"),
        (lambda lm: lm.sample(5, top_k=2.5), "top_k must be a whole number, got 2.5"),
        (lambda lm: lm.sample(5, top_k=None), "top_k must be a whole number, got None"),
        (lambda lm: lm.sample(5, stop="red"), "stop must be a tuple of strings, got 'red'"),
        (lambda lm: lm.sample(5, regex=5), "regex must be a string, got 5"),
        (lambda lm: lm.sample(5, seed="one"), "seed must be a whole number, got 'one'"),
        (lambda lm: lm.sample(5, prime=5), "the text must be a string, got int"),
        (lambda lm: lm.samples("5"), "count must be a whole number, got '5'"),
        (lambda lm: lm.complete("1", count="5"), "count must be a whole number, got '5'"),
        (lambda lm: lm.complete(b"1"), "the text must be a string, got bytes"),
        (lambda lm: lm.evaluate(5), "the text must be a string or come from charrnn.read_text, got int"),
        (lambda lm: lm.evaluate("12 red", batch_size=0), "batch_size must be a whole number of at least 1, got 0"),
        (lambda lm: lm.read(None), "the text must be a string, got NoneType"),
        (lambda lm: lm.score("12 red"), "score needs a list of lines: for one line, call score([line])"),
        (lambda lm: lm.score(5), "score needs a list of lines: for one line, call score([line])"),
        (lambda lm: list(lm.score([5])), "score needs strings, or pairs of a context and a text, got 5"),
        (
            lambda lm: list(lm.score([("1", "2", "3")])),
            "score needs strings, or pairs of a context and a text, got ('1', '2', '3')",
        ),
        (lambda lm: lm.samples(primes="12"), "primes must be a list of texts: for one text, pass primes=[text]"),
        (
            lambda lm: lm.writer.beam_search(2, primes="12"),
            "primes must be a list of texts: for one text, pass primes=[text]",
        ),
        (
            lambda lm: charrnn.Corpus.from_text(5),
            "the text must be a string or come from charrnn.read_text, got int",
        ),
        (lambda lm: charrnn.load(5), "load needs a path or the name of a run, got 5"),
        (
            lambda lm: charrnn.mixed([lm, lm]),
            "mixed needs models with weights: mixed([(model, 0.7), (other, 0.3)])",
        ),
        (lambda lm: charrnn.fit(5), "corpus must be a path, a list of paths or a charrnn.Corpus, got int"),
        (lambda lm: charrnn.fit([]), "corpus must be a path, a list of paths or a charrnn.Corpus, got list"),
        (
            lambda lm: charrnn.fit("one\ntwo\n"),
            "corpus is a path, not the text itself: to train on a string, pass charrnn.Corpus.from_text(text)",
        ),
        (lambda lm: charrnn.fit(Corpus.from_text(TEXT), out=5), "out must be the path of a folder, got 5"),
        (lambda lm: charrnn.fit("a.txt", steps="many"), "--steps must be a whole number, got 'many'"),
    ],
)
def test_a_wrong_name_or_type_is_one_clear_error(lm, call, message):
    with pytest.raises(CharRNNError) as caught:
        call(lm)
    assert str(caught.value) == message


def test_numbers_of_numpy_are_numbers(lm, tmp_path):
    one, temperature = np.int64(1), np.float32(0.5)
    assert lm.sample(np.int32(9), seed=one, temperature=temperature) == lm.sample(9, seed=1, temperature=0.5)
    path = write_text(tmp_path)
    settings = SETTINGS | {
        "hidden_size": np.int64(8),
        "steps": np.uint8(20),
        "dropout": np.float32(0),
        "seed": np.int64(5),
    }
    charrnn.train(tmp_path / "boats.txt", tmp_path / "numpy", progress=False, **settings)
    charrnn.train(path, str(tmp_path / "python"), progress=False, **SETTINGS)
    numpy, python = (charrnn.load(tmp_path / name / "last.npz").checkpoint for name in ("numpy", "python"))
    assert (numpy.model_config, numpy.train_config) == (python.model_config, python.train_config)


def test_what_is_shown_is_short(lm, folder):
    vocab = lm.checkpoint.vocab.summary
    loss = f"val loss {lm.checkpoint.history[-1]['val_loss']:.4f}"
    assert repr(lm) == f"LanguageModel('{folder}/best.npz': lstm 1x8, {vocab}, {loss})"
    assert repr(lm.checkpoint) == f"Checkpoint(step {lm.checkpoint.step}: lstm 1x8, {vocab}, {loss})"
    assert vocab == f"{len(set(TEXT))} characters"
    assert repr(lm.writer) == f"Writer(1 model, {vocab})"
    assert repr(lm.checkpoint.vocab) == f"Vocab({vocab}: {lm.checkpoint.vocab.symbols!r})"
    corpus = Corpus.from_text(TEXT)
    assert repr(corpus) == "Corpus(text in memory: characters: 1008 to train on, 112 to validate, 0 to test)".replace(
        "1008", f"{len(corpus.train):,}"
    )
    assert repr(corpus.train) == f"Text({len(corpus.train):,} characters: '10 red boats\\n10 blue boats\\n10 '…)"
    evaluation = lm.evaluate(TEXT[:50])
    assert repr(evaluation).startswith(f"Evaluation(49 characters: {evaluation.nats_per_char:.4f} nats, ")
    assert repr(lm.evaluate("1")) == "Evaluation(0 characters)"
    assert repr(lm.read("12")) == f"Trace(2 ids: states (2, 1, 2, 8), log_probs (2, {len(set(TEXT))}))"
    run = charrnn.Run.resume(folder, settings={"steps": 50})
    run.close()
    assert repr(run) == f"Run('{folder}': lstm 1x8, step 40 of 50)"


def test_completion_finds_the_public_names():
    assert dir(charrnn) == sorted(charrnn.__all__)


# The model is a value


def test_the_model_of_a_run_in_memory_can_be_used(tmp_path):
    run = start(tmp_path / "run")
    stop_at(run, lambda event: event.step == 5)
    lm = LanguageModel(run.checkpoint())
    assert lm.path is None
    assert len(lm.sample(20, seed=1)) == 20
    assert lm.evaluate(TEXT).chars == len(TEXT) - 1
    saved = charrnn.load(tmp_path / "run" / "last.npz")
    assert saved.sample(20, seed=1) == lm.sample(20, seed=1)


def test_calls_leave_no_trace(lm, folder):
    before = {name: array.copy() for name, array in lm.checkpoint.params.items()}
    text = lm.sample(30, seed=1)
    figures = lm.evaluate(TEXT).nats_per_char
    lm.sample(30, seed=2)
    assert lm.sample(30, seed=1) == text
    assert lm.evaluate(TEXT).nats_per_char == figures
    for name, array in lm.checkpoint.params.items():
        assert np.array_equal(array, before[name]), name
    assert ckpt.load(folder / "best.npz").step == lm.checkpoint.step


def test_two_streams_do_not_disturb_each_other(lm):
    one, other = lm.stream(20, seed=1), lm.stream(20, seed=2)
    both = [(next(one), next(other)) for _ in range(20)]
    assert "".join(pair[0] for pair in both) == "".join(lm.stream(20, seed=1))
    assert "".join(pair[1] for pair in both) == "".join(lm.stream(20, seed=2))


def test_configs_are_values():
    assert ModelConfig(5) == ModelConfig(5)
    assert TrainConfig(steps=5) == TrainConfig(steps=5)
    with pytest.raises(AttributeError):
        ModelConfig(5).hidden_size = 6


def test_without_a_prime_the_text_goes_on_as_after_a_line_end(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("ab\ncd\n" * 40, encoding="utf-8")
    list(charrnn.fit(path, tmp_path / "run", steps=30, hidden_size=16, batch_size=4, seq_len=10, seed=1))
    model = charrnn.load(tmp_path / "run")
    for seed in range(6):
        text = model.sample(8, temperature=0.0, seed=seed)
        assert text[0] in "ac"
        assert text == model.sample(7, temperature=0.0, prime=f"\n{text[0]}")[1:]


def test_of_a_character_that_the_prime_begins_no_byte_is_twice():
    vocab = Vocab("".join(map(chr, range(256))), kind="bytes")
    config = ModelConfig(256, hidden_size=4)
    params = model.init_params(config, np.random.default_rng(1))
    params["out.b_y"][0xB4] = 99.0  # the last byte of 水
    text_config = TextConfig(bytes=True)
    lm = LanguageModel(Checkpoint(config, TrainConfig(), vocab, params, 1, Source(None, ""), text_config=text_config))
    assert lm.sample(1, prime="ä\udce6\udcb0", temperature=0) == "ä水"


# The memory


@pytest.fixture(scope="module")
def remembering(tmp_path_factory):
    """Return a model that was trained on a text that repeats itself, so that it has a memory."""
    folder = tmp_path_factory.mktemp("remembering")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        finish(start(folder / "run", write_text(folder, text_of(4000)), val_fraction=0.4))
    return charrnn.load(folder / "run")


def test_a_model_is_loaded_with_the_memory_that_was_fitted_or_another(remembering):
    text = text_of(600, seed=9)
    for settings, size in (({}, "2000"), ({"memory": 30}, "30"), ({"memory": 0}, None)):
        lm = charrnn.load(remembering.path, **settings)
        result = lm.evaluate(text)
        assert (result.memory and result.memory.signature.rpartition("memory:")[2]) == size
    counting = charrnn.load(remembering.path, memory=0, with_ngram=True, adaptive=True)
    assert "|memory:0|ngram:" in counting.evaluate(text).memory.signature
    filled = charrnn.load(remembering.path, memory_from=text)
    assert filled.evaluate(text).memory.nats_per_char < remembering.evaluate(text).memory.nats_per_char - 0.1
    assert len(filled.sample(20, seed=1)) == 20


@pytest.mark.parametrize("memory", [-1, 1.5, True, "5", 10_000_001])
def test_a_memory_out_of_range(remembering, memory):
    with pytest.raises(ConfigError, match=r"^--memory must be 0 to 10,000,000 characters, got "):
        charrnn.load(remembering.path, memory=memory)


def test_models_that_are_mixed_have_no_memory(remembering):
    writer = api.mixed([(remembering, 1.0), (remembering, 1.0)])
    assert writer.ensemble.memory is None
    alone = charrnn.load(remembering.path, memory=0)
    texts = [next(each.samples(1, length=100, seed=1)).text for each in (writer, alone.writer, remembering.writer)]
    assert texts[0] == texts[1] != texts[2]
    for settings in ({"memory": 5}, {"with_ngram": True}, {"memory_from": "ab"}):
        other = charrnn.load(remembering.path, **settings)
        for pairs in ([(other, 1.0), (alone, 1.0)], [(alone, 1.0), (other, 1.0)]):
            with pytest.raises(ConfigError, match=r"^models that are mixed have no memory: leave out --memory and "):
                api.mixed(pairs)


def test_hidden_states_are_those_of_the_net(remembering):
    alone = charrnn.load(remembering.path, memory=0)
    for name in ("states", "log_probs"):
        ours, theirs = (getattr(each.read("abcabc"), name) for each in (remembering, alone))
        assert np.array_equal(ours, theirs)

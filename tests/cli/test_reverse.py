"""A model that reads backwards, on the command line: samples lead to the prime, and outputs are in the text's order."""

import json
import shutil

import pytest

import charrnn

from ._material import SMALL, error_line


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a folder with a run that reads backwards; tests take copies."""
    folder = tmp_path_factory.mktemp("reverse")
    corpus = charrnn.Corpus.from_text("the quick fox.\na lazy dog.\n" * 20)
    charrnn.train(corpus, folder / "run", progress=False, reverse=True, hidden_size=8, steps=3, seed=1, threads=1)
    return folder / "run"


@pytest.fixture(autouse=True)
def backward(trained, cwd):
    """Put the run into the test's folder."""
    shutil.copytree(trained, cwd / "back")


def test_what_is_sampled_comes_before_the_prime(run):
    args = ("sample", "-m", "back", "--prime", " fox.", "-n", "9", "--seed", "1")
    alone = run(*args).stdout
    assert alone[9:] == " fox."
    assert run(*args, "--no-echo").stdout == alone.removesuffix(" fox.")
    both = run(*args, "--count", "2", "--separator", "|").stdout.split("|")
    assert [text[-5:] for text in both] == [" fox.", " fox."]
    record = json.loads(run(*args, "--json").stdout)
    assert both[0] == record["text"] + record["prime"]


def test_bits_of_characters_are_those_that_inspect_shows(run):
    shown = json.loads(run("score", "-m", "back", "--per-char", "--json", input="the fox.").stdout)
    read = json.loads(run("inspect", "-m", "back", "-", "--json", input="\nthe fox.\n").stdout)["characters"]
    assert "".join(each["char"] for each in read) == "\nthe fox.\n"
    assert [each["bits"] for each in read[1:-1]] == pytest.approx(shown["bits"][:-1], abs=1e-4)
    assert read[0]["bits"] == pytest.approx(shown["bits"][-1], abs=1e-4)
    assert read[-1]["bits"] is None


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("complete", "-m", "back", "the"), "this model reads backwards"),
        (("score", "-m", "back", "--context"), "--context gives the text before"),
        (("serve", "-m", "back", "--stdio"), "reads backwards"),
        (("sample", "-m", "back", "--regex", "a"), "--regex needs a model that reads forwards"),
        (("sample", "-m", "back", "-n", "-1"), "unlimited length"),
    ],
)
def test_what_needs_a_forward_model_is_one_line(run, args, message):
    assert message in error_line(run(*args, input="a\tb\n", code=2).stderr)


def test_info_and_new_runs_name_the_direction(run, corpus):
    assert "Reverse" in run("info", "-m", "back").stdout
    run("train", corpus, *SMALL, "--steps", "1", "--quiet", "--out", "other")
    outcome = run("train", corpus, "--init-from", "other", "--reverse", "--steps", "1", "--out", "third", code=2)
    assert "--reverse contradicts the model of --init-from" in error_line(outcome.stderr)

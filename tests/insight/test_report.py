"""A report gathers what is known of a run, and says what is missing."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from fixtures_run import TEXT, finish, start, stop_at, write_text

from charrnn.api import load
from charrnn.data.text import END
from charrnn.insight import report as report_module
from charrnn.insight.memorisation import memorisation
from charrnn.insight.report import gather
from charrnn.training.loop import Stepped


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return the folder of a finished run; tests that change it take a copy."""
    folder = tmp_path_factory.mktemp("made")
    finish(start(folder / "boats", write_text(folder)))
    return folder / "boats"


@pytest.fixture(autouse=True)
def _few_samples(monkeypatch):
    monkeypatch.setattr(report_module, "SEARCHED_CHARS", 2_000)
    monkeypatch.setattr(report_module, "SHOWN_CHARS", 50)
    # What so small a model copies is short.
    monkeypatch.setattr(report_module, "memorisation", partial(memorisation, sizes=(2, 4)))


def report_of(folder):
    model = load(folder)
    return gather(model, model.path)


def test_it_has_everything_of_a_finished_run(made):
    steps = list[str]()
    model = load(made)
    report = gather(model, model.path, progress=steps.append)
    assert report.missing == []
    assert steps == [
        "reading the text",
        "scoring the validation split",
        "scoring the baselines",
        "sampling",
        "looking for copies in the training text",
    ]
    val = model.validation_text()
    assert report.run.finished is True
    assert report.log.step.tolist()[-1] == 20
    assert report.text.summary.chars == len(TEXT) == sum(report.text.chars)
    assert report.scores.evaluation.nats_per_char == model.evaluate(val).nats_per_char
    assert "protocol:lanes-1x512|" in report.scores.evaluation.signature
    assert report.scores.baselines == model.baselines(val)
    assert sum(each.chars for each in report.scores.difficulty) == len(val) - 1
    assert sum(each.share for each in report.scores.difficulty) == pytest.approx(1)
    loss = sum(each.chars * each.bits for each in report.scores.difficulty) / (len(val) - 1)
    assert loss == pytest.approx(report.scores.evaluation.bpc, abs=1e-5)
    assert (report.scores.of, report.scores.cut) == (len(val), False)
    assert [each.temperature for each in report.shown] == [0.5, 1.0]
    assert report.shown[1].texts == [model.sample(50, seed=1, temperature=1.0)]
    assert (report.copies.count, report.copies.chars) == (2, 2_000)


def test_copies_are_those_of_the_samples_that_the_command_draws(made):
    report, model = report_of(made), load(made)
    samples = [sample.text for sample in model.samples(2, 1_000, seed=1, temperature=0.8)]
    found = report.copies.memorisation
    train = TEXT[: len(TEXT) * 9 // 10]
    grams = [text[at : at + 4] for text in samples for at in range(997)]
    assert found.shared[1].samples == np.mean([gram in train for gram in grams])
    assert report.copies.passage in train
    assert report.copies.passage in samples[found.longest.sample]
    assert report.copies.place.line == 1 + train[: train.index(report.copies.passage)].count("\n")
    assert report.copies.document is None


def test_a_long_validation_split_is_scored_at_its_beginning(made, monkeypatch):
    monkeypatch.setattr(report_module, "SCORED", 50)
    report = report_of(made)
    assert (report.scores.cut, report.scores.evaluation.chars) == (True, 49)
    assert report.scores.of == len(TEXT) - len(TEXT) * 9 // 10


def test_without_its_text_a_run_has_no_scores_and_no_copies(made, tmp_path):
    shutil.copytree(made, tmp_path / "boats")
    Path(made.parent / "boats.txt").rename(made.parent / "moved.txt")
    try:
        report = report_of(tmp_path / "boats")
    finally:
        Path(made.parent / "moved.txt").rename(made.parent / "boats.txt")
    assert (report.text, report.scores, report.copies) == (None, None, None)
    assert report.log is not None
    assert len(report.shown) == 2
    (sentence,) = report.missing
    assert "boats.txt" in sentence
    assert sentence.endswith("the report has no scores and looks for no copies")


def test_without_a_log_the_curves_are_those_of_the_checkpoint(made, tmp_path):
    shutil.copytree(made, tmp_path / "boats")
    (tmp_path / "boats" / "log.jsonl").unlink()
    report = report_of(tmp_path / "boats")
    assert report.missing == []
    assert report.log.step.tolist() == [7, 14, 20]


def test_a_checkpoint_outside_of_a_run_has_no_curves(made, tmp_path):
    shutil.copy(made / "best.npz", tmp_path / "other.npz")
    report = report_of(tmp_path / "other.npz")
    assert (report.run, report.log, report.missing) == (None, None, [])
    assert report.scores is not None


def test_a_run_without_validation_has_no_scores(tmp_path):
    finish(start(tmp_path / "run", write_text(tmp_path), val_fraction=0.0))
    report = report_of(tmp_path / "run")
    assert report.scores is None
    assert report.copies is not None
    assert {each.real for each in report.copies.memorisation.shared} == {None}
    (sentence,) = report.missing
    assert sentence.startswith("the run has no validation split")


def test_a_run_that_has_just_begun_has_no_curves(tmp_path):
    stop_at(start(tmp_path / "run", write_text(tmp_path)), lambda event: isinstance(event, Stepped), save=True)
    report = report_of(tmp_path / "run")
    assert report.path.name == "last.npz"
    assert report.run.finished is False
    (sentence,) = report.missing
    assert sentence.endswith("the report has no curves")


def test_a_damaged_checkpoint_leaves_out_what_it_says(made, tmp_path):
    shutil.copytree(made, tmp_path / "boats")
    (tmp_path / "boats" / "last.npz").write_bytes(b"PK damaged")
    report = report_of(tmp_path / "boats")
    assert report.run is None
    assert report.scores is not None
    assert "last.npz is damaged" in report.missing[0]


def test_samples_of_documents_are_drawn_until_there_are_enough_characters(tmp_path):
    finish(start(tmp_path / "run", write_text(tmp_path), split_documents="lines"))
    report = report_of(tmp_path / "run")
    assert report.copies.count > 2
    assert 2_000 <= report.copies.chars < 3_000
    assert report.copies.place is None
    documents = TEXT.splitlines()
    assert report.copies.passage in documents[report.copies.document - 1]
    train, val = END.join(documents[:72]), documents[72:]
    grams = [each[at : at + 4] for each in val for at in range(len(each) - 3)]
    assert report.copies.memorisation.shared[1].real == np.mean([gram in train for gram in grams])


def test_some_samples_of_the_log_are_chosen_with_the_first_and_the_last(made):
    report = report_of(made)
    samples = [(step, str(step)) for step in range(0, 100, 3)]
    long, short, none = (
        replace(report, log=replace(report.log, samples=chosen)).over_time for chosen in (samples, samples[:2], [])
    )
    assert [step for step, _ in long] == [0, 21, 39, 60, 78, 99]
    assert short == samples[:2]
    assert none == []


def test_a_log_may_have_samples_and_reasons(made, tmp_path):
    shutil.copytree(made, tmp_path / "boats")
    log = tmp_path / "boats" / "log.jsonl"
    first = {"step": 0, "seconds": 0.0, "recoveries": 0, "reasons": ["the text is short"]}
    sample = {"step": 20, "seconds": 1.0, "recoveries": 0, "sample": "10 red"}
    log.write_text(f"{json.dumps(first)}\n{log.read_text()}{json.dumps(sample)}\n")
    report = report_of(tmp_path / "boats")
    assert report.log.reasons == ["the text is short"]
    assert report.over_time == [(20, "10 red")]

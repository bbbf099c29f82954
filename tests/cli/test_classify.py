"""`charrnn classify predict` and `eval`: what they print for lines and records, by a classifier or language models."""

import csv
import io
import json
import math
from pathlib import Path

import pytest

from ._material import LABELLED, TEXT, error_line

LABELS = ("brummt", "krabbelt", "schläft")
LINES = TEXT.splitlines()


def rows(text):
    return [line.split("\t") for line in text.splitlines()]


def test_each_line_gets_a_label_and_its_probability(run, classifier):
    outcome = run("classify", "predict", input=TEXT)
    found = rows(outcome.stdout)
    assert [text for *_, text in found] == LINES
    assert all(label in LABELS and 1 / 3 <= float(share) <= 1 for label, share, _ in found)
    assert sum(label in text for label, _, text in found) > 0.8 * len(LINES)
    assert outcome.stderr == "Model: checkpoints/labelled/best.npz\n"


def test_the_k_most_likely_labels_come_in_their_order(run, classifier):
    found = rows(run("classify", "predict", "--top", "9", input=TEXT).stdout)
    for row in found:
        labels, shares = row[:-1:2], [*map(float, row[1:-1:2])]
        assert sorted(labels) == sorted(LABELS)
        assert shares == sorted(shares, reverse=True)
        assert math.isclose(sum(shares), 1, abs_tol=1e-5)
    first = rows(run("classify", "predict", input=TEXT).stdout)
    assert [row[:2] for row in found] == [row[:2] for row in first]


def test_a_line_without_a_known_character_has_no_label(run, classifier):
    found = rows(run("classify", "predict", "--top", "2", input="\nXYZQ\nDer\n").stdout)
    assert found[:2] == [["", "", "", "", ""], ["", "", "", "", "XYZQ"]]
    assert found[2][0] in LABELS
    first, *_ = run("classify", "predict", "--json", "--top", "2", input="\n").stdout.splitlines()
    assert json.loads(first) == {"line": 1, "label": None, "probability": None, "top": [], "text": ""}


def test_json_has_the_same_labels(run, classifier):
    found = [*map(json.loads, run("classify", "predict", "--json", input=TEXT).stdout.splitlines())]
    assert [each["text"] for each in found] == LINES
    for (label, share, _), each in zip(rows(run("classify", "predict", input=TEXT).stdout), found, strict=True):
        assert (each["label"], f"{each['probability']:.6f}") == (label, share)


def test_labels_are_added_to_records(run, classifier):
    Path("a.csv").write_text(f'id,text\n1,"{LINES[0]}"\n2,\n')
    header, first, second = csv.reader(io.StringIO(run("classify", "predict", "--text-field", "text", "a.csv").stdout))
    assert (header, first[:2], second) == (["id", "text", "label", "probability"], ["1", LINES[0]], ["2", "", "", ""])
    Path("a.jsonl").write_text(json.dumps({"text": LINES[0]}) + "\n")
    told = run("classify", "predict", "--text-field", "text", "--top", "2", "a.jsonl").stdout
    found = json.loads(told)
    assert [*found] == ["text", "label", "probability", "top"]
    assert found["label"] == first[2] == found["top"][0]["label"]
    assert len(found["top"]) == 2


def test_long_lines_are_cut_with_one_note(run, classifier):
    million = "Der Käfer brummt " * 60_000
    outcome = run("classify", "predict", input=f"{million}\n{million[:1000]}\nDer\n")
    first, second, _ = rows(outcome.stdout)
    assert first[2] == million
    assert first[:2] == second[:2]
    assert outcome.stderr.splitlines()[1:] == [
        "Note: 1 text is longer than the 1,000 characters that the classifier reads"
    ]


def test_the_number_of_threads_changes_nothing_and_blocks_only_the_rounding(run, classifier, monkeypatch):
    whole = rows(run("classify", "predict", "--threads", "1", input=TEXT).stdout)
    monkeypatch.setattr("charrnn.evaluation.scoring.BLOCK", 200)
    one, two = (run("classify", "predict", "--threads", threads, input=TEXT).stdout for threads in ("1", "2"))
    assert one == two
    for cut, uncut in zip(rows(one), whole, strict=True):
        assert cut[::2] == uncut[::2]
        assert float(cut[1]) == pytest.approx(float(uncut[1]), abs=1e-5)
    assert run("classify", "predict", "--line-buffered", input=TEXT).stdout.count("\n") == len(LINES)


def test_an_explanation_has_a_number_for_each_character(run, classifier):
    found = [*map(json.loads, run("classify", "predict", "--explain", "--json", input=TEXT).stdout.splitlines())]
    plain = [*map(json.loads, run("classify", "predict", "--json", input=TEXT).stdout.splitlines())]
    for own, each in zip(found, plain, strict=True):
        assert own["label"] == each["label"]
        assert len(own["contributions"]) == len(own["text"])
    right = [own for own in found if own["label"] in own["text"]]
    inside = 0
    for own in right:  # what decides is in the verb
        best = max(range(len(own["text"])), key=own["contributions"].__getitem__)
        begin = own["text"].index(own["label"])
        inside += begin <= best < begin + len(own["label"])
    assert inside > 0.6 * len(right)


def test_an_explanation_is_painted_on_terminals_and_has_numbers_elsewhere(run, classifier):
    label, share, numbers, text = rows(run("classify", "predict", "--explain", input=LINES[0]).stdout)[0]
    assert text == LINES[0]
    assert len(numbers.split(",")) == len(text)
    outcome = run("classify", "predict", "--explain", "--color", "always", input=LINES[0], env={"TERM": "xterm"})
    assert outcome.stdout.startswith(f"{label}\t{share}\t")
    assert "\x1b[" in outcome.stdout
    assert "for the label" in outcome.stderr


def test_by_language_models_the_most_probable_one_wins_as_in_score(run, tiny):
    run("train", "tiny.txt", "--steps", "1", "--hidden-size", "8", "--seed", "2", "--out", "other", "--quiet")
    by = ("--by", "tiny=first", "--by", "other=second", "--by", "tiny=first")
    found = rows(run("classify", "predict", *by, "tiny.txt").stdout)
    best = rows(run("score", "--best", "-m", "tiny", "-m", "other", "tiny.txt").stdout)
    assert [row[0] for row in found] == [{"tiny": "first", "other": "second"}[row[0]] for row in best]
    assert {row[2] for row in found} == set(LINES)


def test_eval_measures_the_validation_split(run, classifier):
    outcome = run("classify", "eval")
    assert outcome.stdout.startswith("Texts              11\n")
    for heading in ("Accuracy", "Macro-F1", "Precision", "Confusion matrix", "Calibration"):
        assert heading in outcome.stdout
    data = run("classify", "eval", "--json").json
    assert data["texts"] == 11
    assert data["labels"] == sorted(LABELS)
    assert data["accuracy"] > 0.5
    assert run("classify", "eval", "--test", "--json").json["texts"] == 6


def test_eval_of_files_agrees_with_the_labels_of_predict(run, classifier):
    data = run("classify", "eval", "labelled.tsv", "--json").json
    found = rows(run("classify", "predict", input=TEXT).stdout)
    right = sum(row[0] == line.split("\t")[0] for row, line in zip(found, LABELLED.splitlines(), strict=True))
    assert math.isclose(data["accuracy"], right / len(found))


def test_labels_that_were_not_learned_are_errors_with_a_note(run, classifier):
    Path("more.tsv").write_text(f"brummt\t{LINES[0]}\nfliegt\t{LINES[0]}\n")
    outcome = run("classify", "eval", "more.tsv", "--json")
    assert "Note: 1 text has a label that the training split lacks, and counts as an error: 'fliegt'" in outcome.stderr
    assert outcome.json["unseen"] == {"fliegt": 1}
    assert outcome.json["accuracy"] <= 0.5


def test_eval_by_language_models(run, tiny):
    Path("labelled.tsv").write_text(LABELLED, encoding="utf-8")
    outcome = run("classify", "eval", "--by", "tiny=brummt", "--by", "tiny=krabbelt", "labelled.tsv", "--json")
    assert "18 texts have labels that no --by names, and count as errors: 'schläft'" in outcome.stderr
    assert outcome.json["labels"] == ["brummt", "krabbelt"]


def test_the_confusion_matrix_is_drawn(run, classifier):
    pytest.importorskip("matplotlib")
    outcome = run("classify", "eval", "--picture", "m.svg")
    assert "Picture: m.svg" in outcome.stderr
    drawn = Path("m.svg").read_text()
    assert all(label in drawn for label in LABELS)


WRONG = {
    "classify predict -m checkpoints/tiny x.txt": "is a language model, not a classifier",
    "classify eval -m tiny": "is a language model, not a classifier",
    "score -m checkpoints/labelled x.txt": "is a classifier, not a language model",
    "classify predict --by labelled=a --by tiny=b": "is a classifier, not a language model",
    "classify predict --by tiny": "--by must be a run and its label, such as english=en, got 'tiny'",
    "classify predict --by tiny=": "--by must be a run and its label",
    "classify predict --by tiny=a --by tiny=a": "--by needs two labels or more",
    "classify predict --by missing=a --by tiny=b": "missing does not exist",
    "classify predict -m labelled --by tiny=a": "leave out -m or --by",
    "classify predict checkpoints/tiny": "checkpoints/tiny is a model, not a text",
    "classify predict --explain --top 2": "leave out --top",
    "classify predict --text-field x --json a.csv": "leave out --json",
    "classify predict missing.txt": "missing.txt does not exist",
    "classify eval --by tiny=a --by tiny=b": "name FILE",
    "classify eval tiny.txt": "tiny.txt, line 1 has no tab",
    "classify eval --picture m.gif": "end the name in one",
    "classify eval --test labelled.tsv": "leave out --test or FILE",
}


@pytest.mark.parametrize(("line", "says"), WRONG.items(), ids=[*WRONG])
def test_what_is_wrong_is_one_line(run, tiny, classifier, line, says):
    assert says in error_line(run(*line.split(), code=2).stderr)


def test_inspect_shows_what_a_classifier_looks_at(run, classifier):
    Path("one.txt").write_text(LINES[0])
    explained = run("classify", "predict", "--explain", "one.txt").stdout
    assert run("inspect", "-m", "labelled", "one.txt").stdout == explained
    assert "leave out all options but --json" in error_line(run("inspect", "-m", "labelled", "--reach", code=2).stderr)

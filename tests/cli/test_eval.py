"""`charrnn eval`: which text is scored, and how the figures are shown."""

import math
import os
import re
import threading
from pathlib import Path

import pytest

import charrnn

from ._material import SMALL, TEXT, TIMEOUT, error_line, posix

VAL = TEXT[math.floor(len(TEXT) * 9 / 10) :]
KEYS = "chars nats_per_char bpc perplexity interval accuracy dynamic by_position".split()
KEYS += "unknown chars_per_second signature memory".split()


def expected_table(scored: charrnn.Evaluation, unknown: str = "0") -> str:
    return (
        f"Characters scored         {scored.chars:,}\n"
        f"Nats per character        {scored.nats_per_char:.4f}\n"
        f"95 % interval             - (too short)\n"
        f"Bits per character        {scored.nats_per_char / math.log(2):.4f}\n"
        f"Perplexity per character  {math.exp(scored.nats_per_char):.3f}\n"
        f"Accuracy                  {scored.accuracy:.2%}\n"
        f"Unknown characters        {unknown}\n"
        f"Characters per second     SPEED\n"
        f"Signature                 {scored.signature}\n"
    )


def without_speed(table: str) -> str:
    masked, count = re.subn(r"(?m)^(Characters per second +)[\d,]+$", r"\1SPEED", table)
    assert count == 1
    return masked


def test_table(run, tiny):
    outcome = run("eval", "-m", tiny / "best.npz", "tiny.txt")
    assert without_speed(outcome.stdout) == expected_table(charrnn.load(tiny).evaluate(TEXT))
    assert outcome.stderr == ""
    assert "cell:lstm|layers:1|hidden:16|protocol:whole" in outcome.stdout
    assert f"|chars:{len(TEXT) - 1}|unknown:0|text:sha256-" in outcome.stdout


def test_without_a_text_the_validation_part_is_scored(run, tiny):
    outcome = run("eval")
    scored = charrnn.load(tiny).evaluate(VAL)
    assert without_speed(outcome.stdout) == expected_table(scored)
    assert outcome.stderr == f"Model: {tiny / 'best.npz'}\n"
    history = run("info", "--json").json["history"]
    assert scored.nats_per_char == pytest.approx(history[-1]["val_loss"], abs=1e-4)


def test_json(run, tiny):
    outcome = run("eval", "tiny.txt", "--json")
    scored = charrnn.load(tiny).evaluate(TEXT)
    data = outcome.json
    assert list(data) == KEYS
    assert data.pop("chars_per_second") > 0
    assert data == {name: value for name, value in scored.to_dict().items() if name != "chars_per_second"}
    assert data["chars"] == len(TEXT) - 1
    assert data["bpc"] == pytest.approx(data["nats_per_char"] / math.log(2))
    assert data["perplexity"] == pytest.approx(math.exp(data["nats_per_char"]))
    assert 0 <= data["accuracy"] <= 1


def test_several_texts_are_read_as_one(run, tiny):
    for name, part in (("a.txt", TEXT[:500]), ("b.txt", TEXT[500:900])):
        Path(name).write_bytes(part.encode())
    together = run("eval", "a.txt", "-", "b.txt", "--json", input=TEXT[:77]).json
    whole = run("eval", "-", "--json", input=TEXT[:500] + TEXT[:77] + TEXT[500:900]).json
    assert together.pop("chars_per_second") > 0
    assert whole.pop("chars_per_second") > 0
    assert together == whole
    assert whole["chars"] == 976


def test_standard_input(run, tiny):
    piped = run("eval", "-", input=TEXT)
    assert without_speed(piped.stdout) == without_speed(run("eval", "tiny.txt").stdout)


@pytest.mark.parametrize("args", [(), ("tiny.txt",)], ids=["nothing", "a file"])
def test_standard_input_is_read_only_when_asked_for(command, tiny, args):
    ours, theirs = os.pipe()
    os.write(theirs, b"untouched")
    os.close(theirs)
    with open(ours, "rb") as pipe:
        process = command("eval", *args, stdin=pipe)
        stdout, _ = process.communicate(timeout=TIMEOUT)
        assert pipe.read() == b"untouched"
    assert (process.returncode, stdout[:17]) == (0, b"Characters scored")


def test_unknown_characters_are_skipped_and_counted(run, tiny):
    text = "Der Ωmega-Käfer, Ω."
    outcome = run("eval", "-", "-m", tiny / "best.npz", input=text)
    known = set(charrnn.load(tiny).checkpoint.vocab.symbols)
    absent = sum(char not in known for char in text)
    assert absent >= 2
    scored = charrnn.load(tiny).evaluate(text)
    assert scored.chars == len(text) - absent - 1
    assert without_speed(outcome.stdout) == expected_table(scored, f"{absent}, left out of the text")
    assert f"|unknown:skipped-{absent}|" in outcome.stdout
    assert run("eval", "-", "--json", input=text).json["unknown"] == absent


def test_unknown_characters_can_be_refused(run, tiny):
    message = error_line(run("eval", "-", "--unknown", "error", code=2, input="Der Ωmega").stderr)
    assert "'Ω' (U+03A9) at position 4" in message
    assert "--unknown skip" in message


@pytest.mark.parametrize("text", ["D", "Ω", "ΩD"])
def test_where_nothing_is_scored_nothing_is_claimed(run, tiny, text):
    data = run("eval", "-", "--json", input=text).json
    assert list(data) == KEYS
    assert data["chars"] == 0
    assert all(data[name] is None for name in ("nats_per_char", "bpc", "perplexity", "accuracy", "chars_per_second"))
    table = run("eval", "-", input=text).stdout
    assert table.count("- (nothing was scored)\n") == 5


def test_lanes_say_so_and_score_the_same(run, tiny):
    whole = run("eval", "tiny.txt", "--json").json
    lanes = run("eval", "tiny.txt", "--json", "--protocol", "lanes").json
    assert "|protocol:whole|" in whole["signature"]
    assert f"|protocol:lanes-{(len(TEXT) - 1) // 512}x512|" in lanes["signature"]
    assert lanes["chars"] == whole["chars"] == len(TEXT) - 1
    assert lanes["nats_per_char"] == pytest.approx(whole["nats_per_char"], abs=2e-3)


def test_the_test_part_is_scored_where_there_is_one(run, tiny):
    assert "--test-fraction" in error_line(run("eval", "--test", code=2).stderr)
    assert "--test" in run("eval", "--test", "tiny.txt", code=2).stderr
    run("train", "tiny.txt", *SMALL, "--steps", "2", "--test-fraction", "0.2", "--out", "checkpoints/parted", "--quiet")
    parted = charrnn.load("checkpoints/parted")
    val_at, test_at = (math.floor(len(TEXT) * share / 10) for share in (7, 8))
    for words, part in ((["--test"], TEXT[test_at:]), ([], TEXT[val_at:test_at])):
        data = run("eval", "-m", "checkpoints/parted", *words, "--json").json
        assert data["chars"] == len(part) - 1
        assert data["nats_per_char"] == parted.evaluate(part).nats_per_char


def test_windows_say_so_and_show_the_loss_by_what_was_read(run, tiny):
    data = run("eval", "tiny.txt", "--json", "--protocol", "windows").json
    assert "|protocol:windows-256|" in data["signature"]
    assert data["chars"] == len(TEXT) - 1
    assert len(data["by_position"]) == 256
    assert data["by_position"][0] > sum(data["by_position"]) / 256
    shown = run("eval", "tiny.txt", "--protocol", "windows").stdout.splitlines()
    at = shown.index("Loss by number of characters read since a zero state")
    bands = [line.split("  ")[0] for line in shown[at + 2 :]]
    assert bands == ["1", "2", "3 to 4", "5 to 8", "9 to 16", "17 to 32", "33 to 64", "65 to 128", "129 to 256"]
    assert shown[at + 2].endswith(f"{data['by_position'][0]:.4f}")
    few = run("eval", "-", "--protocol", "windows", input=TEXT[:4]).stdout.splitlines()
    assert [line.split("  ")[0] for line in few[-3:]] == ["1", "2", "3"]


def test_dynamic_evaluation_stands_beside_the_static_one(run, tiny):
    static, both = run("eval", "tiny.txt", "--json").json, run("eval", "tiny.txt", "--json", "--dynamic").json
    assert static["dynamic"] is None
    assert both["nats_per_char"] == static["nats_per_char"]
    assert both["dynamic"] < both["nats_per_char"]
    shown = run("eval", "tiny.txt", "--dynamic").stdout
    assert f"Dynamic evaluation        {both['dynamic']:.4f} nats per character" in shown


def test_a_corpus_that_is_gone_is_named(run, tiny):
    Path("tiny.txt").unlink()
    message = error_line(run("eval", code=2).stderr)
    assert "tiny.txt does not exist" in message
    assert re.search(r"trained on|corpus", message)  # for the user named no such file


def test_a_corpus_that_has_changed_is_refused(run, tiny):
    Path("tiny.txt").write_bytes(TEXT.encode() + b"!")
    message = error_line(run("eval", code=2).stderr)
    assert "tiny.txt" in message
    assert "SHA-256" in message


def test_a_corpus_from_standard_input_cannot_be_read_again(run):
    run("train", "-", *SMALL, "--steps", "2", "--quiet", input=TEXT)
    message = error_line(run("eval", code=2, input=TEXT).stderr)
    assert "give the text" in message


def test_a_model_without_a_validation_part_says_so(run, corpus):
    run("train", corpus, *SMALL, "--steps", "2", "--val-fraction", "0", "--quiet")
    outcome = run("eval", code=2)
    assert "validation" in error_line(outcome.stderr)
    assert outcome.bytes == b""


def test_baselines(run, tiny):
    outcome = run("eval", "--baselines")
    lm = charrnn.load(tiny)
    scored, others = lm.evaluate(VAL), lm.baselines(VAL)
    table, shown = outcome.stdout.split("\n\n")
    assert without_speed(f"{table}\n") == expected_table(scored)
    named = [("this model", scored.nats_per_char)]
    named += [(f"{others.n}-gram, n chosen on this text", others.nats_per_char["ngram"])]
    named += [(name, others.nats_per_char[name]) for name in ("gzip", "bzip2", "xz")]
    title, headings, *lines = shown.splitlines()
    assert title == f"Baselines, trained on {len(TEXT) - len(VAL):,} characters"
    assert re.split(" {2,}", headings)[-2:] == ["Nats per character", "Bits per character"]
    assert [tuple(line.rsplit(maxsplit=2)) for line in lines] == [
        (name, f"{nats:.4f}", f"{nats / math.log(2):.4f}") for name, nats in named
    ]
    assert outcome.stderr == f"Model: {tiny / 'best.npz'}\n"


@posix
def test_a_text_is_read_from_a_pipe(run, tiny):
    os.mkfifo("pipe")
    writer = threading.Thread(target=Path("pipe").write_text, args=(TEXT[:300],), kwargs={"encoding": "utf-8"})
    writer.start()
    assert run("eval", "pipe", "--json").json["chars"] == 299
    writer.join()


def test_baselines_of_another_text(run, tiny, monkeypatch):
    monkeypatch.setattr("charrnn.evaluation.baselines.READ", 1000)
    text = "Der Ωmega-Käfer, Ω." + TEXT[:300]
    data = run("eval", "-", "--baselines", "--json", input=text).json
    assert list(data) == [*KEYS, "baselines"]
    assert data["baselines"] == charrnn.load(tiny).baselines(text).to_dict()
    assert data["baselines"]["n_chosen_on"] == "the validation split"
    shown = run("eval", "-", "--baselines", input=text).stdout
    assert "n chosen on the validation split  " in shown
    assert f"trained on the last 1,000 of {len(TEXT) - len(VAL):,} characters\n" in shown


def test_where_nothing_is_scored_baselines_claim_nothing_either(run, tiny):
    data = run("eval", "-", "--baselines", "--json", input="D").json["baselines"]
    assert data["ngram"] == data["xz"] == {"nats_per_char": None, "bpc": None}
    assert run("eval", "-", "--baselines", input="D").stdout.count("- (nothing was scored)") == 5 + 2 * 5


def test_without_its_corpus_a_model_has_no_baselines(run, tiny):
    Path("tiny.txt").rename("other.txt")
    message = error_line(run("eval", "other.txt", "--baselines", code=2).stderr)
    assert "tiny.txt does not exist" in message

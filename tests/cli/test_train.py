"""`charrnn train`: files, what the screen says, and that a run can be repeated, resumed and built upon."""

import json
import math
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
from tqdm import tqdm

import charrnn
from charrnn.cli._bars import bar
from charrnn.cli._console import duration
from charrnn.cli._new_run import repeat_command
from charrnn.cli._sparkline import sparkline
from charrnn.cli._train_screen import MovingAverage
from charrnn.config import TextConfig
from charrnn.errors import CharRNNError
from charrnn.evaluation.statistics import Tally

from ._material import SMALL, TEXT, TIMEOUT, arrays, error_line, facts, meta, narrowed, posix, same_arrays

TRAIN = ("train", "tiny.txt", *SMALL)
RUN = Path("checkpoints/tiny")


def log(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_files_appear(run, corpus):
    outcome = run(*TRAIN, "--steps", "4")
    assert outcome.bytes == b""  # a run's product is its files
    assert {"best.npz", "last.npz", "log.jsonl"} <= {path.name for path in RUN.iterdir()}
    assert not list(RUN.glob("*.tmp"))
    assert meta(RUN / "last.npz")["step"] == 4
    assert {name.split("/")[0] for name in arrays(RUN / "last.npz")} == {"params", "opt", "state"}
    assert {name.split("/")[0] for name in arrays(RUN / "best.npz")} == {"params"}


def test_out_names_the_folder(run, corpus):
    run(*TRAIN, "--steps", "2", "--out", "some/where", "--quiet")
    assert (Path("some/where") / "last.npz").exists()
    assert not Path("checkpoints").exists()


def test_three_facts_say_what_is_trained(run, corpus):
    at = math.floor(len(TEXT) * 9 / 10)
    lines = run(*TRAIN, "--steps", "4", "--eval-every", "2").stderr.splitlines()
    weights = sum(array.size for name, array in arrays(RUN / "last.npz").items() if name.startswith("params/"))
    assert lines[:3] == [
        f"Text   {at:,} characters for training, {len(TEXT) - at:,} for validation",
        f"Model  lstm, 1 layer of 16 units, {weights:,} parameters",
        "Run    4 steps, seed 1, in checkpoints/tiny",
    ]
    assert lines[3].startswith("step 2 ")


def test_verbose_has_facts_about_the_text_and_reasons_too(run, corpus):
    train = TEXT[: math.floor(len(TEXT) * 9 / 10)]
    lines = run(*TRAIN, "--steps", "4", "--verbose").stderr.splitlines()
    counts = sorted((train.count(char), char) for char in set(train))
    assert lines[2:5] == [
        f"1 file, {len(TEXT.encode()):,} bytes; {len(TEXT):,} characters, {len(set(TEXT))} distinct",
        "rarest in the training split: " + ", ".join(f"{char!r} {count}" for count, char in counts[:10]),
        "0.0% of the validation split repeats training lines",
    ]
    assert re.fullmatch(r"memory: about \d+ MiB", lines[5])
    assert lines[7] == "4 batch rows of 20 characters per step, adamw at 0.008"
    lines = run(*TRAIN, "--minutes", "0.005", "--force", "--verbose").stderr.splitlines()
    assert "lnlstm: an LSTM with layer normalisation learns the most in a given time" in lines
    assert any(re.fullmatch(r"an evaluation takes .* s here", line) for line in lines)
    assert any(re.fullmatch(r"1 thread: a step takes about .* ms", line) for line in lines)


def test_what_is_trained_is_said_before_the_speed_is_measured(run, corpus, monkeypatch):
    def stop(*given):
        raise CharRNNError("stopped")

    monkeypatch.setattr("charrnn.training.run.Run._fix_length", stop)
    text, model, error = run(*TRAIN, "--minutes", "1", code=2).stderr.splitlines()
    assert text.startswith("Text   2,284 characters for training")
    assert model.startswith("Model  lnlstm, 1 layer of 16 units, ")
    assert error == "Error: stopped"


@posix
def test_a_terminal_says_that_the_speed_is_measured_and_erases_it(terminal, corpus):
    seen = terminal(*TRAIN, "--minutes", "0.005").read_all()
    waiting = "measuring speed…"
    assert f"{waiting}\r{' ' * len(waiting)}\r\x1b[1mText" in seen.replace("\x1b[0m", "") or waiting in seen
    assert not any(line.rpartition("\r")[2].startswith(waiting) for line in seen.split("\r\n"))


def test_too_little_memory_is_noted_and_the_run_goes_on(run, corpus, monkeypatch):
    monkeypatch.setattr("charrnn.training.memory.free_bytes", lambda: 5 << 20)
    (note,) = [line for line in run(*TRAIN, "--steps", "2").stderr.splitlines() if line.startswith("Note: ")]
    assert re.match(r"Note: training needs about \d+ MiB of memory and only 5 MiB is free", note)
    assert all(flag in note for flag in ("--batch-size", "--seq-len", "--hidden-size"))
    assert meta(RUN / "last.npz")["step"] == 2
    monkeypatch.setattr("charrnn.training.memory.free_bytes", lambda: None)
    assert "are free" not in run(*TRAIN, "--resume", "--steps", "3").stderr


def test_a_busy_machine_is_noted_under_a_time_budget(run, corpus, monkeypatch):
    for others, words in ((0.0, ""), (1.0, "another program wants"), (64.2, "64 other programs want")):
        monkeypatch.setattr("charrnn.training.run.busy_now", lambda others=others: others)
        monkeypatch.setattr("os.cpu_count", lambda: 1)
        stderr = run(*TRAIN, "--minutes", "0.001", "--force").stderr
        assert ("Note: this machine is busy" in stderr) == (others > 0)
        assert words in stderr


@posix
def test_nothing_begins_where_nobody_reads_the_first_line(command, corpus):
    ours, theirs = os.pipe()
    os.close(ours)
    process = command(*TRAIN, "--steps", "2", stderr=theirs)
    os.close(theirs)
    process.stdin.close()
    assert process.wait(TIMEOUT) == 2
    assert not (RUN / "last.npz").exists()


def test_closing_lines(run, corpus):
    outcome = run(*TRAIN, "--steps", "30", "--eval-every", "10")
    closing = facts(outcome.stderr[outcome.stderr.index("Best loss") :])
    best = min((line for line in log(RUN) if line["val_loss"] is not None), key=lambda line: line["val_loss"])
    loss, losses = best["val_loss"], [line["val_loss"] for line in log(RUN)]
    assert closing.pop("Curve") == f"{sparkline(losses)}  {losses[0]:.2f} to {losses[-1]:.2f} validation loss"
    assert re.fullmatch(r"\d+ seconds?, [\d,]+ characters per second", closing.pop("Time"))
    assert closing == {
        "Best loss": f"{loss:.4f} nats ({loss / math.log(2):.3f} bits) per character at step {best['step']}",
        "Model": str(RUN / "best.npz"),
        "Sample": "charrnn sample -m checkpoints/tiny",
        "Extend": "charrnn train tiny.txt --resume --minutes 5",
        "Repeat": f"charrnn train tiny.txt {shlex.join(reordered(SMALL))} --eval-every 10",
    }
    assert meta(RUN / "best.npz")["step"] == best["step"]


def test_fewer_evaluations_are_no_curve(run, corpus):
    assert "Curve" not in facts(run(*TRAIN, "--steps", "20", "--eval-every", "10").stderr)


def test_a_stream_that_cannot_show_blocks_has_no_curve(run, corpus, monkeypatch):
    monkeypatch.setattr("charrnn.cli._train_screen.is_printable", lambda encoding: False)
    assert "Curve" not in facts(run(*TRAIN, "--steps", "30", "--eval-every", "10").stderr)


def reordered(settings: tuple[str, ...]) -> list[str]:
    """Return SMALL in the order in which the command names settings, with the 30 steps and the one thread."""
    given = dict(zip(settings[::2], settings[1::2], strict=True)) | {"--steps": "30", "--threads": "1"}
    order = ("--hidden-size", "--steps", "--batch-size", "--seq-len", "--warmup-steps", "--threads", "--seed")
    return [word for name in order for word in (name, given[name])]


def test_a_hopeless_run_ends_with_figures_too(run, corpus):
    settings = ("--optimizer", "sgd", "--learning-rate", "1e6", "--clip-norm", "0", "--schedule", "constant")
    outcome = run(*TRAIN, "--steps", "8", "--eval-every", "8", *settings, "--no-recover")
    assert log(RUN)[-1]["val_loss"] > 710  # or e to its power is a number after all, and this tests nothing
    assert {"Best loss", "Model", "Repeat"} <= facts(outcome.stderr).keys()


@posix
@pytest.mark.parametrize(("shell", "streams"), [("", "<&-"), ("nohup ", "<&-"), ("", "<&- >&- 2>&-")])
def test_a_closed_stream_is_no_file_of_ours(corpus, shell, streams):
    # The first file that is opened would get its descriptor, and the processes that share the work would lose it.
    words = [sys.executable, "-m", "charrnn", *TRAIN, "--batch-size", "16", "--threads", "2", "--minutes", "0.005"]
    root = str(Path(charrnn.__file__).parents[1])
    env = os.environ | {"PYTHONPATH": root, "OPENBLAS_NUM_THREADS": "1"}
    line = f"{shell}{shlex.join(words)} {streams}"
    ended = subprocess.run(line, shell=True, capture_output=True, timeout=TIMEOUT, env=env, check=False)
    assert (ended.returncode, ended.stdout) == (0, b""), ended.stderr


def test_a_run_that_recovers_says_so_and_ends_well(run, corpus):
    settings = ("--optimizer", "sgd", "--learning-rate", "100", "--clip-norm", "0", "--schedule", "constant")
    outcome = run(*TRAIN, "--steps", "20", "--eval-every", "4", *settings)
    told = [line for line in outcome.stderr.splitlines() if "; back to step" in line]
    recovered = [line for line in log(RUN) if "back_to" in line]
    assert len(told) == len(recovered) >= 1
    assert re.fullmatch(
        r"step 8  2 validation losses in a row are above 4\.61 nats: \S+; "
        r"back to step 0, learning rate 25 \(try 1 of 5\)",
        told[0],
    )
    assert (recovered[0]["step"], recovered[0]["back_to"], recovered[0]["learning_rate"]) == (8, 0, 25.0)
    assert "--recover" not in facts(outcome.stderr)["Repeat"]


def test_a_run_that_cannot_recover_ends_by_an_error_that_names_the_cause(run, corpus):
    settings = ("--optimizer", "sgd", "--learning-rate", "1e9", "--clip-norm", "0")
    told = error_line(run(*TRAIN, "--steps", "200", *settings, code=2).stderr)
    assert "validation losses in a row are above 4.61 nats" in told
    assert "5 lower learning rates in a row" in told
    assert "start again with a lower --learning-rate" in told


@pytest.mark.parametrize(
    ("file", "env", "args", "recovers"),
    [
        ("", {}, (), True),
        ("", {}, ("--no-recover",), False),
        ("[train]\nrecover = false\n", {}, (), False),
        ("[train]\nrecover = false\n", {}, ("--recover",), True),
        ("", {"CHARRNN_TRAIN_RECOVER": "0"}, (), False),
    ],
)
def test_recovery_is_switched_off_where_one_may_set_it(run, corpus, file, env, args, recovers):
    Path("charrnn.toml").write_text(file)
    outcome = run(*TRAIN, "--steps", "1", *args, env=env)
    assert meta(RUN / "last.npz")["train"]["recover"] is recovers
    repeat = shlex.split(facts(outcome.stderr)["Repeat"])
    assert ("--no-recover" in repeat) is not recovers
    run(*repeat[1:], "--quiet", "--out", "again")
    assert (RUN / "last.npz").read_bytes() == Path("again/last.npz").read_bytes()


VARIANTS = {
    "plain": (),
    "another cell": ("--cell", "gru", "--num-layers", "2", "--dropout", "0.25", "--embed-size", "5"),
    "sgd": ("--optimizer", "sgd", "--momentum", "0.5", "--schedule", "step", "--decay-steps", "3"),
    "rate of its own": ("--learning-rate", "0.0123456789", "--weight-decay", "0"),
    "float64": ("--dtype", "float64", "--init", "uniform", "--clip-value", "0.1"),
    "no validation": ("--val-fraction", "0"),
    "no recovery": ("--no-recover",),
    "validation file": ("--val-file", "more words.txt"),
    "save and log": ("--save-every", "5", "--log-every", "2", "--patience", "3"),
    "from a model": ("--init-from", "first"),
    "from a model, with other dropout": ("--init-from", "first", "--dropout", "0.4", "--weight-drop", "0"),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_repeat_command_gives_the_same_bytes(run, corpus, variant):
    Path("more words.txt").write_text("Käfer krabbelt, Käfer summt.\n", encoding="utf-8")
    if "--init-from" in VARIANTS[variant]:
        run(*TRAIN, "--steps", "2", "--dropout", "0.2", "--weight-drop", "0.1", "--out", "first", "--quiet")
    outcome = run(*TRAIN, "--steps", "8", "--eval-every", "4", "--out", "once", *VARIANTS[variant])
    name, *again = shlex.split(facts(outcome.stderr)["Repeat"])
    assert name == "charrnn"
    run(*again)
    for path in sorted(Path("once").glob("*.npz")):
        assert path.read_bytes() == (RUN / path.name).read_bytes()


@pytest.mark.parametrize("length", [("--epochs", "1"), ("--minutes", "0.005")], ids=" ".join)
def test_the_repeat_command_names_the_steps(run, corpus, length):
    outcome = run(*TRAIN, *length, "--eval-every", "50", "--out", "once")
    again = shlex.split(facts(outcome.stderr)["Repeat"])
    assert not set(again) & {"--epochs", "--minutes"}
    run(*again[1:], "--quiet")
    assert Path("once/last.npz").read_bytes() == (RUN / "last.npz").read_bytes()


@pytest.mark.parametrize("name", ["it's a text.txt", "-x.txt", "a$b;c&d.txt"])
def test_the_closing_commands_stand_odd_file_names(run, name):
    Path(name).write_bytes(TEXT.encode())
    closing = facts(run("train", *SMALL, "--steps", "2", "--out", "once", "--", name).stderr)
    run(*shlex.split(closing["Repeat"])[1:], "--quiet")
    (folder,) = Path("checkpoints").iterdir()
    assert folder.name == Path(name).stem
    assert same_arrays(Path("once/last.npz"), folder / "last.npz")
    assert run(*shlex.split(closing["Sample"])[1:]).bytes


def test_the_sample_command_works_as_printed(run, corpus):
    closing = facts(run(*TRAIN, "--steps", "2", "--out", "a folder").stderr)
    outcome = run(*shlex.split(closing["Sample"])[1:])
    assert len(outcome.stdout) == 500
    assert outcome.stderr.startswith(f"Model: {Path('a folder/best.npz')}\nSeed: ")


def test_quiet_prints_nothing(run, corpus):
    outcome = run(*TRAIN, "--steps", "6", "--eval-every", "2", "--sample-every", "3", "--quiet")
    assert (outcome.bytes, outcome.stderr) == (b"", "")
    assert (RUN / "best.npz").exists()


def test_lines_are_plain_where_no_terminal_is(run, corpus):
    stderr = run(*TRAIN, "--steps", "6", "--eval-every", "2").stderr
    assert "\r" not in stderr
    assert "\x1b" not in stderr
    lines = [line for line in stderr.splitlines() if line.startswith("step ")]
    figures = [
        re.fullmatch(
            r"step (\d+)  epoch \d+\.\d\d  loss (\d\.\d{4})  val (\d\.\d{4}) \((\d\.\d{3}) bpc\)  norm \d+\.\d\d"
            r"(  best so far)?",
            line,
        )
        for line in lines
    ]
    assert all(figures)
    assert [int(found[1]) for found in figures] == [2, 4, 6]
    assert [found[3] for found in figures] == [f"{line['val_loss']:.4f}" for line in log(RUN)]


BAR = r"%[^\r\n]*\d/8 steps, [\d:?]+ left, loss \d+\.\d{3}, val \d+\.\d{3}"


@posix
@pytest.mark.parametrize(
    ("columns", "more"), [(160, r", [\d,]+ chars/s, norm \d+\.\d\d"), (110, r", [\d,]+ chars/s"), (80, "")]
)
def test_a_terminal_has_a_bar_that_fits(terminal, corpus, columns, more):
    often = ("--eval-every", "2", "--sample-every", "3", "--save-every", "2")
    shown = terminal(*TRAIN, "--steps", "8", *often, columns=columns, COLUMNS="")
    seen = shown.read_all()
    assert shown.process.returncode == 0
    assert re.search(BAR + more + r" *\r", seen), seen
    assert "evaluating " in seen
    assert "step 8" in seen
    assert "best so far" in seen
    assert "Repeat" in seen
    assert "Traceback" not in seen
    lines = [line for line in re.split(r"[\r\n]+", seen) if re.match(r"step \d|[ \d]+%", line)]
    assert max(map(len, lines)) <= columns


def test_a_bar_starts_no_thread(monkeypatch):
    monkeypatch.setattr(tqdm, "monitor", None)
    bar(total=1, disable=True)
    assert tqdm.monitor is None


def test_the_bar_shows_the_mean_loss_of_the_first_steps():
    smoothed = MovingAverage()
    assert [smoothed(loss) for loss in (4.0, 3.0, 2.0)] == pytest.approx([4, 3.5, 3], abs=0.02)
    for _ in range(1000):
        last = smoothed(1.0)
    assert last == pytest.approx(1, abs=1e-6)


@posix
def test_quiet_has_no_bar_on_a_terminal_either(terminal, corpus):
    shown = terminal(*TRAIN, "--steps", "4", "--quiet")
    assert shown.read_all() == ""
    assert shown.process.returncode == 0


def test_sample_every_shows_what_the_model_writes(run, corpus):
    stderr = run(*TRAIN, "--steps", "6", "--eval-every", "6", "--sample-every", "3").stderr
    assert [line for line in stderr.splitlines() if line.endswith("  sample:")] == [
        "step 3  sample:",
        "step 6  sample:",
    ]
    shown = stderr[stderr.index("step 6  sample:\n") + len("step 6  sample:\n") :]
    written = run("sample", "-m", RUN / "last.npz", "-n", "200", "--seed", "1").stdout
    assert len(written) == 200
    assert shown.startswith(written)


def test_sample_every_keeps_the_samples_in_the_log(run, corpus):
    settings = ("--steps", "6", "--eval-every", "3", "--sample-every", "2")
    run(*TRAIN, *settings, "--quiet")
    *_, last = samples = [line for line in log(RUN) if "sample" in line]
    assert [line["step"] for line in samples] == [2, 4, 6]
    assert set(last) == {"step", "seconds", "recoveries", "sample"}
    assert last["sample"] == run("sample", "-m", RUN / "last.npz", "-n", "200", "--seed", "1").stdout
    assert [line["step"] for line in log(RUN)] == [2, 3, 4, 6, 6]  # a sample comes before the report of its step


def test_the_log_begins_with_the_reasons_of_the_recipe(run, corpus):
    told = run(*TRAIN, "--minutes", "0.005", "--verbose").stderr.splitlines()
    first, *others = log(RUN)
    assert (first["step"], first["seconds"], first["recoveries"]) == (0, 0.0, 0)
    assert any(reason.startswith("lnlstm: ") for reason in first["reasons"])
    assert [reason for reason in first["reasons"] if reason not in told] == []
    assert not any("reasons" in line for line in others)
    run(*TRAIN, "--steps", "2", "--force", "--quiet")
    assert not any("reasons" in line for line in log(RUN))


def test_a_sample_of_documents_has_several(run, corpus):
    lines = ("--split-documents", "lines", "--shuffle-documents")
    run(*TRAIN, *lines, "--steps", "4", "--sample-every", "4", "--quiet")
    (sample,) = [line["sample"] for line in log(RUN) if "sample" in line]
    written = run("sample", "-m", RUN / "last.npz", "--documents", "8", "-n", "200", "--seed", "1").stdout
    assert sample == written[:200]
    assert "\n" in sample


@pytest.mark.parametrize("text", ["[bold]loud[/bold] [/] \\[x]", "a :heart: and :smile:"])
def test_samples_are_shown_as_they_are(run, corpus, monkeypatch, text):
    monkeypatch.setattr("charrnn.api.LanguageModel.sample", lambda self, *args, **options: text)
    assert f"step 2  sample:\n{text}\n" in run(*TRAIN, "--steps", "2", "--sample-every", "2").stderr


def test_minutes_are_said_in_steps(run, corpus):
    stderr = run(*TRAIN, "--minutes", "0.005", "--verbose").stderr
    said = re.search(r"^Run    ([\d,]+) steps? in about 1 second, seed 1, in checkpoints/tiny$", stderr, re.M)
    saved = meta(RUN / "last.npz")
    assert saved["train"]["steps"] == int(said[1].replace(",", ""))
    changes = re.findall(r"^step ([\d,]+)  length now ([\d,]+) steps, to fit the time budget$", stderr, re.M)
    written = ",".join(f"{step}:{total}".replace(",", "") for step, total in changes) or None
    assert saved["train"]["length_changes"] == written


def test_epochs_are_passes_through_the_text(run, corpus):
    run(*TRAIN, "--epochs", "2", "--eval-every", "50", "--quiet")
    lane = (math.floor(len(TEXT) * 9 / 10) - 1) // 4
    assert meta(RUN / "last.npz")["step"] == 2 * math.ceil(lane / 20)
    assert log(RUN)[-1]["epoch"] == 2


def test_the_seed_is_always_said(run, corpus):
    without_seed = [word for word in TRAIN if word not in ("--seed", "1")]
    stderr = run(*without_seed, "--steps", "2").stderr
    seed = re.search(r"seed (\d+),", stderr)[1]
    assert f"--seed {seed}" in facts(stderr)["Repeat"]
    assert meta(RUN / "last.npz")["train"]["seed"] == int(seed)
    another = run(*without_seed, "--steps", "2", "--force").stderr
    assert re.search(r"seed (\d+),", another)[1] != seed


@pytest.mark.parametrize("again", [("tiny.txt",), ("--out", str(RUN)), ("tiny.txt", "--out", str(RUN))], ids=str)
def test_resume_raises_the_length(run, corpus, again):
    constant = ("--schedule", "constant", "--eval-every", "5")  # a rate that does not know how long the run is
    run(*TRAIN, *constant, "--steps", "20", "--out", "whole", "--quiet")
    run(*TRAIN, *constant, "--steps", "10", "--quiet")
    stderr = run("train", *again, "--resume", "--steps", "20").stderr
    assert "\nRun    20 steps from step 10, seed 1, in checkpoints/tiny\n" in stderr
    assert same_arrays(RUN / "last.npz", Path("whole/last.npz"))
    run(*shlex.split(facts(stderr)["Repeat"])[1:], "--out", "again", "--quiet")
    for name in ("last.npz", "best.npz"):
        assert (RUN / name).read_bytes() == (Path("again") / name).read_bytes()
    assert [line["step"] for line in log(RUN)] == [5, 10, 15, 20]
    figures = [[line["step"], line["loss"], line["val_loss"]] for line in log(RUN)]
    assert figures == [[line["step"], line["loss"], line["val_loss"]] for line in log(Path("whole"))]


def test_resume_by_epochs(run, tiny):
    stderr = run("train", "tiny.txt", "--resume", "--epochs", "2").stderr
    lane = (math.floor(len(TEXT) * 9 / 10) - 1) // 4
    assert f"\nRun    {2 * math.ceil(lane / 20)} steps from step 40, " in stderr


def test_resume_takes_the_settings_it_has(run, tiny):
    run(*TRAIN, "--resume", "--steps", "41", "--quiet")
    assert meta(RUN / "last.npz")["step"] == 41


def test_resume_with_minutes_extends_a_complete_run_and_repeat_does_so_too(run, tiny):
    said = run("train", "tiny.txt", "--resume").stderr
    assert said.startswith("The run in checkpoints/tiny is complete after 40 steps. Extend it with: charrnn train ")
    _, *longer = shlex.split(said[said.index("charrnn train") :])
    assert longer == ["train", "tiny.txt", "--resume", "--minutes", "5"]
    stderr = run(*longer[:-1], "0.003").stderr
    saved = meta(RUN / "last.npz")
    assert saved["train"]["steps"] == 40
    assert saved["train"]["length_changes"].startswith("40:")
    assert saved["step"] > 40
    run(*shlex.split(facts(stderr)["Repeat"])[1:], "--out", "again", "--quiet")
    assert (RUN / "last.npz").read_bytes() == Path("again/last.npz").read_bytes()
    assert f"{saved['step']:,} of {saved['step']:,}" in run("list").stdout
    assert f"{saved['step']:,} of {saved['step']:,}" in run("info").stdout


def test_a_run_extended_by_an_earlier_version_has_no_repeat(run, tiny):
    from charrnn import checkpoint

    old = checkpoint.load(tiny / "last.npz")
    checkpoint.save(tiny / "last.npz", replace(old, earlier_totals=[20]))
    closing = facts(run("train", "tiny.txt", "--resume", "--steps", "41").stderr)
    assert closing["Repeat"] == "no single command: an earlier version of charrnn extended the run"


def test_a_run_whose_patience_was_lowered_below_a_wait_has_no_repeat(run, corpus, monkeypatch):
    losses = iter([3.0, 3.1, 3.2, 2.9, 3.0, 3.1, 3.2])  # a lower loss after two evaluations; later, none

    def scored(*_):
        yield from ()
        return Tally(chars=1, nats=next(losses))

    monkeypatch.setattr("charrnn.training.loop._scored", scored)
    run(*TRAIN, "--steps", "4", "--eval-every", "1", "--quiet")
    again = ("train", "tiny.txt", "--resume", "--steps", "5", "--patience")
    repeat = facts(run(*again, "2").stderr)["Repeat"]
    assert repeat == "no single command: with this --patience from the start, the run would have stopped earlier"
    assert "--patience 3" in facts(run(*again[:-2], "6", "--patience", "3").stderr)["Repeat"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ("5", "is not a list of STEP:TOTAL: write it like 120:840,400:812"),
        ("5:x", "is not a list of STEP:TOTAL"),
        ("5:8,", "is not a list of STEP:TOTAL"),
        ("21:30", "21:30 is out of place"),
        ("5:5", "5:5 is out of place"),
        ("5:30,4:40", "4:40 is out of place"),
        ("5:10,11:40", "11:40 is out of place: steps must rise, each within the length so far (10)"),
    ],
)
def test_length_changes_that_make_no_sense_are_refused(run, corpus, changes, words):
    assert words in error_line(run(*TRAIN, "--steps", "20", "--length-changes", changes, code=2).stderr)
    no_steps = error_line(run(*TRAIN, "--epochs", "2", "--length-changes", "5:30", code=2).stderr)
    assert no_steps == "--length-changes changes the length of --steps: give --steps too"


def test_a_text_too_short_to_learn_from_is_refused(run):
    Path("short.txt").write_text("abc", encoding="utf-8")
    told = error_line(run("train", "short.txt", code=2).stderr)
    assert told.startswith("short is too short to learn from: 2 characters to train on; give at least 100, or set")
    assert not Path("checkpoints/short").exists()
    assert "too few to learn from" in run("train", "short.txt", "--steps", "1", "--hidden-size", "4").stderr


def test_resume_goes_on_where_the_corpus_has_moved_to(run, tiny):
    Path("tiny.txt").rename("moved.txt")
    run("train", "moved.txt", "--resume", "--out", RUN, "--steps", "42", "--quiet")
    assert meta(RUN / "last.npz")["step"] == 42
    assert "Characters scored" in run("eval").stdout  # which reads the corpus where it is now


def test_force_replaces_the_run(run, tiny):
    run(*TRAIN, "--steps", "4", "--force", "--quiet")
    assert meta(RUN / "last.npz")["step"] == 4
    assert [line["step"] for line in log(RUN)][-1] == 4


def test_a_refused_run_leaves_the_one_before_alone(run, tiny):
    before = {path.name: path.read_bytes() for path in tiny.iterdir()}
    run(*TRAIN, "--steps", "4", code=2)
    run(*TRAIN, "--steps", "4", "--force", "--dropout", "nan", code=2)
    run("train", "missing.txt", "--out", tiny, "--force", code=2)
    assert {path.name: path.read_bytes() for path in tiny.iterdir()} == before


@pytest.mark.parametrize("model", ["checkpoints/tiny", "checkpoints/tiny/best.npz", "checkpoints/tiny/last.npz"])
def test_init_from_begins_with_the_weights(run, tiny, model):
    still = ("--learning-rate", "1e-30", "--weight-decay", "0")
    run("train", "tiny.txt", *SMALL[2:], "--steps", "1", "--init-from", model, "--out", "second", *still, "--quiet")
    assert meta(Path("second/last.npz"))["init_from"] in (model, f"{model}/best.npz")
    begun, earlier = arrays(Path("second/best.npz")), arrays(tiny / "best.npz")
    assert begun.keys() == earlier.keys()
    assert all((abs(begun[name] - earlier[name]) < 1e-6).all() for name in begun)
    assert log(Path("second"))[0]["val_loss"] == pytest.approx(log(tiny)[-1]["val_loss"], abs=1e-4)


def test_a_run_that_learns_nothing_is_told_once_but_not_one_that_goes_on_from_a_model(run, corpus):
    still = ("--steps", "116", "--eval-every", "29", "--log-every", "0", "--learning-rate", "1e-30")
    stderr = run("train", corpus, *SMALL, *still, "--out", "new").stderr
    assert stderr.count("Note: the training loss hardly falls, and the model knows little more than character") == 1
    run("train", corpus, *SMALL, "--steps", "150", "--learning-rate", "0.02", "--out", "first", "--quiet")
    stderr = run("train", corpus, *SMALL[2:], *still, "--init-from", "first", "--out", "second", "--seed", "5").stderr
    assert "Note: the training loss" not in stderr
    first, *later = [line["loss"] for line in log(Path("second"))]
    assert min(later) > 0.98 * first  # it does hardly fall there too, by this seed


def test_init_from_names_the_characters_that_are_new(run, tiny):
    Path("other.txt").write_text(TEXT.replace("Anna", "Zoë_%"), encoding="utf-8")
    fresh = sorted(set("Zoë_%") - set(TEXT))
    options = ("train", "other.txt", *SMALL[2:], "--steps", "2", "--init-from", tiny)
    refused = error_line(run(*options, code=2).stderr)
    new = f"{len(fresh)} characters ({''.join(fresh)!r})"
    assert f"the text has {new} that the model of --init-from lacks: add them with --extend-vocab" in refused
    assert not Path("checkpoints/other").exists()
    note = f"Note: new to the model, starting at the mean of its other symbols: {new}\n"
    assert note in run(*options, "--extend-vocab").stderr
    known = meta(Path("checkpoints/other/last.npz"))["vocab"]["symbols"]
    assert set(known) == set(TEXT) | set("Zoë_%")
    assert run("sample", "-m", "checkpoints/other", "--prime", "Zoë_%", "-n", "3").stdout.startswith("Zoë_%")


def test_val_file_is_what_is_validated_on(run, corpus):
    text = TEXT[::-1][:300]
    Path("val.txt").write_bytes(text.encode())
    stderr = run(*TRAIN, "--steps", "4", "--val-file", "val.txt").stderr
    assert f"Text   {len(TEXT):,} characters for training, {len(text)} for validation\n" in stderr
    scored = run("eval", "--json").json
    assert scored["chars"] == len(text) - 1
    assert scored["nats_per_char"] == pytest.approx(meta(RUN / "last.npz")["progress"]["best_loss"], abs=1e-5)


def test_without_a_validation_part_last_is_the_model(run, corpus):
    stderr = run(*TRAIN, "--steps", "4", "--val-fraction", "0").stderr
    assert f"Text   {len(TEXT):,} characters for training, 0 for validation\n" in stderr
    closing = facts(stderr)
    assert closing["Loss"] == f"{log(RUN)[-1]['loss']:.4f} nats per character, in training"
    assert "Best loss" not in closing
    assert closing["Model"] == str(RUN / "last.npz")
    assert not (RUN / "best.npz").exists()
    named = f"Model: {RUN / 'last.npz'} (there is no best.npz)\n"
    assert run("sample", "--seed", "1").stderr == named
    assert run("eval", "tiny.txt").stderr == named


def test_the_corpus_may_come_from_standard_input(run):
    run("train", "-", *SMALL, "--steps", "4", "--quiet", input=TEXT)
    folder = Path("checkpoints/stdin")
    assert meta(folder / "last.npz")["source"]["path"] == "-"
    run("train", "-", "--resume", "--steps", "6", "--quiet", input=TEXT)
    assert meta(folder / "last.npz")["step"] == 6
    told = error_line(run("train", "--resume", "--out", folder, "--steps", "8", code=2).stderr)
    assert "give the text" in told
    told = error_line(run("train", "-", "--resume", "--steps", "8", code=2, input=TEXT + "!").stderr)
    assert "standard input" in told
    assert "SHA-256" in told


def test_patience_stops_early_and_says_so(run, corpus):
    still = ("--learning-rate", "1e-30", "--weight-decay", "0")
    outcome = run(*TRAIN, "--steps", "20", "--eval-every", "2", "--patience", "3", *still)
    assert "\nStopped early: no better validation loss in 3 evaluations.\n" in outcome.stderr
    assert meta(RUN / "last.npz")["step"] == 8


def test_a_text_shorter_than_a_batch_shrinks_it_and_says_so(run):
    Path("short.txt").write_text("Kurz ist gut.\n", encoding="utf-8")
    stderr = run("train", "short.txt", "--hidden-size", "4", "--steps", "2").stderr
    assert (
        "Note: the text has 12 characters to train on, too few for a step of this size: "
        "--batch-size is now 1 and --seq-len 11\n"
    ) in stderr
    run("train", "short.txt", "--resume", "--steps", "3", "--batch-size", "32", "--quiet")  # as it was asked for then
    assert run("sample", "-n", "5").bytes


def test_a_validation_part_too_short_is_said(run):
    Path("short.txt").write_text("Kurz ist gut.\n", encoding="utf-8")
    stderr = run("train", "short.txt", "--hidden-size", "4", "--steps", "2", "--val-fraction", "0.05").stderr
    assert "so there will be no validation and no best.npz" in stderr
    assert not Path("checkpoints/short/best.npz").exists()


def test_the_log_has_a_line_for_every_report(run, corpus):
    run(*TRAIN, "--steps", "12", "--eval-every", "6", "--log-every", "4", "--quiet")
    lines = log(RUN)
    assert [line["step"] for line in lines] == [4, 6, 8, 12]
    assert [line["val_loss"] is None for line in lines] == [True, False, True, False]
    assert all(
        set(line)
        == {
            "step",
            "epoch",
            "seconds",
            "loss",
            "val_loss",
            "averaged",
            "gap",
            "bpc",
            "learning_rate",
            "grad_norm",
            "grad_norms",
            "clipped",
            "saturation",
            "chars_per_second",
            "recoveries",
        }
        for line in lines
    )
    assert all(one["seconds"] <= two["seconds"] for one, two in pairwise(lines))


def test_the_library_reads_what_the_command_wrote(run, tiny):
    model = charrnn.load(tiny)
    assert model.sample(40, seed=3) == run("sample", "-n", "40", "--seed", "3").stdout


def test_two_runs_in_one_folder_exclude_each_other(run, tiny):
    from charrnn.training.folder import RunFolder

    before = (tiny / "last.npz").read_bytes()
    with RunFolder(tiny).locked():
        for more in (("--resume", "--steps", "50"), ("--force", "--steps", "2")):
            told = error_line(run(*TRAIN, *more, code=1).stderr)
            assert "in use by another training run" in told
            assert "--out" in told
    assert (tiny / "last.npz").read_bytes() == before
    run(*TRAIN, "--resume", "--steps", "41", "--quiet")


@posix
def test_a_reader_that_leaves_loses_no_work(command, corpus):
    process = narrowed(command(*TRAIN, "--steps", "60", "--eval-every", "60", "--sample-every", "1"))
    for line in process.stderr:
        if line.startswith(b"step 10 "):
            break
    process.stderr.close()  # as `2>&1 | grep -m1 "step 10"` does
    process.stdin.close()
    process.wait(TIMEOUT)
    saved = meta(RUN / "last.npz")["step"]
    assert saved == 60 or (saved >= 10 and process.returncode != 0)


def test_several_files_are_trained_on_and_named_by_repeat(run, tmp_path):
    Path("more").mkdir()
    for at, name in enumerate(("one.txt", "more/two.txt", "more/three.txt")):
        Path(name).write_text(TEXT[at * 900 : (at + 1) * 900], encoding="utf-8")
    stderr = run("train", "one.txt", "more", *SMALL, "--steps", "2", "--verbose").stderr
    assert "\n3 files, " in stderr
    assert "charrnn train one.txt more --" in facts(stderr)["Repeat"]
    assert meta(Path("checkpoints/one/last.npz"))["source"]["also"] == ["more"]
    assert "complete after 2 steps" in run("train", "one.txt", "more", *SMALL, "--steps", "2", "--resume").stderr
    run("train", "one.txt", "more", "--steps", "3", "--resume")
    run("train", "--out", "checkpoints/one", "--steps", "4", "--resume")
    assert "one.txt and 1 more" in run("info", "-m", "checkpoints/one").stdout
    Path("more/four.txt").write_text("x")
    told = error_line(run("train", "--out", "checkpoints/one", "--steps", "5", "--resume", code=2).stderr)
    assert "one.txt and 1 more is not the text that the model was trained on" in told
    run("train", "more/*.txt", *SMALL, "--steps", "2")
    assert Path("checkpoints/more/last.npz").exists()


def test_documents_are_trained_on_and_scored(run):
    Path("names.txt").write_text("anna\nbert\ncleo\ndora\nemil\n" * 20)
    options = ("--split-documents", "lines", "--shuffle-documents", "--val-documents", "20", "--test-documents", "10")
    stderr = run("train", "names.txt", *SMALL, *options, "--steps", "4", "--verbose").stderr
    assert "\n1 file, 500 bytes; 400 characters in 100 documents, 12 distinct\n" in stderr
    assert "\n100.0% of the validation split repeats training documents\n" in stderr
    saved = meta(Path("checkpoints/names/last.npz"))
    assert saved["vocab"]["specials"] == ["end"]
    found = run("eval", "--json").json
    assert found["chars"] == 100  # twenty names of four characters, each with its end
    assert found["nats_per_char"] == pytest.approx(saved["history"][-1]["val_loss"], rel=1e-5)
    assert run("eval", "--test", "--json").json["chars"] == 50
    Path("one.txt").write_text("anna")
    assert run("eval", "one.txt", "--json").json["chars"] == 5
    repeat = shlex.split(facts(stderr)["Repeat"])[1:]
    run(*repeat, "--out", "again")
    assert same_arrays(Path("again/last.npz"), Path("checkpoints/names/last.npz"))


def test_the_unknown_symbol_is_told_of(run):
    Path("text.txt").write_text(TEXT + "水火", encoding="utf-8")
    stderr = run(
        "train", "text.txt", *SMALL, "--min-count", "3", "--val-fraction", "0", "--steps", "2", "--verbose"
    ).stderr
    share = 2 / len(TEXT + "水火")
    assert f"\nunknown: 2 distinct characters, {share:.2%} of the training split\n" in stderr
    assert facts(run("eval", "text.txt").stdout)["Unknown characters"] == "2, scored as the unknown symbol"
    assert f"{len(set(TEXT))} chars and the unknown symbol: " in run("info").stdout


def test_one_document_is_not_several(run, corpus):
    options = ("--split-documents", "files", "--val-fraction", "0", "--steps", "1", "--verbose")
    assert f"; {len(TEXT):,} characters in 1 document, " in run(*TRAIN, *options).stderr


def test_bytes_are_trained_on_and_scored(run):
    Path("x.bin").write_bytes(bytes(range(256)) * 10)
    stderr = run("train", "x.bin", *SMALL, "--bytes", "--steps", "2", "--verbose").stderr
    size = "\n1 file, 2,560 bytes; 2,560 characters, 256 distinct\n"
    assert f"{size}rarest in the training split: 0x00 9, 0x01 9," in stderr
    assert meta(Path("checkpoints/x/last.npz"))["vocab"]["kind"] == "bytes"
    assert run("eval", "x.bin", "--json").json["chars"] == 2559


@pytest.mark.parametrize(
    ("end", "says"),
    [
        ("\r\n", r"lines end with \r\n, and \r is learned; to convert them: tr -d '\r' < FILE > NEW"),
        ("\r", r"lines end with \r, which is learned; to convert them: tr '\r' '\n' < FILE > NEW"),
        (
            "\r\r\n",
            r"lines end with \r\n or \r, and \r is learned; to convert them: perl -pe 's/\r\n?/\n/g' FILE > NEW",
        ),
    ],
    ids=["dos", "mac", "both"],
)
def test_carriage_returns_are_told_of_with_the_command_that_fits(run, end, says):
    Path("dos.txt").write_bytes(f"to be{end}or not{end}".encode() * 40)
    assert f"Note: {says}" in run("train", "dos.txt", *SMALL, "--steps", "1").stderr.splitlines()
    lines = ("--split-documents", "lines", "--val-fraction", "0")  # of which line ends are no part
    for options in (("--bytes",), lines):
        assert "lines end with" not in run("train", "dos.txt", *SMALL, "--steps", "1", "--force", *options).stderr


@posix
def test_a_pipe_is_read_as_standard_input_is(run):
    os.mkfifo("pipe")
    writer = Thread(target=Path("pipe").write_text, args=(TEXT,), kwargs={"encoding": "utf-8"})
    writer.start()
    assert "charrnn train - --hidden-size" in run("train", "pipe", *SMALL, "--steps", "2").stderr
    writer.join()
    assert "the model's corpus was not a file" in run("eval", "-m", "stdin", code=2).stderr
    assert "again for copies: do without, or train on" in run("sample", "-m", "stdin", "--novel", "5", code=2).stderr


def test_a_run_inside_its_corpus_is_left_out_and_can_be_resumed(run, corpus):
    left_out = "Note: left out 1 run: ./checkpoints/"
    first = run("train", ".", *SMALL, "--steps", "2").stderr
    assert left_out not in first
    name = Path.cwd().name
    assert f"{left_out}{name}" in run("train", ".", "--resume", "--steps", "3").stderr.splitlines()
    assert run("eval", "--json").json["chars"] > 0
    assert f"{left_out}{name}" in run("eval", ".").stderr.splitlines()
    other = run("train", "**/*", "--bytes", *SMALL, "--steps", "2", "--out", "other", "--verbose").stderr
    assert f"Note: left out 1 run: checkpoints/{name}" in other.splitlines()
    assert f"\n1 file, {len(TEXT.encode()):,} bytes;" in other
    vocab = run("vocab", ".")
    assert vocab.stderr == f"Note: left out 2 runs: ./checkpoints/{name}, ./other\n"
    assert "checkpoints has no text, only 1 run" in run("train", "checkpoints", *SMALL, code=2).stderr


def test_no_command_repeats_a_run_whose_documents_were_split_by_other_rules():
    config = TextConfig(split_documents="lines", document_rules=1)
    saved = SimpleNamespace(text_config=config, earlier_totals=[])
    assert repeat_command(saved) == "no command: an earlier version of charrnn split its documents by other rules"


def test_standard_input_is_told_of(run):
    stderr = run("train", "-", *SMALL, "--steps", "2", "--verbose", input=TEXT).stderr
    assert f"\n1 file; {len(TEXT):,} characters," in stderr


def test_a_model_s_form_of_the_text_is_taken_over_by_its_successor(run):
    Path("text.txt").write_text(TEXT.upper(), encoding="utf-8")
    run("train", "text.txt", *SMALL, "--lowercase", "--steps", "2", "--out", "first")
    run("train", "text.txt", *SMALL[2:], "--steps", "2", "--init-from", "first", "--out", "second")
    assert meta(Path("second/last.npz"))["vocab"]["lowercase"] is True
    assert run("eval", "-m", "second", "text.txt", "--json").json["unknown"] == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--val-documents", "3"), "--val-documents needs documents"),
        (("--split-documents", "lines", "--val-documents", "3", "--val-fraction", "0.2"), "cannot be combined"),
        (("--split-documents", "lines", "--test-documents", "3", "--test-fraction", "0.2"), "cannot be combined"),
        (("--split-documents", "lines", "--val-documents", "3", "--val-file", "x"), "cannot be combined"),
        (("--extend-vocab",), "--extend-vocab needs --init-from"),
        (("--bytes", "--lowercase"), "leave out --lowercase"),
        (("--encoding", "nonsense"), "is unknown"),
        (("--separator", ""), "must be a non-empty string"),
        (("--normalize", "NFD"), "'NFD'"),
        (("--min-count", "0"), "0"),
    ],
)
def test_options_of_the_text_that_make_no_sense_are_usage_errors(run, corpus, options, words):
    stderr = run("train", corpus, *SMALL, "--steps", "2", *options, code=2).stderr
    assert words in stderr.splitlines()[-1]
    assert not Path("checkpoints").exists()


def test_the_time_that_a_long_run_takes_is_told(run, corpus, monkeypatch):
    monkeypatch.setattr("charrnn.training.budget.expected_seconds", lambda training, state: 120.0)
    assert "\nRun    2 steps in about 2 minutes, seed" in run(*TRAIN, "--steps", "2").stderr
    assert (
        "\nRun    4 steps from step 2 in about 2 minutes, seed"
        in run("train", "tiny.txt", "--resume", "--steps", "4").stderr
    )
    assert " in about 2 minutes, " in run(*TRAIN, "--epochs", "1", "--force").stderr
    assert " minutes, " not in run(*TRAIN, "--minutes", "0.002", "--force").stderr  # measured already


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 second"),
        (1.6, "2 seconds"),
        (99, "99 seconds"),
        (100, "2 minutes"),
        (5940, "99 minutes"),
        (7200, "2.0 hours"),
    ],
)
def test_times_are_short(seconds, words):
    assert duration(seconds) == words


def test_targets_are_learned_and_samples_translate(run, cwd):
    Path("pairs.txt").write_text("".join(f"{n}\t-{n}\n" for n in range(100, 200)), "utf-8")
    args = ("--split-documents", "lines", "--context", "--steps", "4", "--sample-every", "4", "--out", "pairs")
    told = run("train", "pairs.txt", *SMALL, *args).stderr
    sample = told.partition("sample:\n")[2]
    assert [line.split()[0] for line in sample.splitlines()[:8]] == [str(n) for n in range(190, 198)]
    assert "charrnn sample -m pairs --prime-lines -" in " ".join(told.split())
    assert "--context" in told.partition("Repeat")[2]
    refused = run("train", "pairs.txt", "--context", "--steps", "1", code=2).stderr
    assert "--context needs documents: give --split-documents" in error_line(refused)
